# SPDX-License-Identifier: Apache-2.0
"""Render links as files of networkd and udevd: systemd.link(5), systemd.netdev(5), systemd.network(5)."""

from __future__ import annotations

from collections.abc import Mapping

from scs_deploy.inventory.links import DEFAULT_BOND_MODE, Link

FOLDER = "/etc/systemd/network"
PREFIX = "05-scs-"
"""networkd reads files in the order of their names, and the first match wins: this precedes 10-netplan-* in /run."""
HEADER = "# written by scs; change the inventory's links instead"
ADDRESS_MODES = ("802.3ad", "balance-xor")
"""Bond modes that select the port by a hash of addresses."""

KEEP = ("KeepConfiguration", "static")
"""networkd keeps addresses that others add to a link, such as keepalived's. The program on the host removes those that
`links` no longer contains."""
SHARED = {
    "/etc/systemd/networkd.conf.d/05-scs.conf": f"{HEADER}\n[Network]\n"
    "ManageForeignRoutes=no\nManageForeignRoutingPolicyRules=no\nManageForeignNextHops=no\n"
}
"""Routes of OVN, Docker and the operator are kept: networkd.conf(5)."""

Section = tuple[str, list[tuple[str, str]]]


def render(links: Mapping[str, Link]) -> dict[str, str]:
    """All files, path: text.

    :param links: must have passed `link_checks.problems`
    """
    result = dict(SHARED)
    for name, link in sorted(links.items()):
        if link.kind != "physical":
            result[f"{FOLDER}/{PREFIX}{name}.netdev"] = _text(_netdev(name, link))
        elif link.mac:
            result[f"{FOLDER}/{PREFIX}{name}.link"] = _text(_port(name, link))
        result[f"{FOLDER}/{PREFIX}{name}.network"] = _text(_network(name, link, links))
    return result


def _port(name: str, link: Link) -> list[Section]:
    # bonds and VLANs inherit the MAC address of a port: only the permanent address identifies the port itself
    match = ("Match", [("PermanentMACAddress", link.mac or "")])
    return [match, ("Link", [("NamePolicy", ""), ("Name", name)])]


def _netdev(name: str, link: Link) -> list[Section]:
    device = [("Name", name), ("Kind", link.kind)]
    if link.mac:
        device.append(("MACAddress", link.mac))
    sections: list[Section] = [("NetDev", device)]
    if link.kind == "bond":
        mode = link.mode or DEFAULT_BOND_MODE
        # without monitoring, the bond would keep using a port without carrier
        bond = [("Mode", mode), ("MIIMonitorSec", "100ms")]
        if mode in ADDRESS_MODES:
            # the hash includes ports: Geneve between two hosts has many flows with the same addresses
            bond.append(("TransmitHashPolicy", "layer3+4"))
        if mode == "802.3ad":
            bond.append(("LACPTransmitRate", "fast"))
        sections.append(("Bond", bond))
    elif link.kind == "vlan":
        sections.append(("VLAN", [("Id", str(link.vlan))]))
    elif link.kind == "bridge":
        # otherwise a new port would not forward for 15 s
        sections.append(("Bridge", [("STP", "no"), ("ForwardDelaySec", "0")]))
    return sections


def _network(name: str, link: Link, links: Mapping[str, Link]) -> list[Section]:
    device = []
    if link.mtu is not None:
        device.append(("MTUBytes", str(link.mtu)))
    addressed = bool(link.addresses or link.dhcp or link.accept_ra)
    if not link.enabled:
        device.append(("ActivationPolicy", "always-down"))
    if not link.enabled or not addressed:
        # booting must not wait for a link that is disabled or only carries other links
        device.append(("RequiredForOnline", "no"))
    master = [(o.kind, n) for n, o in sorted(links.items()) if name in o.members]
    network = [(kind.capitalize(), owner) for kind, owner in master]
    network += [("VLAN", n) for n, o in sorted(links.items()) if o.kind == "vlan" and o.parent == name]
    if not master:
        network += [
            ("LinkLocalAddressing", "ipv6" if addressed else "no"),
            ("DHCP", "ipv4" if link.dhcp else "no"),
            ("IPv6AcceptRA", "yes" if link.accept_ra else "no"),
        ]
    if link.enabled and not master:
        network.append(KEEP)
    network += [("Address", str(a)) for a in link.addresses]
    network += [("Gateway", str(g)) for g in (link.gateway4, link.gateway6) if g is not None]
    network += [("DNS", str(n)) for n in link.nameservers]
    if link.kind == "bridge" and not link.members:
        # ports, such as those of guests, are added later: the addresses must not wait for them
        network.append(("ConfigureWithoutCarrier", "yes"))
    sections: list[Section] = [("Match", [("Name", name)])]
    if device:
        sections.append(("Link", device))
    sections.append(("Network", network))
    for route in link.routes:
        metric = [("Metric", str(route.metric))] if route.metric is not None else []
        sections.append(("Route", [("Destination", str(route.to)), ("Gateway", str(route.via)), *metric]))
    return sections


def _text(sections: list[Section]) -> str:
    blocks = ["\n".join([f"[{title}]", *(f"{key}={value}" for key, value in lines)]) for title, lines in sections]
    return HEADER + "\n" + "\n\n".join(blocks) + "\n"
