# SPDX-License-Identifier: Apache-2.0
"""What every operation that changes a region has in common: the region's lock, a record, steps, events.

A view (command line, timer or page) builds a request and an operation of it, shows its plan, runs it and renders its
events; the rules are here and in the operation.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from scs_deploy.base.errors import PausedError, RefusedError, ScsError
from scs_deploy.base.failures import explained
from scs_deploy.base.model import Model
from scs_deploy.engine import execute
from scs_deploy.engine.events import Event, Expected, TaskDone, TaskFailed, TaskStarted, Watch, guarded, ignore
from scs_deploy.environment.environment import Environment
from scs_deploy.plan.change import Change
from scs_deploy.plan.region import Plan
from scs_deploy.region.inputs import inputs
from scs_deploy.region.region import Region
from scs_deploy.state.journal import Log, logging_to
from scs_deploy.state.lock import RunLock, region_lock
from scs_deploy.state.runs import Run, RunRecord, RunStore, Status, run_store

OPEN = (Status.PAUSED, Status.FAILED, Status.INTERRUPTED)
"""How a run stands that did not reach its end."""

REPEAT = "repeat the command: it finds out what is done already"
"""Why a run is not resumed that does not say so itself."""

Request = TypeVar("Request", bound=Model)
Planned = TypeVar("Planned")
Result = TypeVar("Result")


def agree(_plan: object) -> bool:
    """The answer of those who agreed beforehand."""
    return True


@dataclass(frozen=True)
class Step:
    """One step of an operation that is no task of a playbook."""

    key: str
    """names it within its operation"""
    title: str
    """what it does, for the operator"""
    do: Callable[[], str | None]
    """does it; returns what was done, a few words"""
    hosts: tuple[str, ...] = ()
    """empty: on the manager"""
    tolerated: bool = False
    """the steps after it do not rely on it: they are done although it failed, and the operation fails at the end"""


class Session:
    """A region that this process holds: nobody else changes it until the session ends.

    :param record: of a run that has begun already
    :param log: takes what goes wrong without ending the run
    """

    def __init__(
        self, environment: Environment, lock: RunLock, watch: Watch = ignore, record: RunRecord | None = None,
        log: Log | None = None,
    ) -> None:  # fmt: skip
        self.environment = environment
        self.lock = lock
        self._log = log
        self.emit: Callable[[Event], None] = guarded(watch)
        self._record = record

    def check(self) -> None:
        """:raises ScsError: another process took the region meanwhile"""
        self.lock.check()

    @property
    def recorded(self) -> bool:
        """Whether a run has begun."""
        return self._record is not None

    @property
    def record(self) -> RunRecord:
        """The record of the run.

        :raises ScsError: none has begun
        """
        if self._record is None:
            raise ScsError("a step without a record")
        return self._record

    @contextmanager
    def recording(self, begin: Callable[[RunStore], RunRecord]) -> Iterator[RunRecord]:
        """`with session.recording(begin) as record:` - the record ends as the block does, whatever happens.

        :param begin: starts or resumes the record
        """
        with run_store(self.environment) as store:
            self._record = begin(store)
            if self._log:
                self._log.mask = self._record.masked
            try:
                with self._record.recording(), failing():
                    yield self._record
            finally:
                self._record = None

    def carry_out(self, phase: str, steps: Iterable[Step]) -> None:
        """Do steps one after the other, each recorded and shown.

        :raises ScsError: a step failed, or another process took the region; what came before is done
        """
        late: list[ScsError] = []
        for step in steps:
            try:
                self.take(phase, step)
            except ScsError as error:
                if not step.tolerated:
                    raise
                late.append(error)
        if late:
            raise late[0]

    def take(self, phase: str, step: Step) -> str:
        """Do one step, recorded for each of its hosts and shown. Returns what was done, a few words.

        :raises ScsError: it failed, or another process took the region
        """
        self.check()
        where = ", ".join(step.hosts)
        self.emit(TaskStarted(step.title, phase))
        numbers = [
            self.record.step_started(step.title, phase=phase, host=host, subject=step.key)
            for host in step.hosts or ("",)
        ]
        try:
            said = step.do() or ""
        except PausedError as error:
            self._ended(numbers, Status.PAUSED, error.message)
            raise
        except ScsError as error:
            self._ended(numbers, Status.FAILED, str(error))
            self.emit(TaskFailed(step.title, where, str(error)))
            raise
        self._ended(numbers, Status.DONE, said)
        self.emit(TaskDone(step.title, where, 1, said))
        return said

    def _ended(self, numbers: Sequence[int], status: Status, message: str) -> None:
        for number in numbers:
            done = status is Status.DONE and number == numbers[0]
            self.record.step_finished(number, status, message, int(done))


@contextmanager
def failing() -> Iterator[None]:
    """An error of the system within a run that has begun is a failure, not a refusal.

    :raises ScsError: in place of any other error
    """
    try:
        yield
    except ScsError:
        raise
    except Exception as error:
        logging.getLogger("scs").exception("the run ends with an error of the system or of scs")
        said = explained(error)
        raise ScsError(said.message, said.hint) from error


@contextmanager
def session_of(
    environment: Environment, watch: Watch = ignore, command: str | None = None,
    lock: AbstractContextManager[RunLock] | None = None,
) -> Iterator[Session]:  # fmt: skip
    """`with session_of(environment, watch) as session:` - holds the region's lock.

    What goes wrong without ending the run, e.g. in a view, is in `state/scs.log` of the region.

    :param command: for the message to others that want the region; default: this process's command line
    :param lock: instead of the region's
    :raises RefusedError: another run holds the region
    """
    environment.state.mkdir(mode=0o700, exist_ok=True)
    with logging_to(environment) as log, lock or region_lock(environment, command) as held:
        yield Session(environment, held, watch, log=log)


class Operation(ABC, Generic[Request, Planned, Result]):
    """Something that changes a region, from its plan to its end. A view needs `plan` and `run` only.

    :param command: for its record
    """

    name: ClassVar[str]
    """in records, e.g. `apply`; by it a run is resumed"""
    requests: ClassVar[type[Model]]
    """the type of its requests"""
    repeat: ClassVar[str] = ""
    """why `scs runs resume` does not go on with it, one line; empty: it does"""
    changing: ClassVar[bool] = True
    """false: what the region's services do stays as it is"""

    def __init__(self, region: Region, request: Request, command: str = "") -> None:
        self.region = region
        self.request = request
        self.command = command or f"scs {self.name}"

    @abstractmethod
    def plan(self, watch: Watch = ignore) -> Planned:
        """What it would do. Changes nothing.

        :raises RefusedError: it would be refused
        """

    @abstractmethod
    def total(self, plan: Planned) -> int:
        """How many changes or steps a plan has; 0: nothing is to be done."""

    @abstractmethod
    def nothing(self, plan: Planned) -> Result:
        """The result where nothing was done: nothing was to be done, or the plan was not agreed to."""

    @abstractmethod
    def carry_out(self, session: Session, plan: Planned) -> Result:
        """Do exactly what the plan says, in a session whose record has begun.

        :raises ScsError: it failed; what was done is recorded
        """

    def check(self, plan: Planned) -> None:
        """Whether a plan that may be shown may be carried out, too.

        :raises RefusedError: why not
        """

    def check_same(self, then: Planned, now: Planned) -> None:
        """A plan that was shown before must be the present one.

        :raises RefusedError: it is not
        """
        if then != now:
            raise RefusedError("the region is not as it was when this was planned", "look at the new plan")

    def run(
        self,
        watch: Watch = ignore,
        confirm: Callable[[Planned], bool] = agree,
        plan: Planned | None = None,
        resumed: Run | None = None,
    ) -> Result:
        """Plan, ask, do, in a session of its own.

        :param confirm: is shown the plan and says whether to go on
        :param plan: that was shown before; refused where the present one differs
        :param resumed: the run whose record this goes on with
        :raises RefusedError: wrong input, or another run holds the region; nothing was changed
        :raises PausedError: it was told to stop between two steps; can be resumed
        :raises ScsError: it failed; what was done is recorded
        """
        with self.session(watch) as session:
            return self.execute(session, confirm, plan, resumed)

    def execute(
        self,
        session: Session,
        confirm: Callable[[Planned], bool] = agree,
        plan: Planned | None = None,
        resumed: Run | None = None,
    ) -> Result:
        """The same in a session that the caller has; as a part of its run, where that has begun."""
        if resumed:
            with run_store(self.region.environment) as store:
                check_resumable(store.get(resumed.id), latest(self.region.environment))
        made = self.plan(session.emit)
        if plan is not None:
            self.check_same(plan, made)
        total = self.total(made)
        if not total and not resumed:
            return self.nothing(made)
        self.check(made)
        if not confirm(made):
            return self.nothing(made)
        session.emit(Expected(total))
        if session.recorded:
            session.record.expect(total)
            session.record.plan(self.changes(made))
            return self.carry_out(session, made)
        with session.recording(lambda store: self._begin(store, made, resumed)):
            session.record.plan(self.changes(made))
            return self.carry_out(session, made)

    def changes(self, plan: Planned) -> Iterable[Change]:
        """The changes of a plan, for the record; none of a plan that consists of steps."""
        return plan.changes if isinstance(plan, Plan) else ()

    def session(self, watch: Watch = ignore) -> AbstractContextManager[Session]:
        """What the operation holds while it runs."""
        return session_of(self.region.environment, watch)

    def secrets(self) -> Iterable[str]:
        """Values that the record masks."""
        return self.region.secrets.values()

    def start(self, store: RunStore, plan: Planned) -> RunRecord:
        """Begin the record of a run."""
        return store.start(
            self.command, changes_total=self.total(plan), inputs=inputs(self.region),
            inventory=self.region.inventory.hash, secrets=self.secrets(), operation=self.name,
            resume="" if self.repeat else self.request.model_dump_json(), repeat=self.repeat, changing=self.changing,
        )  # fmt: skip

    def _begin(self, store: RunStore, plan: Planned, resumed: Run | None) -> RunRecord:
        if resumed is None:
            return self.start(store, plan)
        # nobody saw a request to pause before the run ended
        execute.go_on(self.region.environment, resumed.id)
        return store.resume(resumed, changes_left=self.total(plan), secrets=self.secrets())


def latest(environment: Environment) -> Run | None:
    """The latest run that changes a region, or meant to; a backup does not."""
    with run_store(environment) as store:
        return next(iter(store.list(1, changing=True)), None)


def check_resumable(run: Run, latest: Run | None) -> None:
    """Whether a run may be resumed.

    :param latest: of `latest`
    :raises RefusedError: why not
    """
    if run.status not in OPEN:
        hint = "scs runs list" if run.status is Status.RUNNING else "scs plan shows what differs now"
        raise RefusedError(f"run {run.id} is {run.status}, there is nothing to resume", hint)
    if not run.resume:
        raise RefusedError(f"run {run.id} (`{run.command}`) cannot be resumed", run.repeat or REPEAT)
    if latest and run.id != latest.id:
        raise RefusedError(
            f"run {latest.id} (`{latest.command}`) came after {run.id}", "scs apply does all that is left now"
        )
