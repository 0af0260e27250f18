# SPDX-License-Identifier: Apache-2.0
"""One dead host of many is normal: what it means for plan, apply, restart, bootstrap and status, by the host's role.

The region is the shipped example. Only Ansible is another one: it answers for the hosts that are not dead.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Group

from scs_deploy.base.errors import RefusedError
from scs_deploy.cli import _plans, status
from scs_deploy.engine import addresses, connection, playbook, runner
from scs_deploy.engine.observe import make_plan
from scs_deploy.engine.runner import RunResult
from scs_deploy.operations import containers
from scs_deploy.operations.bootstrap import Bootstrap, BootstrapRequest
from scs_deploy.operations.restart import Restart, RestartRequest
from scs_deploy.plan.change import Change, Kind
from scs_deploy.plan.host import HostPlan
from scs_deploy.plan.jobs import ClusterJob
from scs_deploy.plan.ordering import Ordering
from scs_deploy.plan.reach import HELD, indispensable
from scs_deploy.plan.region import Plan
from scs_deploy.plan.rolling import Rolling
from scs_deploy.region.region import Region
from scs_deploy.region.selection import Selection
from scs_deploy.shared import state as shared_state
from scs_deploy.shared.state import SharedState
from scs_deploy.spec.container import Impact
from scs_deploy.spec.job import Phase
from tests.conftest import dummy_region

SSH = "ssh: connect to host: No route to host"
EVERYTHING = Selection()


class Hosts:
    """What Ansible finds: every host that is not dead answers, and needs the changes that a test gave it."""

    def __init__(self, region: Region) -> None:
        self.region = region
        self.dead: set[str] = set()
        self.changes: dict[str, list[Change]] = {}
        self.jobs: dict[str, list[ClusterJob]] = {}
        self.asked: list[list[str]] = []

    def run_playbook(
        self, _environment: object, plays: Path | Sequence[Mapping[str, Any]], limit: Sequence[str] = (), *_: object,
        **__: object,
    ) -> RunResult:  # fmt: skip
        names = list(limit) if isinstance(plays, Path) else str(plays[0]["hosts"]).split(",")
        self.asked.append(names)
        result = RunResult("failed" if self.dead & set(names) else "successful")
        for name in names:
            if name in self.dead:
                result.unreachable[name] = SSH
            else:
                found = HostPlan(
                    host=name, changes=tuple(self.changes.get(name, ())), cluster_jobs=tuple(self.jobs.get(name, ()))
                )
                result.results[name] = {"plan": found.model_dump(mode="json"), "states": []}
        return result


@pytest.fixture(scope="module")
def region() -> Region:
    return dummy_region("region")


@pytest.fixture
def hosts(region: Region, monkeypatch: pytest.MonkeyPatch) -> Hosts:
    found = Hosts(region)
    monkeypatch.setattr(runner, "run_playbook", found.run_playbook)
    # its hosts know plays only
    monkeypatch.setattr(connection, "of", lambda *_: None)
    monkeypatch.setattr(shared_state, "read", lambda *_: SharedState(changes=[], failed={}))
    monkeypatch.setattr(addresses, "unheld", lambda *_: False)
    return found


def replace(host: str, container: str = "nova_compute", service: str = "nova") -> Change:
    return Change(
        kind=Kind.REPLACE, service=service, host=host, subject=container, reason="image", phase=Phase.ROLL,
        impact=Impact.API,
    )  # fmt: skip


def names(region: Region, group: str) -> list[str]:
    return [h.name for h in region.inventory.group(group)]


def test_control_hosts_must_respond_and_compute_hosts_need_not(region: Region) -> None:
    control, compute = names(region, "control"), names(region, "compute")
    assert indispensable(region) == frozenset(control)
    assert compute and set(compute).isdisjoint(control)


def test_the_others_are_changed_and_the_dead_one_is_held(region: Region, hosts: Hosts) -> None:
    dead, other = names(region, "compute")[:2]
    hosts.dead, hosts.changes = {dead}, {h: [replace(h)] for h in (dead, other)}
    plan = make_plan(region, EVERYTHING)
    assert [c.host for c in plan.changes] == [other]
    assert plan.unreachable == {dead: SSH}
    assert not plan.empty
    assert _plans.plan_json(plan)["unreachable"] == [{"host": dead, "state": "held: host unreachable", "reason": SSH}]


def test_a_dead_host_alone_is_something_that_waits(region: Region, hosts: Hosts) -> None:
    hosts.dead = {names(region, "compute")[0]}
    plan = make_plan(region, EVERYTHING)
    assert (plan.changes, plan.empty) == ((), False)


def test_a_dead_control_host_is_refused_unless_others_are_selected(region: Region, hosts: Hosts) -> None:
    control, compute = names(region, "control"), names(region, "compute")[0]
    hosts.dead, hosts.changes = {control[2]}, {compute: [replace(compute)]}
    with pytest.raises(RefusedError, match=f"host {control[2]} is unreachable"):
        make_plan(region, EVERYTHING)
    plan = make_plan(region, Selection(hosts=(compute,)))
    assert [c.host for c in plan.changes] == [compute]
    assert (plan.unreachable, plan.absent) == ({}, {control[2]: SSH})


def test_a_selected_host_must_respond(region: Region, hosts: Hosts) -> None:
    hosts.dead = {names(region, "compute")[0]}
    with pytest.raises(RefusedError, match="is unreachable"):
        make_plan(region, Selection(hosts=tuple(hosts.dead)))


def test_hosts_that_are_not_selected_are_not_asked(region: Region, hosts: Hosts) -> None:
    chosen, *others = names(region, "compute")
    make_plan(region, Selection(hosts=(chosen,)))
    assert set(hosts.asked[0]) == {chosen, *names(region, "control")}
    assert others


def finish(region: Region) -> dict[str, list[ClusterJob]]:
    """The job that ends a release's upgrade once no earlier container of Nova runs anywhere; it is due."""
    job = ClusterJob(
        name="nova.online_data_migrations", service="nova", phase=Phase.FINISH, hash="new", last="old"
    )  # fmt: skip
    return {h: [job] for h in names(region, "control")}


def test_what_comes_after_all_containers_waits_for_the_dead_host(region: Region, hosts: Hosts) -> None:
    hosts.jobs = finish(region)
    assert [c.subject for c in make_plan(region, EVERYTHING).changes] == ["nova.online_data_migrations"]
    hosts.dead = {names(region, "compute")[0]}
    plan = make_plan(region, EVERYTHING)
    assert [c.subject for c in plan.waiting] == ["nova.online_data_migrations"]
    assert (plan.changes, plan.held) == ((), ())


def test_it_also_waits_while_the_other_hosts_are_not_looked_at(region: Region, hosts: Hosts) -> None:
    hosts.jobs = finish(region)
    assert make_plan(region, Selection(hosts=(names(region, "control")[0],))).changes == ()


def test_a_load_balancer_out_of_reach_is_not_told_of_drains(region: Region) -> None:
    control = names(region, "control")
    change = replace(control[0], "keystone", "keystone")
    rolling, ordering, waves = Rolling.of(region), Ordering.of(region), region.catalog.waves
    both: tuple[dict[str, str], ...] = ({}, {control[2]: SSH})
    for absent in both:
        plays = playbook.plays(Plan(changes=(change,), absent=absent), waves, rolling, ordering)
        drains = [p for p in plays if p.kind is playbook.PlayKind.DRAIN]
        assert [set(p.hosts) for p in drains] == [set(control) - absent.keys()]


def test_a_restart_leaves_out_the_dead_host(region: Region, hosts: Hosts) -> None:
    dead = names(region, "compute")[0]
    hosts.dead = {dead}
    request = RestartRequest(kind=Kind.RESTART, services=("nova_compute",), allow=(Impact.DATA_PLANE,))
    plan = Restart(region, request).plan()
    assert {c.host for c in plan.changes} == set(names(region, "compute")) - {dead}
    assert plan.unreachable == {dead: SSH}
    with pytest.raises(RefusedError, match=f"host {dead} is unreachable"):
        Restart(region, request.model_copy(update={"hosts": (dead,)})).plan()


def test_a_restart_of_a_quorum_needs_all_of_its_members(region: Region, hosts: Hosts) -> None:
    hosts.dead = {names(region, "control")[0]}
    with pytest.raises(RefusedError, match="is unreachable"):
        Restart(region, RestartRequest(kind=Kind.RESTART, services=("keystone",))).plan()


def test_a_bootstrap_goes_on_without_the_dead_host(region: Region, hosts: Hosts) -> None:
    dead = names(region, "compute")[0]
    hosts.dead = {dead}
    operation = Bootstrap(region, BootstrapRequest())
    session = type("Session", (), {"emit": lambda _self, _event: None})()
    assert operation._lost(session, tuple(region.inventory.hosts)) == {dead: SSH}
    hosts.dead = {names(region, "control")[0]}
    with pytest.raises(RefusedError, match="is unreachable"):
        operation._lost(session, tuple(region.inventory.hosts))


def test_status_shows_what_it_cannot_see(region: Region, hosts: Hosts) -> None:
    dead = names(region, "compute")[0]
    hosts.dead = {dead}
    states, _ = containers.observe(region, ("nova_compute",), ())
    assert [(s["host"], s["container"], s["state"]) for s in states] == [(dead, "nova_compute", "unreachable")]
    assert not containers.works(states[0])
    view = status._view(states, (), 100)
    assert isinstance(view, Group)
    assert SSH in str(view.renderables[-1])


def test_the_table_says_held(region: Region, capsys: pytest.CaptureFixture[str]) -> None:
    _plans.print_plan(Plan(changes=(), unreachable={"compute-7": SSH}))
    assert re.search(rf"compute-7 +{HELD} +{SSH}", capsys.readouterr().out)
