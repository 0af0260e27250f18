# SPDX-License-Identifier: Apache-2.0
"""Strangers reach the public ports and nothing else: a scan of all ports by nmap."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest

from scs_deploy.desired.listeners import listening
from scs_deploy.region.region import Region
from tests.e2e import stranger
from tests.e2e.blackbox import RegionUnderTest
from tests.e2e.stranger import Open


@pytest.fixture(scope="module")
def inputs(region: RegionUnderTest) -> Region:
    return Region.load(region.name)


def public(inputs: Region) -> Open:
    """What anybody may use: the public endpoints at the external address, and what leads browsers there."""
    address = str(inputs.environment.settings.api.external.address)
    declared = (one for host in inputs.inventory.hosts.values() for one in listening(inputs, host))
    return {
        (address, p)
        for one in declared
        if (one.network, one.protocol) == ("external", "tcp")
        for p in range(one.first, one.last + 1)
    }


def addresses(inputs: Region) -> set[str]:
    """All addresses of hosts and of the API."""
    api = inputs.environment.settings.api
    hosts = {str(n.address) for h in inputs.inventory.hosts.values() for n in h.networks.values() if n.address}
    return hosts | {str(api.internal.address), str(api.external.address)}


def management(inputs: Region) -> IPv4Network:
    cidr = inputs.environment.settings.networks["management"].cidr
    assert isinstance(cidr, IPv4Network)
    return cidr


def test_from_the_provider_network(inputs: Region) -> None:
    found: Open = set()
    for host in inputs.inventory.hosts.values():
        with stranger.on_network(inputs, "provider", management(inputs), str(host.networks["provider"].address)):
            found |= stranger.scan(sorted(addresses(inputs)))
    # the holder of the external address answers there, from wherever the request comes
    assert found == public(inputs)
