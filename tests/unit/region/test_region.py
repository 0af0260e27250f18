# SPDX-License-Identifier: Apache-2.0
"""What a region's parts must agree on before anything is planned."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

import pytest

from scs_deploy.base.errors import RefusedError
from scs_deploy.inventory import source
from scs_deploy.inventory.model import Host, Inventory, grouped
from scs_deploy.region.region import Region, check
from tests.conftest import dummy_region


def without(*names: str) -> Callable[[Inventory], Inventory]:
    """The inventory without some hosts."""
    return lambda inventory: grouped({n: h for n, h in inventory.hosts.items() if n not in names})


def out_of(group: str) -> Callable[[Inventory], Inventory]:
    """The inventory where no host is in a group."""

    def leave(host: Host) -> Host:
        return host.model_copy(update={"groups": tuple(g for g in host.groups if g != group)})

    return lambda inventory: grouped({n: leave(h) for n, h in inventory.hosts.items()})


@pytest.fixture(scope="module")
def ha() -> Region:
    return dummy_region("testbed-ha")


@pytest.mark.parametrize("setting", ["glance_store", "nova_images"])
def test_ceph_is_chosen_only_where_it_is(ha: Region, setting: str) -> None:
    first, *others = ha.inventory.hosts.values()
    chosen = first.model_copy(update={"settings": {**first.settings, setting: "rbd"}})
    bare = {h.name: h.model_copy(update={"groups": tuple(g for g in h.groups if g != "storage")}) for h in others}
    chosen = chosen.model_copy(update={"groups": tuple(g for g in chosen.groups if g != "storage")})
    inventory = grouped({first.name: chosen, **bare})
    said = [str(p) for p in source.region_problems(inventory, ha.environment, ha.catalog)]
    assert any(f"{first.name}: {setting} is 'rbd', but group storage has no hosts; use " in p for p in said)


def test_a_value_that_means_nothing_without_another_one_is_a_problem(testbed: Region) -> None:
    hosts = {
        n: h.model_copy(update={"settings": {**h.settings, "alertmanager_mail_to": ["ops@example.org"]}})
        for n, h in testbed.inventory.hosts.items()
    }
    inventory = grouped(hosts)
    said = [str(p) for p in source.region_problems(inventory, testbed.environment, testbed.catalog)]
    others = ("alertmanager_mail_from", "alertmanager_smarthost")
    wanted = [f"testbed-1: alertmanager_mail_to has a value, but {other} has none; set both" for other in others]
    assert said == wanted


def test_a_shipped_region_is_complete(ha: Region) -> None:
    check(ha)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("ha-3"), "group control: has 2 hosts, but mariadb needs an odd number: use 1 or 3"),
        (without("ha-3"), "group control: has 2 hosts, but ovn needs an odd number: use 1 or 3"),
        (
            out_of("compute"),
            "group compute: has no hosts, but these containers run on it: neutron_metadata_agent, nova_",
        ),
    ],
)
def test_an_inventory_that_does_not_fit_the_catalog(
    ha: Region, change: Callable[[Inventory], Inventory], message: str
) -> None:
    with pytest.raises(RefusedError, match=re.escape(message)) as error:
        check(dataclasses.replace(ha, inventory=change(ha.inventory)))
    first, *problems = error.value.message.splitlines()
    assert first == f"{ha.environment.inventory}: {len(problems)} problem{'s' * (len(problems) != 1)}:"
    assert all(p.startswith("  group ") for p in problems)


def test_an_image_that_the_release_does_not_have(ha: Region) -> None:
    images = {n: i for n, i in ha.release.images.items() if n != "glance"}
    region = dataclasses.replace(ha, release=ha.release.model_copy(update={"images": images}))
    with pytest.raises(RefusedError, match=r"images: no 'glance'") as error:
        check(region)
    assert error.value.hint == "container glance_replica of glance needs it"


def on(**addresses: bool) -> Callable[[Inventory], Inventory]:
    """The inventory without a choice of the tunnels' network; `provider=False`: no host has an address there."""

    def place(host: Host) -> Host:
        networks = {
            n: i if addresses.get(n, True) else i.model_copy(update={"address": None}) for n, i in host.networks.items()
        }
        settings = {k: v for k, v in host.settings.items() if k != "ovn_tunnel_network"}
        return host.model_copy(update={"networks": networks, "settings": settings})

    return lambda inventory: grouped({n: place(h) for n, h in inventory.hosts.items()})


def test_the_tunnels_network_follows_from_the_addresses_that_hosts_have(ha: Region) -> None:
    """A region whose hosts have addresses on `management` only is complete."""
    assert dataclasses.replace(ha, inventory=on()(ha.inventory)).defaults["ovn_tunnel_network"] == "provider"
    small = dataclasses.replace(ha, inventory=on(provider=False, tunnel=False)(ha.inventory))
    assert small.defaults["ovn_tunnel_network"] == "management"
    assert not [
        p for p in source.region_problems(small.inventory, small.environment, small.catalog) if "tunnel" in p.what
    ]


def test_a_host_without_the_default_tunnel_network_is_refused_and_told_that_it_is_a_default(ha: Region) -> None:
    hosts = dict(on()(ha.inventory).hosts)
    hosts["ha-2"] = on(provider=False)(grouped({"ha-2": hosts["ha-2"]})).hosts["ha-2"]
    problems = source.region_problems(grouped(hosts), ha.environment, ha.catalog)
    assert "ha-2: has no address on network provider, which ovn_tunnel_network names by default; set it" in str(
        problems[0]
    )
