# SPDX-License-Identifier: Apache-2.0
"""All wording is free: with other words in every reason, title and note, scs decides and does the same.

`Words` replaces each text where it is made. What a decision reads instead of a typed field differs then, and the
decision with it.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from scs_deploy.base.errors import ScsError
from scs_deploy.desired import resolve
from scs_deploy.engine import execute, playbook
from scs_deploy.engine.events import TaskDone, TaskFailed
from scs_deploy.engine.playbook import Drain, Play, PlayKind, Task
from scs_deploy.observed.model import Observed
from scs_deploy.operations import rollback
from scs_deploy.operations.node import effects
from scs_deploy.operations.node import plan as node_plan
from scs_deploy.operations.node.plan import NodeOptions, PlanStep, Refusal, Stay
from scs_deploy.plan.change import Change, Kind
from scs_deploy.plan.host import plan_host
from scs_deploy.plan.ordering import Ordering
from scs_deploy.plan.region import Plan, assemble
from scs_deploy.plan.rolling import Rolling
from scs_deploy.region.region import Region
from scs_deploy.secrets import vault
from scs_deploy.shared import state
from scs_deploy.spec.container import Impact
from scs_deploy.spec.job import Phase
from scs_deploy.state.runs import RunStore, Status
from tests.unit.operations.node.test_nodes import guest
from tests.unit.operations.node.test_nodes import region as hosts
from tests.unit.plan.test_release_order import ALL, as_desired, now, planned, then
from tests.unit.secrets.test_secrets import region as environment_of

TEXTS: dict[type[Any], str] = {
    Change: "reason", Play: "title", Task: "title", Stay: "reason", PlanStep: "title", Refusal: "reason",
}  # fmt: skip
"""What holds a text for people, and in which field."""

Say = Callable[[], str]


def the_same() -> str:
    """Nothing is told apart by it."""
    return "missing"


def another() -> str:
    """A word that nobody wrote."""
    return "".join(random.choices("bcdfghjklmnpqrstvwxz", k=12))


@pytest.fixture(params=[the_same, another])
def words(request: pytest.FixtureRequest) -> Say:
    """How every text reads from here on."""
    found: Say = request.param
    return found


class Words(pytest.MonkeyPatch):  # type: ignore[misc] # final for types only
    """Has every text read otherwise, also in copies."""

    def __init__(self, say: Say) -> None:
        super().__init__()
        for kind, field in TEXTS.items():
            make, copy = kind.__init__, kind.model_copy

            def made(self: Any, *, _make: Any = make, _field: str = field, **data: Any) -> None:
                _make(self, **{**data, _field: say()})

            def copied(self: Any, *, update: Any = None, _copy: Any = copy, _field: str = field, **more: Any) -> Any:
                return _copy(self, update={**(update or {}), _field: say()}, **more)

            self.setattr(kind, "__init__", made)
            self.setattr(kind, "model_copy", copied)

    def __enter__(self) -> Words:
        return self

    def __exit__(self, *_: object) -> None:
        self.undo()


def deployed(region: Region) -> Plan:
    """The plan of empty hosts, one of which has a file that nothing reads."""
    left = {"/etc/scs/web/web.conf": ("0", "0640", 0, 0, 1.0)}
    hosts = [
        plan_host(
            resolve.resolve(region, name),
            Observed(files=left if name == "ha-2" else {}, containers={}, images={}, free=10**13),
            (),
            region.lock,
        )
        for name in region.inventory.hosts
    ]
    shared = [c for s in state.SERVERS for c in s.compare(s.desired(region), None)]
    ordering = Ordering.of(region)
    return assemble(hosts, shared, region.catalog.waves, frozenset(region.catalog.services), None, ALL, ordering)


def with_new_schemas(region: Region) -> Plan:
    """The plan of a region that is as desired, but lost the schemas of its database."""
    (database, *_) = state.SERVERS
    lost = [c for c in database.compare(database.desired(region), None) if c.kind is Kind.DATABASE]
    plans = [
        plan_host(resolve.resolve(region, h), as_desired(resolve.resolve(region, h)), (), region.lock)
        for h in region.inventory.hosts
    ]
    services = frozenset(region.catalog.services)
    return assemble(plans, lost, region.catalog.waves, services, None, ALL, Ordering.of(region))


def one_host(region: Region) -> Plan:
    """A release upgrade of one host only, so that jobs and restarts of the others wait."""
    return planned(region, hosts=frozenset({"ha-1"}))


def without_consent(region: Region) -> Plan:
    """A release upgrade that must leave the data plane alone."""
    return planned(region, frozenset())


def mute(value: Any) -> Any:
    """The same without its texts."""
    if isinstance(value, dict):
        return {k: mute(v) for k, v in value.items() if k not in ("reason", "title")}
    return [mute(v) for v in value] if isinstance(value, list) else value


def decided(make: Callable[[Region], Plan], region: Region) -> Any:
    """All that a plan and its plays are, except for their texts."""
    plan = make(region)
    plays = playbook.plays(plan, region.catalog.waves, Rolling.of(region), Ordering.of(region))
    return mute([plan.model_dump(mode="json"), [p.model_dump(mode="json") for p in plays]])


@pytest.mark.parametrize(
    ("make", "region"),
    [(deployed, now), (with_new_schemas, now), (planned, then), (one_host, then), (without_consent, then)],
)
def test_the_plan_and_the_order_of_its_plays(
    words: Say, make: Callable[[Region], Plan], region: Callable[[], Region]
) -> None:
    expected = decided(make, region())
    with Words(words):
        assert decided(make, region()) == expected


def test_a_file_that_nothing_reads_is_deleted(words: Say) -> None:
    with Words(words):
        plays = playbook.plays(deployed(now()), now().catalog.waves)
    removed = [
        (play.hosts, task.arguments["remove"])
        for play in plays
        for task in play.tasks
        if task.module == playbook.Module.FILES and task.arguments["remove"]
    ]
    assert removed == [(("ha-2",), ["web/web.conf"])]


def test_jobs_that_fill_a_new_schema_run_again(words: Say) -> None:
    with Words(words):
        jobs = {c.subject for c in with_new_schemas(now()).changes if c.kind is Kind.JOB}
    assert {"keystone.db_expand", "nova.db_sync"} <= jobs


def test_what_keeps_a_region_from_going_back(words: Say, tmp_path: Path) -> None:
    """The jobs that ran are in the record, whatever their steps are called."""
    store = RunStore(tmp_path / "runs.sqlite3")
    record = store.start("scs upgrade")
    for jobs in (("keystone.db_expand",), (), ("nova.db_sync", "nova.cells")):
        record.step_started(words(), phase=words(), host="a", jobs=jobs)
    record.step_started("Run keystone.db_contract", phase="finish", host="a")
    record.finish()
    run = store.get(record.id)
    changing = {"keystone.db_expand": "keystone", "keystone.db_contract": "keystone", "nova.db_sync": "nova"}
    since = [(run, store.steps(run.id))]
    found = rollback.find_obstacles(since, {"nova": "1"}, {"nova": "2"}, {"nova": "nova"}, {}, changing)
    assert found == [f"schema nova went from 1 to 2: nova.db_sync in {run.id}"]
    unknown = rollback.find_obstacles(since, None, {}, {}, {}, changing)
    assert [text.partition(" ")[0] for text in unknown] == ["keystone.db_expand", "nova.db_sync"]
    store.close()


def test_a_drain_migrates_the_guests_that_can_leave(words: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guests are told apart by their ids, whatever their names and the reasons of the others are."""
    own = [guest("web (2): x", id="1"), guest("b", id="2"), guest("(1)", id="3", status="ERROR")]
    view = hosts(guests={"c": tuple(own)})
    moved: list[str] = []
    monkeypatch.setattr(effects, "migrate", lambda _cloud, _host, guests, *_: moved.extend(g.id for g in guests))
    monkeypatch.setattr(effects, "Cloud", lambda _environment: None)
    expected = [s.name for s in node_plan.drain(view, "c", NodeOptions(leave_guests=True)).steps]
    with Words(words):
        plan = node_plan.drain(view, "c", NodeOptions(leave_guests=True))
        region, session = SimpleNamespace(environment=None), SimpleNamespace(emit=None)
        work = SimpleNamespace(region=region, view=view, plan=plan, host="c", record=None, session=session)
        effects.Effects(cast("Any", work)).move_guests()
    assert [s.name for s in plan.steps] == expected
    assert moved == ["1", "2"]


def test_carrying_out_and_taking_back(words: Say, tmp_path: Path) -> None:
    """With Ansible itself: a server is out of the load balancers of two hosts when the change of the second fails."""
    environment = environment_of(tmp_path)
    vault.create_password(environment)
    (tmp_path / "inventory").write_text("[all]\na\nb\nc\n[all:vars]\nansible_connection=local\n")
    store = RunStore(environment.state / "runs.sqlite3")
    record, events = store.start("scs apply"), list[Any]()

    def change(kind: Kind, subject: str) -> Change:
        return Change(
            kind=kind, service="web", host="a", subject=subject, reason="", phase=Phase.ROLL, impact=Impact.API
        )

    def play(kind: PlayKind, hosts: str, *changes: Change, fails: str = "nobody", **fields: Any) -> Play:
        arguments = {"argv": ["test", "{{ inventory_hostname }}", "!=", fails]}
        task = Task(title="", module="ansible.builtin.command", arguments=arguments, changes=changes)
        return Play(kind=kind, title="", hosts=tuple(hosts), tasks=(task,), **fields)

    drain = Drain(server="b", backends=("web",))
    with Words(words):
        plays = [
            play(PlayKind.MIGRATE, "a", change(Kind.JOB, "web.sync")),
            play(PlayKind.CONFIG, "abc", change(Kind.FILE, "web/a"), change(Kind.DELETE, "web/b"), serial=1),
            play(PlayKind.DRAIN, "ac", drain=drain),
            play(PlayKind.ROLL, "b", change(Kind.REPLACE, "web"), fails="b", serial=1, together=True),
            play(PlayKind.USE, "ac", together=True),
        ]
        with pytest.raises(ScsError, match="host b: "):
            execute.run_plays(environment, plays, record, events.append, lambda: None, {"SCS_ENVIRONMENT": ""})
    steps = store.steps(record.id)
    assert [(s.phase, s.host, s.jobs, s.status is Status.DONE) for s in steps[:4]] == [
        ("migrate", "a", ("web.sync",), True), *(("config", h, (), True) for h in "abc"),
    ]  # fmt: skip
    assert sorted((s.phase, s.host, s.status is Status.DONE) for s in steps[4:6]) == [
        ("drain", "a", True), ("drain", "c", True),
    ]  # fmt: skip
    assert (steps[6].phase, steps[6].host, steps[6].status) == ("roll", "b", Status.FAILED)
    # no HAProxy runs here that could do it; that it was told to is what counts
    assert sorted((s.phase, s.host) for s in steps[7:]) == [("use", "a"), ("use", "c")]
    assert store.get(record.id).changes_done == 1 + 3 * 2
    assert sum(e.changes for e in events if isinstance(e, TaskDone)) == 1 + 3 * 2
    assert next(e.host for e in events if isinstance(e, TaskFailed)) == "b"
    store.close()
