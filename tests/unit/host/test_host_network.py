# SPDX-License-Identifier: Apache-2.0
"""The changes to a host's network, their outcome for the operator, and the decisions of the program on the host."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import pytest
import scs_network_links

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.host.network import action, expect, plan, render
from scs_deploy.host.network.plan import Observed
from scs_deploy.host.trial import UnreachedError
from scs_deploy.inventory.links import Link

ETH0 = "/etc/systemd/network/05-scs-eth0.network"
LINKS = {"eth0": Link.model_validate({"addresses": ["192.0.2.11/24"], "gateway4": "192.0.2.1"})}
RUNNING: dict[str, Any] = {"active": True, "enabled": True, "resolved": True}


# what changes


def test_a_host_in_the_wanted_state_has_no_changes() -> None:
    wanted = render.files(LINKS, "networkd")
    assert plan.compare("n", wanted, Observed(files=wanted, **RUNNING)).empty


def test_a_change_lists_its_lines() -> None:
    wanted = render.files(LINKS, "networkd")
    old = {**wanted, ETH0: wanted[ETH0].replace("192.0.2.1\n", "192.0.2.2\n"), "/etc/netplan/50-cloud-init.yaml": "x\n"}
    found = plan.compare("n", wanted, Observed(files=old, **RUNNING))
    assert plan.text(found) == [
        "remove /etc/netplan/50-cloud-init.yaml",
        "    -x",
        f"change {ETH0}",
        "    -Gateway=192.0.2.2",
        "    +Gateway=192.0.2.1",
    ]
    assert found.impact == "network"


@pytest.mark.parametrize(
    ("seen", "reasons"),
    [
        ({"active": False}, ("systemd-networkd is not running",)),
        ({"enabled": False}, ("systemd-networkd does not start at boot",)),
        ({"faults": ("eth0 is down",)}, ("eth0 is down",)),
    ],
)
def test_a_host_with_the_wanted_files_can_need_changes(seen: dict[str, Any], reasons: tuple[str, ...]) -> None:
    wanted = render.files(LINKS, "networkd")
    assert plan.compare("n", wanted, Observed(files=wanted, **{**RUNNING, **seen})).reasons == reasons


def test_faults_of_links_are_not_reported_if_files_change() -> None:
    found = plan.compare("n", render.files(LINKS, "networkd"), Observed(files={}, faults=("eth0 is down",), **RUNNING))
    assert found.reasons == ()


NAMESERVERS = {"eth0": Link.model_validate({"nameservers": [f"192.0.2.{n}" for n in (1, 2, 3, 4)]})}


def test_name_servers_are_written_to_resolv_conf_if_no_resolver_manages_it() -> None:
    old = "# by dhclient\nsearch example.com\nnameserver 198.51.100.1\noptions ndots:1\n"
    assert render.files(NAMESERVERS, "networkd", old)["/etc/resolv.conf"] == (
        "# written by scs\nsearch example.com\noptions ndots:1\n"
        "nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\n"
    )
    assert "/etc/resolv.conf" not in render.files(NAMESERVERS, "networkd", None)
    assert "/etc/resolv.conf" not in render.files(LINKS, "networkd", old)


def test_a_resolv_conf_that_scs_does_not_manage_is_never_removed() -> None:
    seen = Observed(files={"/etc/resolv.conf": "nameserver 192.0.2.1\n"}, **RUNNING)
    assert "/etc/resolv.conf" not in plan.unwanted(render.files(LINKS, "networkd"), seen)


# how a try ends


class Node:
    """A host whose module returns given results. Records the steps."""

    def __init__(self, *states: Mapping[str, Any] | None, observed: Mapping[str, Any] | None = None) -> None:
        self.states = list(states)
        self.steps: list[Any] = []
        self.observed = {"files": {}, **RUNNING, **(observed or {})}
        self.connections = 0

    def __call__(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        step = arguments["step"]
        self.steps.append(step)
        if step == "observe":
            return {"observed": self.observed}
        if step == "try":
            return {"connection": "192.0.2.9 40000 192.0.2.11 22"}
        assert arguments["not_over"] == "192.0.2.9 40000 192.0.2.11 22"
        state = self.states.pop(0)
        if state is None:
            raise UnreachedError("connection timed out")
        return {"status": {"problems": [], "warnings": [], **state}}

    def reconnect(self) -> None:
        self.connections += 1

    def act(self, consent: bool = True, links: Mapping[str, Link] = LINKS) -> dict[str, Any]:
        options = {"renderer": "networkd", "seconds": 5, "replaces": []}
        return action.act("n", links, options, consent, self, self.reconnect)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fake clock: each reading is ten seconds later."""
    clock = iter(range(0, 10**6, 10))
    monkeypatch.setattr(time, "sleep", lambda _s: None)
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))


def test_without_links_the_host_is_not_contacted() -> None:
    node = Node()
    assert node.act(links={}) == {"changed": False}
    assert node.steps == []


def test_without_consent_the_host_is_only_observed() -> None:
    node = Node()
    result = node.act(consent=False)
    assert (result["changed"], result["held"], node.steps) == (False, True, ["observe"])


def test_the_confirmation_uses_a_connection_opened_after_the_links_were_up() -> None:
    node = Node(
        {"state": "applying"}, None, {"state": "ready"}, {"state": "confirmed", "warnings": ["eth1 has no carrier"]}
    )
    result = node.act()
    assert node.steps == ["observe", "try", "status", "status", "status", "confirm"]
    assert node.connections == 4
    assert result["warnings_of_links"] == ["eth1 has no carrier"]


ENDS = {
    "taken back": ({"state": "rolled back", "problems": ["eth0 has no carrier"]}, ScsError, 1, "eth0 has no carrier"),
    "does not fit": ({"state": "refused", "problems": ["no port eth0 here"]}, RefusedError, 2, "no port eth0 here"),
}


@pytest.mark.parametrize("case", ENDS)
def test_the_error_for_a_rolled_back_change_names_the_reason(case: str) -> None:
    state, kind, code, told = ENDS[case]
    with pytest.raises(kind, match=told) as caught:
        Node({"state": "applying"}, state).act()
    assert caught.value.exit_code == code


@pytest.mark.parametrize("seconds", [0, 4, 901])
def test_an_unreasonable_timeout_is_refused(seconds: int) -> None:
    node = Node()
    with pytest.raises(RefusedError, match="network_confirm_seconds"):
        action.act("n", LINKS, {"renderer": "networkd", "seconds": seconds}, True, node, node.reconnect)
    assert node.steps == []


def test_the_error_for_an_unreachable_host_contains_the_ssh_error() -> None:
    with pytest.raises(ScsError, match=r"unreachable since its network changed: connection timed out"):
        Node(*[None] * 50).act()


@pytest.mark.parametrize(
    ("observed", "told"),
    [({"missing": ["netplan"]}, "not installed: netplan"), ({"trying": True}, "is waiting for confirmation")],
)
def test_an_unsuitable_host_is_refused_before_anything_changes(observed: dict[str, Any], told: str) -> None:
    node = Node(observed=observed)
    with pytest.raises(RefusedError, match=told):
        node.act()
    assert node.steps == ["observe"]


# what the program decides


def link(name: str, *addresses: str, flags: tuple[str, ...] = ("UP", "LOWER_UP"), **more: Any) -> dict[str, Any]:
    entries = [{"local": a.split("/")[0], "prefixlen": int(a.split("/")[1]), "scope": "global"} for a in addresses]
    return {"ifname": name, "flags": list(flags), "mtu": 1500, "addr_info": entries, "link_type": "ether", **more}


def view(*links: dict[str, Any], routes: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    return {"links": {one["ifname"]: one for one in links}, "routes": list(routes)}


DEFAULT = {"family": "-4", "dst": "default", "gateway": "192.0.2.1", "dev": "eth0", "protocol": "static"}
WAY_BACK: dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {
    "nothing changed": (view(link("eth0", "192.0.2.11/24")), view(link("eth0", "192.0.2.11/24")), []),
    "another address and route": (
        view(link("eth0", "192.0.2.11/24"), routes=(DEFAULT,)),
        view(link("eth0", "192.0.2.12/24"), routes=({**DEFAULT, "gateway": "192.0.2.2"},)),
        ["address del 192.0.2.12/24 dev eth0", "address add 192.0.2.11/24 dev eth0",
         "-4 route del default via 192.0.2.2 dev eth0 proto static",
         "-4 route replace default via 192.0.2.1 dev eth0 proto static"],
    ),
    "a bridge around the port": (
        view(link("eth0", "192.0.2.11/24", flags=("UP",))),
        view(link("eth0", master="br0", mtu=1400, flags=()), link("br0", "192.0.2.11/24")),
        ["link del br0", "link set eth0 nomaster", "link set eth0 mtu 1500", "link set eth0 up",
         "address add 192.0.2.11/24 dev eth0"],
    ),
    "links that nobody described stay": (
        view(link("docker0", "172.17.0.1/16")), view(link("docker0"), link("veth1")), []),
}  # fmt: skip


@pytest.mark.parametrize("case", WAY_BACK)
def test_rollback_commands(case: str) -> None:
    before, now, expected = WAY_BACK[case]
    assert [" ".join(c) for c in scs_network_links.way_back(before, now, {"eth0", "br0"})] == expected


def expected_links(**links: Any) -> dict[str, Any]:
    return expect.links({name: Link.model_validate(value) for name, value in links.items()})


def test_addresses_of_earlier_links_are_removed_and_those_of_others_kept() -> None:
    route = {"to": "198.51.100.0/24", "via": "192.0.2.1"}
    old = expected_links(eth0={"addresses": ["192.0.2.11/24", "192.0.2.12/24"], "routes": [route]})
    new = expected_links(eth0={"addresses": ["192.0.2.12/24"]})
    vip = "192.0.2.99/32"
    routes = ({**DEFAULT, "dst": "198.51.100.0/24"}, {**DEFAULT, "dst": "203.0.113.0/24"})
    now = view(link("eth0", "192.0.2.11/24", "192.0.2.12/24", vip), routes=routes)
    assert [" ".join(c) for c in scs_network_links.leftovers(old, new, now)] == [
        "address del 192.0.2.11/24 dev eth0",
        "-4 route del 198.51.100.0/24 via 192.0.2.1 dev eth0",
    ]


def test_routes_of_an_earlier_tool_are_removed_if_the_links_have_their_own() -> None:
    new = expected_links(eth0={"addresses": ["192.0.2.11/24"], "gateway4": "192.0.2.1"})
    by_hand = {**DEFAULT, "protocol": "boot", "gateway": "192.0.2.2"}
    other = {**by_hand, "dst": "203.0.113.0/24"}
    now = view(link("eth0"), routes=(DEFAULT, by_hand, other, {**by_hand, "dev": "docker0"}))
    assert [" ".join(c) for c in scs_network_links.superseded(new, now)] == [
        "-4 route del default via 192.0.2.2 dev eth0 proto boot"
    ]


REMADE = {
    "the same": ("Kind=vlan\nId=5", "Kind=vlan\nId=5", []),
    "another MTU, which networkd sets on the one that is there": (
        "Kind=vlan\nMTUBytes=1500\nId=5",
        "Kind=vlan\nId=5",
        [],
    ),
    "another VLAN": ("Kind=vlan\nId=5", "Kind=vlan\nId=6", ["v5"]),
    "gone": ("Kind=vlan\nId=5", None, ["v5"]),
    "new": (None, "Kind=vlan\nId=5", []),
}


@pytest.mark.parametrize("path", ["/etc/systemd/network/05-scs-v5.netdev", "/run/systemd/network/10-netplan-v5.netdev"])
@pytest.mark.parametrize("case", REMADE)
def test_a_virtual_link_with_other_properties_is_recreated(case: str, path: str) -> None:
    before, after, expected = REMADE[case]
    assert scs_network_links.remade({path: before}, {path: after}) == expected


UP = {"eth0": {"AdministrativeState": "configured", "NetworkFile": ETH0}}
MISSING: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any], list[str], list[str]]] = {
    "all is well": ({"addresses": ["192.0.2.11/24"]}, view(link("eth0", "192.0.2.11/24")), UP, [], []),
    "no such link": ({}, view(), {}, ["eth0 does not exist"], []),
    "an address is missing": (
        {"addresses": ["192.0.2.11/24"]}, view(link("eth0")), UP, ["eth0 has no address 192.0.2.11/24"], []),
    "MTU": ({"mtu": 9000}, view(link("eth0")), UP, ["eth0 has MTU 1500, wanted 9000"], []),
    "in a bridge": ({}, view(link("eth0", master="br0")), UP, ["eth0 is a port of br0, wanted nothing"], []),
    "up, wanted down": ({"enabled": False}, view(link("eth0")), UP, ["eth0 is up, wanted down"], []),
    "down": ({}, view(link("eth0", flags=())), UP, ["eth0 is down"], []),
    "carrier lost": ({}, view(link("eth0", flags=("UP",))), UP, ["eth0 has no carrier"], []),
    "another file": (
        {}, view(link("eth0")), {"eth0": {"AdministrativeState": "configured", "NetworkFile": "/run/x.network"}},
        [f"eth0 is configured by /run/x.network, not by {ETH0}"], []),
    "no lease": (
        {"dhcp": True}, view(link("eth0")), {"eth0": {"SetupState": "configuring", "NetworkFile": ETH0}},
        ["eth0 is configuring: no answer by DHCP"], []),
    "no route": (
        {"addresses": ["192.0.2.11/24"], "gateway4": "192.0.2.1"}, view(link("eth0", "192.0.2.11/24")), UP,
        ["eth0: no route to default via 192.0.2.1"], []),
}  # fmt: skip


@pytest.mark.parametrize("case", MISSING)
def test_differences_from_the_wanted_state(case: str) -> None:
    wanted, now, states, problems, warnings = MISSING[case]
    before = view(link("eth0"))
    found = scs_network_links.missing(expected_links(eth0=wanted), before, now, states, {"eth0": ETH0})
    assert found == (problems, warnings)


def test_links_that_networkd_considers_configured_are_reconfigured() -> None:
    names = ("eth0", "eth1", "eth2", "eth3")
    links = expected_links(**{name: {"addresses": ["192.0.2.1/24"]} for name in (*names, "bond0")})
    now = view(link("eth0"), link("eth1"), link("eth2", "192.0.2.1/24"), link("eth3"))
    files = {name: f"/etc/systemd/network/05-scs-{name}.network" for name in links}
    states = {
        "eth0": {"AdministrativeState": "configured"}, "eth1": {"SetupState": "configured"},
        "eth2": {"AdministrativeState": "configured"}, "eth3": {"AdministrativeState": "configuring"},
        "docker0": {"AdministrativeState": "configured"},
    }  # fmt: skip
    states = {name: {**state, "NetworkFile": files.get(name, "")} for name, state in states.items()}
    assert scs_network_links.stuck(links, now, now, states, files) == ["eth0", "eth1"]


def test_a_port_that_never_had_carrier_is_a_warning() -> None:
    down = view(link("eth0", flags=("UP",)))
    assert scs_network_links.missing(expected_links(eth0={}), down, down, UP, {"eth0": ETH0}) == (
        [],
        ["eth0 has no carrier"],
    )


def test_ports_with_other_names_are_reported_with_their_location() -> None:
    now = view(link("eth0", address="02:00:00:00:00:01"), link("eth1", address="02:00:00:00:00:02"))
    wanted = expected_links(
        eth0={"mac": "02:00:00:00:00:02"}, eno9={"mac": "02:00:00:00:00:01"}, eth1={"mac": "02:00:00:00:00:02"}
    )
    assert scs_network_links.unfit(wanted, now) == [
        "eth0 has 02:00:00:00:00:01, links.eth0.mac says 02:00:00:00:00:02, which is eth1",
        "no port eno9 here; 02:00:00:00:00:01 is eth0",
    ]
