# SPDX-License-Identifier: Apache-2.0
"""The DNS servers that guests get on subnets without name servers of their own."""

from __future__ import annotations

import ipaddress
from typing import Any

from scs_deploy.base.errors import RefusedError
from scs_deploy.inventory.model import Host
from scs_deploy.region.region import Region

KEY = "neutron_dns_servers"


def for_guests(region: Region, host: Host, setting: Any = None) -> list[str]:
    """The DNS servers from the setting, or else from the host's links.

    Without DNS servers, Neutron would offer those in its container's /etc/resolv.conf. These may be the container
    engine's or systemd-resolved, at an address that on a guest is the guest itself.

    :param setting: value for the host; default: from the inventory or the catalog
    :raises RefusedError: no server, or one that guests cannot reach
    """
    where = f"{region.environment.inventory}: host {host.name}: {KEY}"
    given = (
        setting
        or host.settings.get(KEY, region.catalog.settings.get(KEY))
        or [str(server) for link in host.links.values() for server in link.nameservers]
    )
    if not isinstance(given, list):
        raise RefusedError(f"{where}: {given!r} is not a list", f"{KEY}: [192.0.2.53]")
    servers = list(dict.fromkeys(str(server) for server in given))
    for server in servers:
        try:
            address = ipaddress.ip_address(server)
        except ValueError:
            raise RefusedError(f"{where}: {server!r} is not an address", "name the DNS servers by address") from None
        if address.is_loopback or address.is_unspecified or address.is_link_local or address.is_multicast:
            raise RefusedError(f"{where}: {server} cannot be reached from a guest", "name a DNS server of your network")
    if not servers:
        raise RefusedError(
            f"{where}: not set, and the host's links name no DNS servers: guests could not resolve names",
            f"set {KEY} to the addresses of your DNS servers in the inventory's group_vars/all.yml",
        )
    return servers
