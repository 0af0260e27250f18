# SPDX-License-Identifier: Apache-2.0
"""What every operation that changes a region has in common: the region's lock, a record, steps, events.

A view (command line or page) builds an operation from a request, shows its plan, runs it and renders its events; the
rules are here and in the operation.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ClassVar, Generic, TypeVar

from scs_deploy.base.errors import ScsError
from scs_deploy.engine.events import Event, TaskDone, TaskFailed, TaskStarted, Watch, guarded, ignore
from scs_deploy.environment.environment import Environment
from scs_deploy.region.inputs import inputs
from scs_deploy.region.region import Region
from scs_deploy.state.lock import RunLock, region_lock
from scs_deploy.state.runs import Run, RunRecord, Status, run_store

P = TypeVar("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Step:
    """One step of an operation that is no task of a playbook."""

    key: str
    title: str
    """what it does, for the operator"""
    do: Callable[[], None]
    host: str = ""
    tolerated: bool = False
    """the steps after it do not rely on it: they are done although it failed, and the operation fails at the end"""


@dataclass(frozen=True)
class Start:
    """What a run's record holds from its beginning."""

    operation: str
    command: str
    total: int
    """changes or steps to be done"""
    inputs: str = ""
    """hash of all that the run goes by"""
    inventory: str = ""
    """hash of the inventory"""
    resume: str = ""
    """request, JSON; empty: it cannot be resumed"""
    repeat: str = ""
    """why it is repeated instead of resumed"""
    revisions: str = ""
    """of the databases' schemas, JSON"""
    changing: bool = True
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """values that the record masks"""


class Session:
    """A region that this process holds: nobody else changes it until the session ends."""

    def __init__(self, environment: Environment, lock: RunLock, watch: Watch = ignore) -> None:
        self.environment = environment
        self.lock = lock
        self.emit: Callable[[Event], None] = guarded(watch)

    def check(self) -> None:
        """:raises ScsError: another process took the region meanwhile"""
        self.lock.check()

    @contextmanager
    def recording(self, start: Start, again: Run | None = None) -> Iterator[RunRecord]:
        """`with session.recording(start) as record:` - the record ends as the block does, whatever happens.

        :param again: the run whose record goes on
        """
        secrets = start.secrets
        with run_store(self.environment) as store:
            if again:
                record = store.resume(again, changes_left=start.total, secrets=secrets)
            else:
                record = store.start(
                    start.command, changes_total=start.total, inputs=start.inputs,
                    inventory=start.inventory, secrets=secrets, resume=start.resume,
                    revisions=start.revisions, changing=start.changing, operation=start.operation,
                    repeat=start.repeat,
                )  # fmt: skip
            with record.recording():
                yield record

    def carry_out(self, record: RunRecord, group: str, steps: Iterable[Step]) -> None:
        """Do steps one after the other, each recorded and shown.

        :raises ScsError: a step failed, or another process took the region; what came before is done
        """
        late: list[ScsError] = []
        for step in steps:
            self.check()
            self.emit(TaskStarted(step.title, group))
            number = record.step_started(step.title, phase=group, host=step.host, subject=step.key)
            try:
                step.do()
            except ScsError as error:
                record.step_finished(number, Status.FAILED, str(error))
                self.emit(TaskFailed(step.title, step.host, str(error)))
                if not step.tolerated:
                    raise
                late.append(error)
            else:
                record.step_finished(number, Status.DONE, changes_done=1)
                self.emit(TaskDone(step.title, step.host, 1))
        if late:
            raise late[0]


@contextmanager
def session_of(environment: Environment, watch: Watch = ignore, command: str | None = None) -> Iterator[Session]:
    """`with session_of(environment, watch) as session:` - holds the region's lock.

    :param command: for the message to others that want the region; default: this process's command line
    :raises RefusedError: another run holds the region
    """
    environment.state.mkdir(mode=0o700, exist_ok=True)
    with region_lock(environment, command) as lock:
        yield Session(environment, lock, watch)


class Operation(ABC, Generic[P, R]):
    """Something that changes a region. `P` is its plan, `R` what it returns."""

    name: ClassVar[str]
    """in records, e.g. `apply`"""
    repeat: ClassVar[str] = ""
    """why `scs runs resume` does not go on with it, one line; empty: it does"""

    def __init__(self, region: Region, command: str) -> None:
        self.region = region
        self.command = command
        """for its record"""

    def start(self, total: int, resume: str = "", revisions: str = "") -> Start:
        """What the record of this operation begins with.

        :param total: changes or steps to be done
        """
        return Start(
            operation=self.name, command=self.command, total=total, inputs=inputs(self.region),
            inventory=self.region.inventory.hash, resume=resume, repeat=self.repeat, revisions=revisions,
            secrets=tuple(self.region.secrets.values()),
        )  # fmt: skip

    @abstractmethod
    def plan(self) -> P:
        """What it would do. Changes nothing.

        :raises RefusedError: it would be refused
        """

    @abstractmethod
    def execute(self, session: Session, confirm: Callable[[P], bool]) -> R:
        """Plan, ask, do, in a session.

        :param confirm: is shown the plan and says whether to go on
        """

    def run(self, watch: Watch = ignore, confirm: Callable[[P], bool] = lambda _plan: True) -> R:
        """The same, in a session of its own.

        :raises RefusedError: wrong input, or another run holds the region; nothing was changed
        :raises ScsError: it failed; what was done is recorded
        """
        with session_of(self.region.environment, watch) as session:
            return self.execute(session, confirm)
