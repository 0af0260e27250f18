# SPDX-License-Identifier: Apache-2.0
"""The reachability check: where it connects from, what it tries, and what it takes for declared."""

from __future__ import annotations

from typing import Any

import pytest

from scs_deploy.region.region import Region
from scs_deploy.validate import reach
from scs_deploy.validate.checks import reachability
from scs_deploy.validate.region import Region as Validated
from scs_deploy.validate.registry import CheckFailedError
from tests.conftest import dummy_region

SOCKETS = {
    "ha-1": [("172.30.2.11", 11211), ("172.30.2.9", 5000), ("0.0.0.0", 22)],
    "ha-2": [("172.30.2.12", 11211), ("0.0.0.0", 22)],
    "ha-3": [],
}  # fmt: skip


@pytest.fixture(scope="module")
def region() -> Region:
    return dummy_region("testbed-ha")


def place(region: Region, network: str) -> reach.Vantage:
    found = reach.vantages(region, {"ha-1": {"172.30.3.11": "br-ex"}})
    return next(v for v in found if v.network == network)


def test_there_is_a_place_on_each_network_and_for_each_kind_of_host(region: Region) -> None:
    places = reach.vantages(region, {"ha-1": {"172.30.3.11": "br-ex"}})
    assert [(v.host, v.network, v.interface) for v in places] == [
        ("ha-1", "management", "eth0"), ("ha-1", "provider", "br-ex"),
        # no monitoring server: others do not show it their metrics
        ("ha-3", "management", "eth0"),
    ]  # fmt: skip


def test_other_networks_are_tried_by_way_of_the_host_and_of_another_one(region: Region) -> None:
    tried = list(reach.probes(region, place(region, "provider"), SOCKETS))
    ways = {p.router for p in tried if (p.host, p.address, p.port) == ("ha-2", "172.30.2.12", 11211)}
    assert ways == {"172.30.3.12", "172.30.3.13"}
    # on its own network without a router
    assert {p.router for p in tried if p.address == "172.30.3.12"} == {""}
    assert {p.host for p in tried} == {"ha-2"}


def test_what_specs_declare_for_the_place_is_declared(region: Region) -> None:
    management, provider = place(region, "management"), place(region, "provider")
    cache: dict[str, Any] = {"router": "", "host": "ha-2", "address": "172.30.2.12", "port": 11211}
    assert reach.declared(region, reach.Probe(vantage=management, **cache))
    assert not reach.declared(region, reach.Probe(vantage=provider, **cache))
    assert reach.declared(region, reach.Probe(vantage=management, **{**cache, "port": 22}))
    assert not reach.declared(region, reach.Probe(vantage=provider, **{**cache, "port": 22}))
    assert not reach.declared(region, reach.Probe(vantage=management, **{**cache, "port": 7777}))


def test_the_check_names_what_is_open_and_not_declared(region: Region, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every port that is tried is open."""

    def play(_region: Region, arguments: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        count = len(next(iter(arguments.values())).get("probes", ()))
        return {
            h: {"listening": SOCKETS[h], "addresses": {}, "accepted": list(range(count))} for h in arguments
        }  # fmt: skip

    monkeypatch.setattr(Region, "load", lambda *_a, **_k: region)
    monkeypatch.setattr(reachability, "_play", play)
    validated: Any = Validated(region.environment, "t", lambda: None)  # type: ignore[arg-type, return-value]
    with pytest.raises(CheckFailedError, match=r"ha-2 172\.30\.2\.12:11211 from ha-1 on provider by way of 172"):
        reachability.reachability(validated)
