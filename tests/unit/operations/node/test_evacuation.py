# SPDX-License-Identifier: Apache-2.0
"""A dead host's guests: when they may be rebuilt elsewhere, which steps do that, and which undo it when it is back."""

from __future__ import annotations

from typing import Any

import pytest

from scs_deploy.base.errors import RefusedError
from scs_deploy.clusters.base import ClusterState, Server
from scs_deploy.operations.node import evacuation, guests, plan
from scs_deploy.operations.node.plan import NodeOptions, NodePlan
from scs_deploy.operations.node.run import refuse
from scs_deploy.operations.node.view import Compute, Guest, HostView, View, disabled_reason

HOSTS = ("a", "b", "c")
SILENT = "ssh: connect to host 192.0.2.3 port 22: No route to host"
ROOM = Compute(vcpus=4, memory=4096, disk=40, zone="nova")
DEAD = ROOM.model_copy(update={"up": False, "uuid": "uuid-c"})
OURS = {"enabled": False, "reason": disabled_reason("evacuate"), "forced_down": True}
ALL = ["fence", "disable_compute", "force_down", "hold_back", "evacuate_guests"]


def guest(name: str = "web", **values: Any) -> Guest:
    own = {"id": f"id-{name}", "name": name, "status": "ACTIVE", "vcpus": 1, "memory": 512, "disk": 1, "own_disk": True}
    return Guest(**{**own, **values})


def region(compute: Compute = DEAD, **changes: Any) -> View:
    """Three hosts with every role on each; c is dead, has guests on Ceph, and everybody has noticed."""
    hosts = {h: HostView(name=h, groups=("compute", "control", "network"), gateway=True, stores="") for h in HOSTS}
    hosts["c"] = hosts["c"].model_copy(update={"unreachable": SILENT, "gateway": False})
    alive = ("a", "b")
    clusters = [ClusterState(name=n, members=HOSTS, alive=alive, wanted=HOSTS) for n in ("Galera", "Ceph monitors")]
    clusters.append(ClusterState(name="Ceph OSDs", members=HOSTS, alive=alive, wanted=HOSTS, votes=False, heard=alive))
    servers = tuple(
        Server(balancer=b, backend=backend, host=h, up=h != "c", state="ready")
        for b in alive
        for backend in ("identity", "database", "image")
        for h in HOSTS
    )
    values: dict[str, Any] = {
        "hosts": hosts, "clusters": tuple(clusters), "servers": servers, "balancers": HOSTS,
        "backends": {"identity": "drain", "database": "maint", "image": ""},
        "computes": {"a": ROOM, "b": ROOM, "c": compute}, "guests": {"c": (guest(),)}, "shared": "",
    }  # fmt: skip
    return View(**{**values, **changes})


def changed(view: View, **values: Any) -> View:
    return view.model_copy(update={"hosts": {**view.hosts, "c": view.hosts["c"].model_copy(update=values)}})


def back(view: View | None = None, **values: Any) -> View:
    """The host is evacuated, and reachable again."""
    found = view or region(DEAD.model_copy(update=OURS), guests={})
    return changed(found, **{"unreachable": "", "fenced": ("192.0.2.3",), "gateway": True, **values})


def names(made: NodePlan) -> list[str]:
    return [s.name for s in made.steps]


def test_guests_of_a_dead_host_are_rebuilt_after_it_is_shut_out() -> None:
    made = evacuation.evacuate(region(), "c", NodeOptions())
    assert made.refusals == ()
    assert names(made) == ALL
    assert made.steps[-1].title == "rebuild 1 guest with their disks on other hosts: web"


def test_an_interrupted_evacuation_goes_on_where_it_stopped() -> None:
    view = changed(region(DEAD.model_copy(update=OURS)), fenced=("192.0.2.3",))
    out = tuple(s.model_copy(update={"state": "maint"}) if s.host == "c" else s for s in view.servers)
    view = view.model_copy(
        update={"servers": out, "guests": {"c": (guest(status="REBUILD", task="rebuild_spawning"),)}}
    )
    # somebody may have cleared Ceph's blocklist meanwhile
    assert names(evacuation.evacuate(view, "c", NodeOptions())) == ["fence", "evacuate_guests"]


def test_an_evacuated_host_needs_nothing() -> None:
    view = changed(region(DEAD.model_copy(update=OURS), guests={}), fenced=("192.0.2.3",))
    made = evacuation.evacuate(view, "c", NodeOptions())
    assert (names(made), made.refusals) == ([], ())
    assert view.evacuated("c")
    assert not view.evacuated("a")


def test_a_host_that_was_drained_is_marked_as_evacuated() -> None:
    drained = DEAD.model_copy(update={"enabled": False, "reason": "scs node drain"})
    assert "disable_compute" in names(evacuation.evacuate(region(drained), "c", NodeOptions()))
    # an operator's own reason stays, and so does the service, when the host is back
    theirs = DEAD.model_copy(update={"enabled": False, "reason": "broken fan"})
    assert "disable_compute" not in names(evacuation.evacuate(region(theirs), "c", NodeOptions()))


def heard(name: str) -> tuple[ClusterState, ...]:
    """Something of c is heard."""
    return tuple(
        c.model_copy(update={"heard": (*c.heard, "c")} if c.name == "Ceph OSDs" else {"alive": HOSTS})
        if c.name == name else c
        for c in region().clusters
    )  # fmt: skip


@pytest.mark.parametrize(
    ("view", "reason"),
    [
        (changed(region(), unreachable=""), "c is reachable (scs node drain c moves"),
        (changed(region(DEAD.model_copy(update=OURS)), unreachable=""), "c is reachable (scs node undrain c returns"),
        (
            changed(region(), unreachable="ssh: connect to host 192.0.2.3 port 22: Connection refused"),
            "c may be alive: it answers (ssh: connect",
        ),
        (changed(region(), unreachable="scs@192.0.2.3: Permission denied (publickey)."), "c may be alive: it answers"),
        (region(ROOM), "c may be alive: its nova-compute reports to Nova"),
        (region(clusters=heard("Galera")), "c may be alive: others hear its members of Galera"),
        # one of two OSDs
        (region(clusters=heard("Ceph OSDs")), "c may be alive: others hear its members of Ceph OSDs"),
        (
            region(servers=(Server(balancer="a", backend="identity", host="c", up=True, state="ready"),)),
            "c may be alive: load balancers reach its identity",
        ),
        (
            region(open_disks={"vms/id-web_disk": ("192.0.2.3",)}),
            "c may be alive: it has disks of guests open: vms/id-web_disk",
        ),
        (region(unknown_disks="Ceph does not say which disks are open: timeout"), "Ceph does not say which disks"),
        (region(shared=None), "no storage that hosts share"),
        (region(shared="no quorum of monitors answers"), "no quorum of monitors answers"),
        (region(computes={"c": DEAD}), "no other compute host is up and enabled"),
        (region(computes={"a": ROOM}), "c is no compute host"),
        (changed(region(), local_disks=True), "with their data: web (id-web): its disk is on the host"),
        (region(guests={"c": (guest(status="PAUSED"),)}), "web (id-web): its state is PAUSED"),
        (region(guests={"c": (guest(task="migrating"),)}), "web (id-web): busy: migrating"),
    ],
)  # fmt: skip
def test_evacuate_refuses(view: View, reason: str) -> None:
    with pytest.raises(RefusedError) as error:
        refuse(evacuation.evacuate(view, "c", NodeOptions()))
    assert reason in str(error.value)
    assert error.value.exit_code == 2
    assert "\n" not in str(error.value)


def test_a_host_that_was_reinstalled_runs_no_guest() -> None:
    """`scs node replace` wants its guests to be elsewhere first."""
    made = evacuation.evacuate(changed(region(), unreachable="", empty=True), "c", NodeOptions())
    assert (names(made), made.refusals) == (ALL, ())
    refused = plan.replace(changed(region(), unreachable="", empty=True), "c", NodeOptions())
    assert "scs node evacuate c" in refused.refusals[0].hint


def test_guests_that_cannot_be_rebuilt_are_left_on_request() -> None:
    own = (guest(), guest("paused", status="PAUSED"), guest("off", status="SHUTOFF"), guest("broken", status="ERROR"))
    made = evacuation.evacuate(region(guests={"c": own}), "c", NodeOptions(leave_guests=True))
    assert made.refusals == ()
    assert made.steps[-1].title == "rebuild 3 guests with their disks on other hosts: web, off, broken"
    assert [s.name for s in made.stays] == ["paused"]


def test_with_local_disks_only_guests_of_volumes_are_rebuilt() -> None:
    own = (guest(), guest("volume", own_disk=False, disk=0, volumes=("v1",)))
    view = changed(region(guests={"c": own}), local_disks=True)
    made = evacuation.evacuate(view, "c", NodeOptions(leave_guests=True))
    assert made.steps[-1].title == "rebuild 1 guest with their disks on other hosts: volume"
    assert evacuation.disks(view, "c") == ("volumes/volume-v1",)
    assert guests.disks(own[0], local=False) == ("vms/id-web_disk",)


def mixed(view: View, *local: str) -> View:
    """These hosts look for guests' disks among their own files."""
    hosts = {n: h.model_copy(update={"local_disks": n in local}) for n, h in view.hosts.items()}
    return view.model_copy(update={"hosts": hosts})


def test_a_disk_in_ceph_does_not_go_to_a_host_that_would_make_an_empty_one() -> None:
    own = (guest(), guest("volume", own_disk=False, disk=0))
    view = region(guests={"c": own})
    assert evacuation.destinations(view, "c", own) == {}, "Nova chooses"
    assert evacuation.destinations(mixed(view, "a"), "c", own) == {"id-web": "b"}
    # a compute host of Nova that the inventory does not know
    other = view.model_copy(update={"computes": {**view.computes, "d": ROOM}})
    assert evacuation.destinations(other, "c", own[:1])["id-web"] in ("a", "b")
    made = evacuation.evacuate(mixed(view, "a", "b"), "c", NodeOptions(leave_guests=True))
    assert [s.name for s in made.stays] == ["web"]
    assert made.steps[-1].title.endswith("other hosts: volume")
    large = mixed(region(guests={"c": (guest(memory=8192),)}), "a")
    refused = evacuation.evacuate(large, "c", NodeOptions()).refusals[0]
    assert "of those with disks in Ceph, no host has 1 vCPUs, 8192 MiB" in refused.reason


def test_a_host_with_nothing_to_rebuild_is_not_touched() -> None:
    view = changed(region(), local_disks=True)
    assert names(evacuation.evacuate(view, "c", NodeOptions(leave_guests=True))) == []


def test_guests_without_room_are_named_and_tried() -> None:
    own = tuple(guest(str(n), memory=4096) for n in range(3))
    made = evacuation.evacuate(region(guests={"c": own}), "c", NodeOptions())
    assert made.refusals == ()
    assert names(made) == ALL
    assert len(made.notes) == 1
    assert "may stay: no host has 1 vCPUs, 4096 MiB" in made.notes[0]


# the host is back


def test_what_an_evacuated_host_still_runs_ends_before_it_may_write() -> None:
    made = names(plan.undrain(back(), "c"))
    assert made == ["destroy_leftovers", "unfence", "force_up", "verify", "enable_compute"]


def test_servers_of_an_evacuated_host_are_used_again() -> None:
    view = back()
    out = tuple(s.model_copy(update={"state": "drain"}) if s.host == "c" else s for s in view.servers)
    made = names(plan.undrain(view.model_copy(update={"servers": out}), "c"))
    assert made.index("unfence") < made.index("verify") < made.index("use_balancer") < made.index("enable_compute")


def test_an_interrupted_return_goes_on_where_it_stopped() -> None:
    disabled = DEAD.model_copy(update={"enabled": False, "reason": disabled_reason("evacuate")})
    assert names(plan.undrain(back(fenced=()), "c")) == ["destroy_leftovers", "force_up", "verify", "enable_compute"]
    view = back(region(disabled, guests={}), fenced=())
    assert names(plan.undrain(view, "c")) == ["destroy_leftovers", "verify", "enable_compute"]


def test_what_others_forced_down_stays_so() -> None:
    view = changed(region(DEAD.model_copy(update={"forced_down": True}), guests={}), unreachable="", gateway=True)
    made = plan.undrain(view, "c")
    assert names(made) == []
    assert "forced down by others" in made.notes[0]


def test_an_evacuated_host_is_returned_before_anything_else_is_done_with_it() -> None:
    for made in (plan.drain(back(), "c", NodeOptions()), plan.remove(back(), "c", NodeOptions(force_quorum_loss=True))):
        assert "c is evacuated" in made.refusals[0].reason
        assert "scs node undrain c" in made.refusals[0].hint
        assert made.steps == ()


def test_a_replaced_host_may_write_before_its_services_start() -> None:
    made = names(plan.replace(back(empty=True), "c", NodeOptions()))
    assert "destroy_leftovers" not in made, "an empty host runs nothing"
    assert made.index("unfence") < made.index("bootstrap") < made.index("apply")
    assert made.index("apply") < made.index("force_up") < made.index("verify") < made.index("enable_compute")
    kept = names(plan.replace(back(), "c", NodeOptions()))
    assert kept.index("destroy_leftovers") < kept.index("unfence") < kept.index("apply")


def test_a_removed_host_stays_shut_out_until_another_one_has_its_address() -> None:
    gone = changed(region(DEAD.model_copy(update=OURS), guests={}), fenced=("192.0.2.3",))
    made = plan.remove(gone, "c", NodeOptions(force_quorum_loss=True))
    assert made.refusals == ()
    assert "unfence" not in names(made)
    assert any("192.0.2.3" in note for note in made.notes)
    added = plan.add(back(empty=True), "c")
    assert names(added)[:2] == ["unfence", "certificates"]
