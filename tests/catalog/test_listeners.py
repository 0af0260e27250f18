# SPDX-License-Identifier: Apache-2.0
"""Every port on which a service listens is declared, once: what is not declared cannot be reached."""

from __future__ import annotations

import re

import pytest

from scs_deploy.desired import resolve
from scs_deploy.desired.listeners import declared, listening
from scs_deploy.region.region import Region
from scs_deploy.spec.container import Repeated
from scs_deploy.spec.listener import ANYONE, API_NETWORKS, MANAGER
from tests.conftest import dummy_region

REGIONS = ("testbed", "testbed-ha")
OTHER_KEYS = re.compile(r'"?\b(?:\w+_)?port"?\s*[=:]\s*"?(\d{2,5})\b')
"""`port = 3306`, `"health_port": 9293`"""
OF_CLIENTS = {"nova_metadata_port"}


def mentioned(region: Region, host: str) -> dict[int, str]:
    """port: where, of all that the files and definitions of a host say about its own addresses."""
    api = region.environment.settings.api
    own = [str(n.address) for n in region.inventory.hosts[host].networks.values()]
    own += [str(api.internal.address), str(api.external.address), "127.0.0.1", "0.0.0.0", "\\[::\\]"]
    addresses = "|".join(a if a.startswith("\\") else re.escape(a) for a in own)
    pairs = re.compile(rf"(?:{addresses}):(\d{{2,5}})\b|(\d{{2,5}}):(?:{addresses})\b|TCP-LISTEN:(\d+)")
    desired = resolve.resolve(region, host)
    texts = {f"{f.container}/{f.name}": f.content for f in desired.files.values()}
    texts |= {f"{n}: {' '.join(map(str, r.body['Cmd'] or ()))}": "" for n, r in desired.containers.items()}
    found: dict[int, str] = {}
    for place, text in texts.items():
        for match in pairs.finditer(place + "\n" + text):
            found[int(next(filter(None, match.groups())))] = place
        for line in text.splitlines():
            if (one := OTHER_KEYS.search(line)) and not any(key in line for key in OF_CLIENTS):
                found[int(one[1])] = place
    return found | {p: r.name for r in desired.containers.values() for p in r.ports}


def test_every_port_of_the_rendered_configuration_is_declared() -> None:
    """Of three hosts: on a single one, what members use among each other is configured and not opened."""
    region = dummy_region("testbed-ha")
    for host in region.inventory.hosts.values():
        known = [(one.first, one.last) for one in listening(region, host)]
        for port, place in mentioned(region, host.name).items():
            assert any(low <= port <= high for low, high in known), f"{place}: nobody declares port {port}"


@pytest.mark.parametrize("name", REGIONS)
def test_nothing_is_declared_twice(name: str) -> None:
    region = dummy_region(name)
    for host in region.inventory.hosts.values():
        taken: dict[tuple[object, ...], str] = {}
        endpoints = {
            (e.backend_port or e.port): s.name for s in region.catalog.services.values() for e in s.endpoints.values()
        }
        for one in declared(region, host):
            spec = region.catalog.services[one.service].containers[one.container]
            # those of the host's disks share a range
            name = spec.origin if isinstance(spec, Repeated) else one.container
            same = taken.get(one.key) == name and isinstance(spec, Repeated)
            assert same or one.key not in taken, f"{name}: {taken[one.key]} declares port {one.port}, too"
            taken[one.key] = name
            if one.network == "management":
                assert one.first not in endpoints, f"{one.container}: port {one.port} follows from an endpoint"


@pytest.mark.parametrize("name", REGIONS)
def test_every_client_is_a_group_with_hosts(name: str) -> None:
    region = dummy_region(name)
    for host in region.inventory.hosts.values():
        for one in listening(region, host):
            for client in one.clients:
                assert client in (MANAGER, ANYONE) or region.inventory.group(client), f"{one.container}: {client}"


def test_only_the_external_address_is_open_to_anyone(testbed: Region) -> None:
    host = testbed.inventory.hosts["testbed-1"]
    for one in listening(testbed, host):
        assert (ANYONE in one.clients) == (one.network == "external" and one.protocol != "vrrp"), one
        assert one.network in (*testbed.environment.settings.networks, *API_NETWORKS, "loopback")
