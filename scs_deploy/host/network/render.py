# SPDX-License-Identifier: Apache-2.0
"""Render the files of a host's network, for any renderer."""

from __future__ import annotations

from collections.abc import Mapping

from scs_deploy.host.network import netplan, networkd
from scs_deploy.inventory.links import Link

RENDERERS = {"networkd": networkd.render, "netplan": netplan.render}
RESOLV_CONF = "/etc/resolv.conf"
OWN = (
    "/etc/systemd/network/05-scs-*",
    "/etc/systemd/network/10-netplan-*.network.d/05-scs.conf",
    "/etc/systemd/networkd.conf.d/05-scs.conf",
    "/etc/netplan/60-scs.yaml",
)
"""Patterns of scs's own files. Files that match and are no longer wanted are removed."""
MOST_NAMESERVERS = 3
"""glibc ignores further name servers, resolv.conf(5)."""


def files(links: Mapping[str, Link], renderer: str, resolv_conf: str | None = None) -> dict[str, str]:
    """The wanted files of a host, path: text.

    :param renderer: a key of RENDERERS
    :param resolv_conf: text of the file if it alone configures name servers; None if a resolver manages the file and
        gets the name servers from the links
    """
    wanted = RENDERERS[renderer](links)
    nameservers = list(dict.fromkeys(str(n) for link in links.values() if link.enabled for n in link.nameservers))
    if resolv_conf is not None and nameservers:
        wanted[RESOLV_CONF] = resolver(resolv_conf, nameservers)
    return wanted


def resolver(text: str, nameservers: list[str]) -> str:
    """resolv.conf with new name servers. The search list and options are kept."""
    kept = [line for line in text.splitlines() if line.split()[:1] in (["search"], ["domain"], ["options"])]
    own = [f"nameserver {address}" for address in nameservers[:MOST_NAMESERVERS]]
    return "\n".join(["# written by scs", *kept, *own]) + "\n"
