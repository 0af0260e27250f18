# SPDX-License-Identifier: Apache-2.0
"""Guests get DNS servers that they can ask: set ones, else those of the host's links, never the host's loopback."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from scs_deploy.base.errors import RefusedError
from scs_deploy.desired import resolve
from scs_deploy.inventory.links import Link
from scs_deploy.inventory.model import Inventory
from scs_deploy.region import resolvers
from scs_deploy.region.region import Region


def with_settings(region: Region, servers: Any, link: Link | None = None) -> Region:
    settings = {} if servers is None else {resolvers.KEY: servers}
    hosts = {
        name: host.model_copy(
            update={
                "settings": {**{k: v for k, v in host.settings.items() if k != resolvers.KEY}, **settings},
                "links": {"eth0": link} if link else {},
            }
        )
        for name, host in region.inventory.hosts.items()
    }
    return dataclasses.replace(region, inventory=Inventory(hosts=hosts, groups=region.inventory.groups))


LINK = Link.model_validate({"nameservers": ["192.0.2.53", "2001:db8::53"], "addresses": ["192.0.2.7/24"]})


@pytest.mark.parametrize(
    ("servers", "link", "found"),
    [
        (["192.0.2.1"], LINK, ["192.0.2.1"]),
        (None, LINK, ["192.0.2.53", "2001:db8::53"]),
        ([], LINK, ["192.0.2.53", "2001:db8::53"]),
    ],
)
def test_where_they_come_from(testbed: Region, servers: Any, link: Link, found: list[str]) -> None:
    region = with_settings(testbed, servers, link)
    assert resolvers.for_guests(region, region.inventory.hosts["testbed-1"]) == found


@pytest.mark.parametrize(
    ("servers", "said"),
    [
        (None, "host testbed-1: neutron_dns_servers: not set"),
        (["127.0.0.53"], "host testbed-1: neutron_dns_servers: 127.0.0.53 cannot be reached from a guest"),
        (["::1"], "::1 cannot be reached from a guest"),
        (["dns.example.com"], "'dns.example.com' is not an address"),
        ("192.0.2.1", "'192.0.2.1' is not a list"),
    ],
)
def test_what_guests_cannot_use_is_refused(testbed: Region, servers: Any, said: str) -> None:
    region = with_settings(testbed, servers)
    with pytest.raises(RefusedError, match=said) as refused:
        resolvers.for_guests(region, region.inventory.hosts["testbed-1"])
    assert str(region.environment.inventory) in refused.value.message
    assert refused.value.hint


def test_neutron_hands_out_what_is_set(testbed: Region) -> None:
    files = resolve.resolve(testbed, "testbed-1", {"neutron"}).files.values()
    text = next(f.content for f in files if f.container == "neutron_api" and f.name == "ml2_conf.ini")
    assert "\ndns_servers = 9.9.9.9,149.112.112.112\n" in text
