# SPDX-License-Identifier: Apache-2.0
"""The testbed as data: the networks and nodes that an environment and an inventory define."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from scs_deploy.base.errors import RefusedError
from scs_deploy.environment.environment import Environment, Settings
from scs_deploy.inventory.model import Host, Interface, Inventory
from scs_deploy.testbed import layout, provider

NETWORKS = {"management": {"cidr": "10.1.0.0/24"}, "provider": {"cidr": "10.1.1.0/24", "mtu": 1400}}


def environment(**changes: Any) -> Environment:
    settings = {
        "release": "r",
        "networks": NETWORKS,
        "api": {
            "internal": {"address": "10.1.0.9", "name": "internal.example"},
            "external": {"address": "10.1.0.10", "name": "api.example"},
        },
        "registry": {"address": "10.1.0.1"},
        "vault_password_file": "vault_password",
        "testbed": {},
    }
    return Environment(name="lab", path=Path("/lab"), settings=Settings.model_validate(settings | changes))


def inventory(**hosts: dict[str, tuple[str, str | None]]) -> Inventory:
    made = {}
    for name, networks in hosts.items():
        places = {n: Interface.model_validate({"interface": i, "address": a}) for n, (i, a) in networks.items()}
        made[name] = Host(name=name, address=str(places["management"].address), networks=places, groups=(), settings={})
    return Inventory(hosts=made, groups={})


def test_a_host_becomes_a_node_on_its_networks() -> None:
    hosts = inventory(n1={"provider": ("eth1", "10.1.1.11"), "management": ("eth0", "10.1.0.11")})
    found = layout.layout(environment(), hosts)

    assert [(n.full_name, str(n.cidr), str(n.gateway), n.mtu) for n in found.networks] == [
        ("scs-lab-management", "10.1.0.0/24", "10.1.0.1", 1500),
        ("scs-lab-provider", "10.1.1.0/24", "10.1.1.1", 1400),
    ]
    (node,) = found.nodes
    assert (node.full_name, node.docker_volume, node.address) == ("scs-n1", "scs-n1-docker", "10.1.0.11")
    assert [(a.interface, a.network, str(a.address)) for a in node.attachments] == [
        ("eth0", "scs-lab-management", "10.1.0.11"),
        ("eth1", "scs-lab-provider", "10.1.1.11"),
    ]
    assert found.names == (("10.1.0.9", "internal.example"), ("10.1.0.10", "api.example"))


def test_the_management_gateway_is_the_registrys_address() -> None:
    hosts = inventory(n1={"management": ("eth0", "10.1.0.11")})
    found = layout.layout(environment(registry={"address": "10.1.0.5"}), hosts)
    assert str(found.networks[0].gateway) == "10.1.0.5"


@pytest.mark.parametrize(
    ("hosts", "message"),
    [
        ({"n1": {"management": ("ens3", "10.1.0.11")}}, "ens3 on scs-lab-management would be eth0"),
        ({"n1": {"management": ("eth1", "10.1.0.11"), "provider": ("eth0", "10.1.1.11")}}, "eth1 on .* would be eth0"),
        (
            {"n1": {"management": ("eth0", "10.1.0.11"), "provider": ("eth1", None)}},
            "provider: a testbed host needs an IPv4 address",
        ),
        ({"n1": {"management": ("eth0", "10.1.0.1")}}, "10.1.0.1 is the manager's address on network management"),
    ],
)
def test_a_layout_that_docker_cannot_create_is_refused(hosts: dict[str, Any], message: str) -> None:
    with pytest.raises(RefusedError, match=message):
        layout.layout(environment(), inventory(**hosts))


def test_a_registry_outside_the_management_network_is_refused() -> None:
    with pytest.raises(RefusedError, match=r"registry.address: 10.9.0.1 is outside 10.1.0.0/24"):
        layout.layout(
            environment(registry={"address": "10.9.0.1"}), inventory(n1={"management": ("eth0", "10.1.0.11")})
        )


def test_overlap_names_the_other_network() -> None:
    others = {"Docker network a": IPv4Network("10.2.0.0/16"), "the route to b": IPv4Network("10.1.0.128/25")}
    assert layout.overlap(IPv4Network("10.1.0.0/24"), others) == "the route to b"
    assert layout.overlap(IPv4Network("10.3.0.0/24"), others) is None


def test_layouts_are_the_included_environments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCS_ENVIRONMENTS", str(tmp_path))
    for name in ("testbed", "testbed-three"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "environment.yml").touch()
    assert layout.environment_of("single") == "testbed"
    assert layout.environment_of("three") == "testbed-three"
    with pytest.raises(RefusedError, match=r"no layout 'four' \(available: single, three\)"):
        layout.environment_of("four")


def test_an_unknown_provider_is_refused() -> None:
    with pytest.raises(RefusedError, match=r"testbed.provider: no provider 'bare' \(available: containers\)"):
        provider.load(environment(testbed={"provider": "bare"}), inventory())


def test_a_real_region_has_no_provider() -> None:
    with pytest.raises(RefusedError, match="no key 'testbed'"):
        provider.load(environment(testbed=None), inventory())


def test_a_user_other_than_root_is_refused() -> None:
    hosts = inventory(n1={"management": ("eth0", "10.1.0.11")})
    with pytest.raises(RefusedError, match=r"ssh\.user"):
        provider.load(environment(ssh={"user": "debian"}), hosts)
