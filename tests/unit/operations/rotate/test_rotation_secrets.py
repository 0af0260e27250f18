# SPDX-License-Identifier: Apache-2.0
"""Rotating secrets: what secrets.yml, servers and services hold after each step, and after an interruption at any."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping

import pytest

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.desired import resolve, scope
from scs_deploy.engine import remote
from scs_deploy.environment.environment import Environment
from scs_deploy.operations.apply import Applied, Apply
from scs_deploy.operations.base import Session
from scs_deploy.operations.resume import resumption
from scs_deploy.operations.rotate import roll, state
from scs_deploy.operations.rotate import secrets as rotation
from scs_deploy.operations.rotate.roll import Engine
from scs_deploy.operations.rotate.rotation import RotateRequest, RotationPlan, RunRotation
from scs_deploy.plan.change import Change, Kind
from scs_deploy.plan.region import Plan
from scs_deploy.region.region import Region
from scs_deploy.region.selection import Selection
from scs_deploy.secrets import credentials
from scs_deploy.secrets import store as secrets
from scs_deploy.shared import state as shared_state
from scs_deploy.spec.container import Impact
from scs_deploy.spec.job import Phase
from scs_deploy.spec.service import Rotate
from scs_deploy.state.runs import Status, run_store
from tests.support.secret_commands import run

DATABASE, BROKER, IDENTITY = "nova_database_password", "nova_rabbitmq_password", "nova_keystone_password"
KEK = "barbican_kek"
ADMIN, SESSIONS, COOKIE = "keystone_admin_password", "horizon_secret_key", "rabbitmq_erlang_cookie"


def with_secrets(region: Region, values: Mapping[str, str]) -> Region:
    """The same region with other secrets."""
    return dataclasses.replace(region, load_secrets=lambda _environment: values)


# ---- how each secret is rotated


def by_hand(region: Region) -> set[str]:
    """The cookie, and keys and ids that Ceph's daemons and clients know each other by."""
    return {COOKIE, "cinder_libvirt_id", *(n for n in region.catalog.secrets() if n.startswith("ceph_"))}


def test_every_secret_of_the_catalog_is_rotated_or_says_why_not(testbed: Region) -> None:
    how = {name: r.how for name, r in rotation.known(testbed.catalog).items()}
    assert set(how) == set(testbed.catalog.secrets())
    assert how[DATABASE] is how["mariadb_root_password"] is how[SESSIONS] is Rotate.BOTH
    assert how[BROKER] is how[IDENTITY] is how["rabbitmq_admin_password"] is Rotate.SECOND_USER
    # one value at a time, where the server has nothing better
    assert {n for n, h in how.items() if h is Rotate.IN_TURN} == {KEK}
    assert {n for n, h in how.items() if h is Rotate.AT_ONCE} == {ADMIN, "neutron_metadata_secret"}
    assert {n for n, h in how.items() if h is Rotate.BY_HAND} == by_hand(testbed)


def test_all_are_those_that_scs_rotates(testbed: Region) -> None:
    chosen = [r.name for r in rotation.choose(["all"], testbed.catalog)]
    assert chosen == sorted(set(testbed.catalog.secrets()) - by_hand(testbed))


@pytest.mark.parametrize(
    ("names", "said"),
    [(["nova"], "no service has a secret 'nova'"), ([COOKIE], "cannot be rotated while rabbitmq is in use")],
)
def test_what_scs_does_not_rotate_is_refused(names: list[str], said: str, testbed: Region) -> None:
    with pytest.raises(RefusedError, match=said):
        rotation.choose(names, testbed.catalog)


# ---- what servers accept and services use


def states(environment: Environment, names: dict[str, str]) -> list[dict[str, str]]:
    """secrets.yml before, during and after a rotation."""
    found = [secrets.load(environment)]
    secrets.replace(environment, names)
    found.append(secrets.load(environment))
    secrets.forget_previous(environment, names)
    found.append(secrets.load(environment))
    return found


def database_logins(region: Region) -> set[tuple[str, str]]:
    return {(n, p) for n, u in shared_state._databases(region).users.items() for p in u.passwords}


def configured(region: Region, secret: str) -> tuple[str, str]:
    """User and password that Nova's processes find in their configuration."""
    host = next(iter(region.inventory.hosts))
    path = "/etc/scs/nova_api/nova.conf"
    text = resolve.resolve(region, host, ["nova"]).files[path].content
    patterns = {
        DATABASE: r"(?m)^connection = mysql\+pymysql://([^:]+):([^@]+)@",
        BROKER: r"(?m)^transport_url = rabbit://([^:]+):([^@]+)@",
        IDENTITY: r"(?m)^username = (\S+)\npassword = (\S+)$",
    }
    found: set[tuple[str, str]] = set(re.findall(patterns[secret], text))
    assert len(found) == 1, "all sections log in alike"
    return found.pop()


@pytest.mark.parametrize("secret", [DATABASE, BROKER, IDENTITY])
@pytest.mark.parametrize("turns", [1, 2])
def test_a_service_is_never_refused(secret: str, turns: int, environment: Environment, testbed: Region) -> None:
    """In each state, servers accept what configurations of this state and of the one before say."""
    first = rotation.known(testbed.catalog)[secret].first_user
    for _ in range(turns):
        steps = [with_secrets(testbed, s) for s in states(environment, {secret: first})]
    accepted = {
        DATABASE: database_logins,
        BROKER: lambda c: set(shared_state._brokers(c).users.items()),
        IDENTITY: lambda c: set(shared_state._identity(c).accounts.items()),
    }[secret]
    used = [configured(c, secret) for c in steps]
    assert used[0] != used[1] == used[2]
    assert used[0] in accepted(steps[0])
    assert {used[0], used[1]} <= accepted(steps[1])
    assert used[1] in accepted(steps[2])
    assert used[0] not in accepted(steps[2])


def test_the_second_user_goes_when_the_first_is_back(environment: Environment, testbed: Region) -> None:
    names = {BROKER: "nova", IDENTITY: "nova", "rabbitmq_admin_password": "scs"}
    start, _, once = states(environment, names)
    *_, twice = states(environment, names)
    assert "nova_b" in shared_state._identity(with_secrets(testbed, start)).retired
    assert set(shared_state._identity(with_secrets(testbed, once)).retired) & {"nova", "nova_b"} == {"nova"}
    assert set(shared_state._brokers(with_secrets(testbed, once)).administrators) == {"scs_b"}
    assert set(shared_state._brokers(with_secrets(testbed, twice)).administrators) == {"scs"}
    # a service's name as a value would be hidden wherever it stands in a plan
    assert set(start) == set(twice)
    assert "nova" not in twice.values()


def test_sessions_survive_a_new_signing_key(environment: Environment, testbed: Region) -> None:
    path = "/etc/scs/horizon/local_settings.py"
    host = next(iter(testbed.inventory.hosts))
    texts = []
    for values in states(environment, {SESSIONS: ""}):
        text = resolve.resolve(with_secrets(testbed, values), host, ["horizon"]).files[path].content
        found: dict[str, object] = {}
        exec("\n".join(line for line in text.splitlines() if line.startswith("SECRET_KEY")), found)
        texts.append((found["SECRET_KEY"], found.get("SECRET_KEY_FALLBACKS")))
    (old, none), (new, fallbacks), (last, gone) = texts
    assert none is None is gone
    assert fallbacks == [old]
    assert new == last != old


def test_the_broker_that_begins_anew_knows_the_administrator_that_scs_uses(
    environment: Environment, testbed: Region
) -> None:
    *_, after = states(environment, {"rabbitmq_admin_password": "scs"})
    host = next(iter(testbed.inventory.hosts))
    files = resolve.resolve(with_secrets(testbed, after), host, ["rabbitmq"]).files
    assert "default_user = scs_b\n" in files["/etc/scs/rabbitmq/rabbitmq.conf"].content
    for name in ("health", "nodes"):
        assert '"scs_b:' in files[f"/etc/scs/rabbitmq/{name}.curl"].content
    assert json.loads(files["/etc/scs/rabbitmq/broker_gate.json"].content)["user"] == "scs_b"


def test_templates_see_previous_values_of_their_own_secrets_only(testbed: Region) -> None:
    view = scope.SecretScope({"a_password": "1", "a_password_previous": "0"}, frozenset({"a_password"}), "a")
    assert view["a_password_previous"] == "0"
    with pytest.raises(KeyError, match="not declared"):
        _ = view["b_password_previous"]


# ---- secrets.yml


def test_an_interrupted_replacement_is_not_repeated(environment: Environment) -> None:
    assert secrets.replace(environment, {DATABASE: ""}) == [DATABASE]
    values = secrets.load(environment)
    assert secrets.replace(environment, {DATABASE: "", SESSIONS: ""}) == [SESSIONS]
    again = secrets.load(environment)
    assert [again[k] for k in (DATABASE, DATABASE + "_previous")] == [
        values[k] for k in (DATABASE, DATABASE + "_previous")
    ]
    assert secrets.being_rotated(again) == [SESSIONS, DATABASE]
    assert secrets.forget_previous(environment, [DATABASE]) == [DATABASE]
    assert secrets.forget_previous(environment, [DATABASE]) == []


def test_one_missing_secret_leaves_all_as_they_are(environment: Environment) -> None:
    before = environment.secrets_file.read_bytes()
    with pytest.raises(RefusedError, match="missing secret: nobody"):
        secrets.replace(environment, {DATABASE: "", "nobody": ""})
    assert environment.secrets_file.read_bytes() == before


def test_the_list_names_who_needs_a_previous_value(environment: Environment) -> None:
    secrets.replace(environment, {BROKER: "nova"})
    rows = {r["name"]: r for r in json.loads(run("secrets", "list", "--json"))}
    assert rows["nova_rabbitmq_password_previous"]["services"] == ["nova"]
    assert rows["nova_rabbitmq_user"]["services"] == ["nova"]


def test_users_of_one_secret() -> None:
    values = {"x_password": "new", "x_password_previous": "old", "x_user": "x_b"}
    assert [(u.user, u.password) for u in credentials.users(values, "x_password", "x")] == [
        ("x_b", "new"),
        ("x", "old"),
    ]


# ---- the steps, with servers and runs noted instead of done


class InterruptedRunError(BaseException):
    """The manager died."""


class FakeRegion:
    """A region that takes what it is given: servers their accounts, services their configuration."""

    def __init__(self, environment: Environment, secret: str) -> None:
        self.environment, self.secret = environment, secret
        self.accepts = self.uses = frozenset({self.values()[secret]})
        self.failures: list[str] = []
        self.dies_in = ""

    def values(self) -> dict[str, str]:
        return secrets.load(self.environment)

    def check(self) -> None:
        if not self.uses <= self.accepts:
            self.failures.append("a service was refused")

    def accounts(self, _region: Region) -> str:
        self.accepts = frozenset(credentials.passwords(self.values(), self.secret))
        self.check()
        if self.dies_in == "accept":
            raise InterruptedRunError
        return ""

    def apply(self, _region: Region, _selection: Selection) -> Applied:
        # a rolling change: some have the new value, some the old one; then all the new one; accounts before
        self.accepts = frozenset(credentials.passwords(self.values(), self.secret))
        new = self.values()[self.secret]
        self.uses |= {new}
        self.check()
        if self.dies_in == "roll":
            raise InterruptedRunError
        self.uses = frozenset({new})
        self.check()
        return Applied("r1", 1, 0)


@pytest.mark.parametrize("dies_in", ["", "accept", "roll"])
def test_rotation_from_end_to_end(
    dies_in: str, environment: Environment, lock_file: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeRegion(environment, DATABASE)
    old = fake.values()[DATABASE]
    fake.dies_in = dies_in
    monkeypatch.setattr(rotation, "accounts", fake.accounts)
    monkeypatch.setattr(Engine, "refuse_pending", lambda _self: "")
    monkeypatch.setattr(RunRotation, "_roll", lambda _self, region, selection: fake.apply(region, selection))
    request = RotateRequest(kind="secrets", names=(DATABASE,))

    def runs() -> list[tuple[str, Status, int, int]]:
        with run_store(environment) as store:
            return [(r.command, r.status, r.changes_done, r.changes_total) for r in store.list()]

    command = f"scs secrets rotate {DATABASE}"
    if dies_in:
        with pytest.raises(InterruptedRunError):
            RunRotation(Region.load("berlin"), request).run()
        done = 2 if dies_in == "accept" else 3
        assert runs() == [(command, Status.FAILED, done, 6)]
        assert secrets.being_rotated(fake.values()) == [DATABASE]
        # somebody applies in between, as it is: nobody is refused
        fake.dies_in = ""
        fake.apply(Region.load("berlin"), Selection())
        half = fake.values()[DATABASE]
        operation, interrupted = resumption(Region.load("berlin"), None)
        assert operation.run(resumed=interrupted).waits_for == ""
        assert fake.values()[DATABASE] == half
    else:
        assert RunRotation(Region.load("berlin"), request).run().waits_for == ""
    assert runs() == [(command, Status.DONE, 6, 6)]
    assert fake.failures == []
    assert fake.uses == fake.accepts == {fake.values()[DATABASE]}
    assert old not in fake.values().values()
    assert state.load(environment) is None


def test_a_roll_is_a_part_of_the_rotations_run(
    environment: Environment, lock_file: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its changes are counted, its plan is shown, and values that were made on the way are masked."""
    fake = FakeRegion(environment, DATABASE)
    shown: list[int] = []
    change = changed_accounts("nova_api")[0].model_copy(update={"host": "testbed-1", "kind": Kind.RESTART})

    def carry_out(_self: Apply, session: Session, plan: Plan) -> Applied:
        session.record.step_finished(session.record.step_started(f"{fake.values()[DATABASE]}"), Status.DONE, "", 1)
        return Applied(session.record.id, len(plan.changes), 0)

    monkeypatch.setattr(rotation, "accounts", lambda _region: "")
    monkeypatch.setattr(Engine, "refuse_pending", lambda _self: "")
    monkeypatch.setattr(Apply, "plan", lambda _self, _watch: Plan(changes=(change,)))
    monkeypatch.setattr(Apply, "carry_out", carry_out)

    def confirm(plan: RotationPlan | Plan) -> bool:
        shown.append(plan.left if isinstance(plan, RotationPlan) else -len(plan.changes))
        return True

    done = RunRotation(Region.load("berlin"), RotateRequest(kind="secrets", names=(DATABASE,))).run(confirm=confirm)
    assert shown == [6, -1, -1]
    with run_store(environment) as store:
        (run,) = store.list()
        assert (run.id, run.status, run.changes_done, run.changes_total) == (done.run, Status.DONE, 8, 8)
        assert [s.task for s in store.steps(run.id) if not s.subject] == ["***", "***"]


def test_a_roll_that_is_not_agreed_to_is_gone_on_with(
    environment: Environment, lock_file: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rotation, "accounts", lambda _region: "")
    monkeypatch.setattr(Engine, "refuse_pending", lambda _self: "")
    monkeypatch.setattr(Apply, "plan", lambda _self, _watch: Plan(changes=tuple(changed_accounts("x"))))
    rotate = RunRotation(Region.load("berlin"), RotateRequest(kind="secrets", names=(DATABASE,)))
    with pytest.raises(RefusedError, match=f"scs secrets rotate {DATABASE} continues with it"):
        rotate.run(confirm=lambda plan: isinstance(plan, RotationPlan))
    found = state.load(environment)
    assert found and sorted(found.done) == ["accept", "pending", "replace"]


def test_another_rotation_waits_for_the_first(environment: Environment) -> None:
    secrets.replace(environment, {DATABASE: ""})
    with pytest.raises(RefusedError, match=f"{DATABASE} is being rotated.*scs secrets rotate {DATABASE}"):
        run("secrets", "rotate", SESSIONS, "--yes")
    assert secrets.being_rotated(secrets.load(environment)) == [DATABASE]


def test_held_back_changes_keep_the_old_value(environment: Environment) -> None:
    engine = Engine("berlin", lambda _context, _selection: Applied("r", 1, 2))
    with pytest.raises(ScsError, match="2 changes held back"):
        engine.roll()


def test_pending_changes_are_refused(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    change = Change(
        kind=Kind.RESTART,
        service="nova",
        host="n1",
        subject="nova_api",
        reason="x",
        phase=Phase.ROLL,
        impact=Impact.API,
    )
    monkeypatch.setattr(roll, "make_plan", lambda *_: Plan(changes=(change,)))
    with pytest.raises(RefusedError, match="1 change pending, first: restart nova_api on n1"):
        Engine("berlin", lambda *_: Applied("", 0, 0)).refuse_pending()


def test_the_plan_shows_steps_and_changes_nothing(environment: Environment) -> None:
    before = environment.secrets_file.read_bytes()
    said = run("secrets", "rotate", "all", "--plan")
    assert said.index("accept the new values") < said.index("every service to the new") < said.index("remove the old")
    assert COOKIE not in said
    assert environment.secrets_file.read_bytes() == before
    assert state.load(environment) is None
    with pytest.raises(RefusedError, match="add --yes"):
        run("secrets", "rotate", "all")
    assert environment.secrets_file.read_bytes() == before


def test_keys_are_rotated_where_their_service_keeps_them(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = run("secrets", "rotate", "keystone_fernet_keys", SESSIONS, "--plan")
    assert said.index("rotate keystone_fernet_keys") < said.index("remove the old values")
    engine = Engine("berlin", lambda *_: Applied("", 0, 0))
    asked: dict[str, list[remote.Command]] = {}
    answer = remote.Answer(code=1, output="no fernet keys are rotated:\n the oldest key opens valid tokens yet")

    def execute(_context: Region, commands: dict[str, list[remote.Command]]) -> remote.Answers:
        asked.update(commands)
        return remote.Answers({"testbed-1": (answer,)})

    monkeypatch.setattr(remote, "execute", execute)
    (step,) = rotation.key_steps(engine, ["keystone_fernet_keys"])
    with pytest.raises(
        ScsError, match=r"testbed-1: no fernet keys are rotated: the oldest key.*scs logs keystone_fernet"
    ):
        step.do()
    (command,) = asked["testbed-1"]
    assert (command.container, command.argv) == ("keystone_fernet", ("/etc/keystone/keys.py", "rotate", "fernet"))
    # nothing of them is in secrets.yml, and `all` means what is
    assert "fernet" not in run("secrets", "rotate", "all", "--plan")


def changed_accounts(*subjects: str) -> list[Change]:
    return [
        Change(
            kind=Kind.ACCOUNT, service="nova", host="region", subject=s, reason="password differs",
            phase=Phase.DATABASE, impact=Impact.API,
        )
        for s in subjects
    ]  # fmt: skip


def test_accounts_are_changed(environment: Environment, testbed: Region, monkeypatch: pytest.MonkeyPatch) -> None:
    state_of = shared_state.SharedState(changes=changed_accounts("mariadb user nova", "keystone user nova_b"))
    applied: list[str] = []
    monkeypatch.setattr(shared_state, "read", lambda *_: state_of)
    monkeypatch.setattr(shared_state, "apply", lambda _region, _servers, subjects, _run: applied.extend(subjects))
    assert rotation.accounts(with_secrets(testbed, secrets.load(environment))) == "2 accounts changed"
    assert applied == ["mariadb user nova", "keystone user nova_b"]


def test_no_account_is_changed_while_a_server_does_not_answer(
    environment: Environment, testbed: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    region = dataclasses.replace(with_secrets(testbed, secrets.load(environment)), environment=environment)
    region.__dict__["secrets"] = secrets.load(environment)
    down = shared_state.SharedState(
        changes=changed_accounts("mariadb user nova"), failed={"keystone": "keystone at x: refused"}
    )
    monkeypatch.setattr(shared_state, "read", lambda *_: down)
    monkeypatch.setattr(shared_state, "apply", lambda *_: pytest.fail("an account was changed"))
    with pytest.raises(ScsError, match="keystone at x: refused"):
        rotation.accounts(region)
