# SPDX-License-Identifier: Apache-2.0
"""Render links as a netplan file, https://netplan.readthedocs.io/en/stable/netplan-yaml/ ; the backend is networkd."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from scs_deploy.host.network.networkd import ADDRESS_MODES, HEADER, KEEP, SHARED
from scs_deploy.inventory.links import DEFAULT_BOND_MODE, Link

FILE = "/etc/netplan/60-scs.yaml"
DROP_IN = "/etc/systemd/network/10-netplan-{}.network.d/05-scs.conf"
_SECTIONS = {
    "physical": "ethernets",
    "bond": "bonds",
    "vlan": "vlans",
    "bridge": "bridges",
    "dummy": "dummy-devices",
}


class _Dumper(yaml.SafeDumper):
    """Indents sequences below their key, as yamllint requires."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002 - PyYAML passes it
        super().increase_indent(flow, indentless=False)


def render(links: Mapping[str, Link]) -> dict[str, str]:
    """The netplan file and its companions, path: text.

    :param links: must have passed `link_checks.problems`
    """
    network: dict[str, Any] = {"version": 2, "renderer": "networkd"}
    for name, link in sorted(links.items()):
        network.setdefault(_SECTIONS[link.kind], {})[name] = _device(name, link, links)
    text = yaml.dump({"network": network}, Dumper=_Dumper, sort_keys=False, default_flow_style=False, width=120)
    keep = f"{HEADER}\n[Network]\n{'='.join(KEEP)}\n"
    # netplan has no key for this
    extra = {DROP_IN.format(name): keep for name, o in sorted(links.items()) if o.enabled and not _master(name, links)}
    return {FILE: f"{HEADER}\n{text}", **SHARED, **extra}


def _master(name: str, links: Mapping[str, Link]) -> bool:
    return any(name in other.members for other in links.values())


def _device(name: str, link: Link, links: Mapping[str, Link]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    if link.kind == "physical" and link.mac:
        result |= {"match": {"macaddress": link.mac}, "set-name": name}
    elif link.mac:
        result["macaddress"] = link.mac
    if link.kind == "vlan":
        result |= {"id": link.vlan, "link": link.parent}
    if link.kind in ("bond", "bridge"):
        result |= {"interfaces": list(link.members), "parameters": _parameters(link)}
    if link.mtu is not None:
        result["mtu"] = link.mtu
    addressed = bool(link.addresses or link.dhcp or link.accept_ra)
    if not link.enabled:
        result["activation-mode"] = "off"
    if not link.enabled or not addressed:
        result["optional"] = True
    if not _master(name, links):
        result |= {"dhcp4": link.dhcp, "accept-ra": link.accept_ra, "link-local": ["ipv6"] if addressed else []}
    if link.addresses:
        result["addresses"] = [str(a) for a in link.addresses]
    if link.kind == "bridge" and not link.members:
        result["ignore-carrier"] = True
    routes = _routes(link)
    if routes:
        result["routes"] = routes
    if link.nameservers:
        result["nameservers"] = {"addresses": [str(n) for n in link.nameservers]}
    return result


def _parameters(link: Link) -> dict[str, Any]:
    if link.kind == "bridge":
        return {"stp": False, "forward-delay": 0}
    mode = link.mode or DEFAULT_BOND_MODE
    result: dict[str, Any] = {"mode": mode, "mii-monitor-interval": 100}
    if mode in ADDRESS_MODES:
        result["transmit-hash-policy"] = "layer3+4"
    if mode == "802.3ad":
        result["lacp-rate"] = "fast"
    return result


def _routes(link: Link) -> list[dict[str, Any]]:
    result: list[dict[str, Any]] = [
        {"to": to, "via": str(via)} for to, via in (("0.0.0.0/0", link.gateway4), ("::/0", link.gateway6)) if via
    ]
    for route in link.routes:
        metric = {"metric": route.metric} if route.metric is not None else {}
        result.append({"to": str(route.to), "via": str(route.via), **metric})
    return result
