# SPDX-License-Identifier: Apache-2.0
"""Guests of a dead host that are rebuilt or not: against a Nova that behaves like one, with a clock of its own."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import requests

from scs_deploy.base.errors import ScsError
from scs_deploy.clusters.ceph import progress
from scs_deploy.engine.events import Note
from scs_deploy.engine.remote import Answer, Command
from scs_deploy.operations.node import leftovers, rebuild
from scs_deploy.operations.node.cloud import Cloud
from scs_deploy.operations.node.rebuild import Rebuilding
from scs_deploy.operations.node.view import Guest
from scs_deploy.operations.node.work import Work
from scs_deploy.state.runs import RunStore, Status

TASKS = ("rebuilding", "rebuild_block_device_mapping", "rebuild_spawning")


class Nova:
    """Evacuations with Nova's tasks, one at each look.

    :param looks: that one task takes
    :param crowded: guests for which there is no room
    :param stuck: guests that nothing happens to
    :param silent: looks at which the API does not answer
    """

    def __init__(
        self, refused: tuple[str, ...] = (), crowded: tuple[str, ...] = (), stuck: tuple[str, ...] = (),
        silent: int = 0, looks: int = 1,
    ) -> None:  # fmt: skip
        self.refused, self.crowded, self.stuck, self.silent, self.looks = refused, crowded, stuck, silent, looks
        self.tasks: dict[str, list[str]] = {}
        self.at: dict[str, str] = {}
        self.off: set[str] = set()
        self.begun: list[str] = []
        self.asked: dict[str, str] = {}
        self.most = 0

    def evacuate(self, guest: str, host: str = "") -> str:
        self.asked[guest] = host
        if guest in self.refused:
            return f"Cannot 'evacuate' instance {guest} while it is in task_state deleting"
        self.begun.append(guest)
        self.tasks[guest] = [t for t in TASKS for _ in range(self.looks)]
        self.most = max(self.most, len(self.tasks))
        return ""

    def where(self, guest: str) -> tuple[str, str, str]:
        if self.silent and self.begun:
            self.silent -= 1
            raise ScsError("the compute API: 503")
        status = "SHUTOFF" if guest in self.off else "ACTIVE"
        if guest in self.stuck and guest in self.tasks:
            return "c", "REBUILD", TASKS[0]
        if left := self.tasks.get(guest):
            return "c", "REBUILD", left.pop(0)
        if guest in self.tasks:
            del self.tasks[guest]
            if guest in self.crowded:
                return "c", "ERROR", ""
            self.at[guest] = "a"
        return self.at.get(guest, "c"), status, ""

    def fault(self, guest: str) -> str:
        return "No valid host was found. There are not enough hosts available." if guest in self.crowded else ""


class Clock:
    """Time passes only while somebody waits."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "runs.sqlite3")


def own(*names: str, task: str = "") -> list[Guest]:
    return [Guest(id=n, name=f"guest-{n}", status="ACTIVE", task=task) for n in names]


def run(
    nova: Nova, store: RunStore, guests: list[Guest], chosen: dict[str, str] | None = None
) -> tuple[dict[str, Status], list[str]]:
    record, clock = store.start("evacuate"), Clock()
    lines: list[str] = []

    def watch(event: object) -> None:
        lines.append(cast("Note", event).text)

    try:
        Rebuilding(cast("Cloud", nova), "c", record, watch, chosen or {}, clock, clock.sleep).run(guests)
    finally:
        steps = {s.subject: s.status for s in store.steps(record.id)}
    return steps, lines


def test_all_guests_are_rebuilt_a_few_at_a_time(store: RunStore) -> None:
    nova = Nova()
    nova.off = {"6"}
    steps, lines = run(nova, store, own(*"123456"))
    assert set(nova.at.values()) == {"a"}
    assert nova.most == rebuild.AT_ONCE
    assert set(steps.values()) == {Status.DONE}
    assert "guest-6 is now on a, SHUTOFF" in "".join(lines)
    assert lines[-1].endswith("0 remaining")


def test_guests_that_fail_are_named_with_novas_reason_and_the_others_are_rebuilt(store: RunStore) -> None:
    nova = Nova(refused=("2",), crowded=("3",))
    with pytest.raises(ScsError) as error:
        run(nova, store, own(*"1234"))
    assert error.value.exit_code == 1
    assert "2 of 4 guests could not be rebuilt" in str(error.value)
    assert "guest-2 (2): Cannot 'evacuate' instance 2" in str(error.value)
    assert "guest-3 (3): No valid host was found" in str(error.value)
    assert (nova.at["1"], nova.at["4"]) == ("a", "a")


def test_what_an_interrupted_run_began_is_waited_for_and_not_begun_again(store: RunStore) -> None:
    nova = Nova()
    nova.evacuate("1")
    nova.at["2"] = "b"
    steps, lines = run(nova, store, own("1", "2", task="rebuilding"))
    assert nova.begun == ["1"]
    assert steps == {"1": Status.DONE, "2": Status.DONE}
    assert "guest-2 is now on b" in "".join(lines)


def test_nova_chooses_hosts_unless_a_guest_must_go_to_one(store: RunStore) -> None:
    nova = Nova()
    run(nova, store, own("1", "2"), {"2": "b"})
    assert nova.asked == {"1": "", "2": "b"}


def test_a_guest_may_take_as_long_as_it_makes_progress(store: RunStore) -> None:
    slow = int(rebuild.PATIENCE / rebuild.INTERVAL) - 1
    steps, _ = run(Nova(looks=slow), store, own("1"))
    assert steps == {"1": Status.DONE}


def test_guests_that_nothing_happens_to_end_the_wait(store: RunStore) -> None:
    names = [str(n) for n in range(rebuild.AT_ONCE)]
    with pytest.raises(ScsError) as error:
        run(Nova(stuck=tuple(names)), store, own(*names, "later"))
    assert "guest-0 (0): no progress for 15 minutes: rebuilding" in str(error.value)
    assert "guest-later (later): not begun" in str(error.value)


def test_an_api_that_moves_to_another_host_is_asked_again(store: RunStore) -> None:
    steps, _ = run(Nova(silent=20), store, own("1"))
    assert steps == {"1": Status.DONE}


LISTED = """\
7c1a1fa4-4fd0-4a3e-9f6e-0f3b2f6f5a11
0aa6f5d2-8b0f-4f43-a5be-1d8f1f9d7c22

"""


def test_guests_that_nova_has_elsewhere_or_nowhere_are_strangers() -> None:
    first, second = LISTED.split()
    assert leftovers.strangers(LISTED, lambda guest: guest == first) == [second]
    assert leftovers.strangers("\n", lambda _: False) == []


class Host:
    """A host that is back, its libvirt and its nova-compute: both need a while.

    :param running: guests that QEMU still runs
    """

    def __init__(self, running: list[str], at: dict[str, str]) -> None:
        self.running, self.at, self.starting, self.uncleaned = running, at, 2, 0
        self.done: list[str] = []

    # as Access

    def execute(self, host: str, command: Command) -> Answer:
        assert (host, command.container) == ("c", "nova_libvirt")
        self.starting -= 1
        if self.starting >= 0:
            return Answer(code=1, output="error: failed to connect to the hypervisor")
        return Answer(code=0, output="\n".join(self.running) + "\n\n")

    def output(self, _host: str, command: Command) -> str:
        self.running.remove(command.argv[-1])
        self.done.append(command.argv[-2])
        return ""

    def until(self, ready: Any, seconds: float, otherwise: str) -> None:
        for _ in range(int(seconds)):
            if not (missing := ready()):
                return
        raise ScsError(f"{otherwise}: {missing}")

    def containers(self, action: str, container: str, hosts: tuple[str, ...], wait: bool = False) -> None:
        assert wait
        self.done.append(f"{action} {container} on {', '.join(hosts)}")
        self.uncleaned = 2

    def say(self, *_: str) -> None:
        pass

    # as Cloud

    def where(self, guest: str) -> tuple[str, str, str]:
        return self.at.get(guest, ""), "ACTIVE", ""

    def left_behind(self, _host: str) -> int:
        self.uncleaned -= 1
        return self.uncleaned

    def force_down(self, host: str, down: bool) -> None:
        # Nova refuses it before
        assert self.uncleaned == 0
        self.done.append(f"{host} is {'down' if down else 'up'}")

    @property
    def work(self) -> Work:
        return cast("Work", SimpleNamespace(host="c", access=self, say=self.say))

    def cloud(self) -> Cloud:
        return cast("Cloud", self)


def test_what_runs_of_guests_that_are_elsewhere_is_destroyed() -> None:
    first, second = LISTED.split()
    host = Host([first, second], {first: "c", second: "a"})
    leftovers.destroy(host.work, host.cloud)
    assert host.running == [first]
    assert host.done == ["destroy"]


def test_a_host_whose_libvirt_does_not_answer_is_not_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "STARTS", 1.0)
    host = Host([], {})
    host.starting = 10
    with pytest.raises(ScsError, match="nova_libvirt does not answer: error: failed to connect"):
        leftovers.destroy(host.work, host.cloud)


def test_nova_takes_a_host_as_up_after_its_agent_cleaned_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress.wait, "__defaults__", (lambda: 0.0, lambda _: None))
    host = Host([], {})
    leftovers.clear(host.work, host.cloud)
    assert host.done == ["restart nova_compute on c", "c is up"]


class Api:
    """Nova's API as openstacksdk's proxy sees it, with one answer for everything.

    :param code: of the answer to a change
    """

    def __init__(self, code: int = 200, message: str = "", fault: str = "", traceback: str = "") -> None:
        self.code, self.message, self.traceback, self.asked = code, message, traceback, list[Any]()
        self.server = SimpleNamespace(fault={"message": fault} if fault else None)

    def post(self, path: str, json: Any, microversion: str) -> requests.Response:
        self.asked.append((path, json, microversion))
        found = requests.Response()
        found.status_code, found.url = self.code, f"https://nova{path}"
        found.request = requests.Request("POST", found.url).prepare()
        found.headers["Content-Type"] = "application/json"
        found._content = b'{"conflictingRequest": {"code": 409, "message": "%s"}}' % self.message.encode()
        return found

    put = post

    def services(self, **_: str) -> Any:
        return iter([SimpleNamespace(id="uuid-of-service")])

    def get_server(self, _: str) -> Any:
        return self.server

    def server_actions(self, _: str) -> Any:
        times = {"old": "2026-01-01", "new": "2026-01-02"}
        return iter([SimpleNamespace(request_id=n, start_time=t) for n, t in times.items()])

    def get_server_action(self, request: str, _: str) -> Any:
        assert request == "new"
        good = SimpleNamespace(result="Success", details=None, traceback=None)
        bad = SimpleNamespace(result="Error", details=None, traceback=self.traceback)
        return SimpleNamespace(events=[good, bad])

    @property
    def cloud(self) -> Cloud:
        made = Cloud.__new__(Cloud)
        made.api = SimpleNamespace(compute=self)
        return made


def test_a_guest_that_ran_is_started_where_it_is_rebuilt() -> None:
    """From microversion 2.95 on it would stay off."""
    api = Api()
    assert api.cloud.evacuate("one") == ""
    assert api.cloud.evacuate("two", "a") == ""
    assert api.asked == [
        ("/servers/one/action", {"evacuate": {}}, "2.94"), ("/servers/two/action", {"evacuate": {"host": "a"}}, "2.94"),
    ]  # fmt: skip


def test_novas_refusal_is_said() -> None:
    assert "while it is in vm_state paused" in Api(409, "Cannot while it is in vm_state paused").cloud.evacuate("one")


def test_a_service_is_forced_down_and_up_again() -> None:
    api = Api()
    api.cloud.force_down("c", down=True)
    api.cloud.force_down("c", down=False)
    assert [a[:2] for a in api.asked] == [("/os-services/uuid-of-service", {"forced_down": d}) for d in (True, False)]
    with pytest.raises(ScsError, match="evacuation migration records remain"):
        Api(400, "evacuation migration records remain").cloud.force_down("c", down=False)


def test_why_a_guest_failed_is_its_fault_or_its_latest_actions() -> None:
    assert Api(fault="No valid host\nwas found.").cloud.fault("one") == "No valid host was found."
    raised = "Traceback:\n  File x\nnova.exception.BuildAbortException: Insufficient compute resources\n"
    assert Api(traceback=raised).cloud.fault("one").endswith("BuildAbortException: Insufficient compute resources")
