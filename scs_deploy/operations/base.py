# SPDX-License-Identifier: Apache-2.0
"""The base of all operations that change a region: the region's lock, run record, steps and events.

A view (a command, a timer, a web page) builds a request and its operation, shows the plan, runs the operation and
renders its events. All rules are in the operation.
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
from scs_deploy.engine.events import Event, Expected, Note, TaskDone, TaskFailed, TaskStarted, Watch, guarded, ignore
from scs_deploy.environment import sharing
from scs_deploy.environment.environment import Environment
from scs_deploy.operations import manager_metrics
from scs_deploy.plan.change import Change
from scs_deploy.plan.region import Plan
from scs_deploy.region.inputs import inputs
from scs_deploy.region.region import Region
from scs_deploy.state.journal import Log, logging_to
from scs_deploy.state.lock import RunLock, region_lock
from scs_deploy.state.runs import Run, RunRecord, RunStore, Status, run_store
from scs_deploy.state.trimming import trim

OPEN = (Status.PAUSED, Status.FAILED, Status.INTERRUPTED)
"""States of runs that have not reached their end."""

REPEAT = "repeat the command: it skips what is already done"
"""Hint for runs that cannot be resumed, unless the operation has its own."""

Request = TypeVar("Request", bound=Model)
Planned = TypeVar("Planned")
Result = TypeVar("Result")


def always_agree(_plan: object) -> bool:
    """The confirmation of a caller that already agreed, e.g. with --yes."""
    return True


@dataclass(frozen=True)
class Step:
    """A step of an operation, outside any playbook."""

    key: str
    """names it within its operation"""
    title: str
    """what the operator sees"""
    do: Callable[[], str | None]
    """does the work; returns a few words about what was done"""
    hosts: tuple[str, ...] = ()
    """empty: on the manager"""
    tolerated: bool = False
    """if it fails, later steps still run, and the operation fails at the end"""


class Session:
    """Exclusive access to a region: no other process changes it until the session ends.

    :param record: of a run that has already begun
    :param log: receives errors that do not end the run
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
        """:raises ScsError: another process has taken over the region's lock"""
        self.lock.check()

    @property
    def recorded(self) -> bool:
        """Whether a run has begun."""
        return self._record is not None

    @property
    def record(self) -> RunRecord:
        """The record of the run.

        :raises ScsError: no run has begun
        """
        if self._record is None:
            raise ScsError("a step requires a run record, but no run has begun")
        return self._record

    @contextmanager
    def recording(self, begin: Callable[[RunStore], RunRecord]) -> Iterator[RunRecord]:
        """`with session.recording(begin) as record:` - ends the record with the result of the block.

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
                self._trim(store)

    def _trim(self, store: RunStore) -> None:
        """Remove the oldest records. If that fails, the run is not to blame: the next one tries again."""
        keep = self.environment.settings.keep
        try:
            trim(store, keep.runs, keep.run_details)
        except ScsError as error:
            logging.getLogger("scs").warning("old run records stay: %s", error)

    def carry_out(self, phase: str, steps: Iterable[Step]) -> None:
        """Run steps one after the other; record and show each.

        :raises ScsError: a step failed, or another process took over the lock; earlier steps are done
        """
        late: list[ScsError] = []
        for step in steps:
            try:
                self.run_step(phase, step)
            except ScsError as error:
                if not step.tolerated:
                    raise
                late.append(error)
        if late:
            raise late[0]

    def run_step(self, phase: str, step: Step) -> str:
        """Run one step, and record it for each of its hosts. Returns a few words about what was done.

        :raises ScsError: it failed, or another process took over the lock
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
    """Turn system errors during a run into failures, which are not refusals.

    :raises ScsError: in place of any other error
    """
    try:
        yield
    except ScsError:
        raise
    except Exception as error:
        logging.getLogger("scs").exception("the run ended with an internal or system error")
        said = explained(error)
        raise ScsError(said.message, said.hint) from error


@contextmanager
def session_of(
    environment: Environment, watch: Watch = ignore, command: str | None = None,
    lock: AbstractContextManager[RunLock] | None = None,
) -> Iterator[Session]:  # fmt: skip
    """`with session_of(environment, watch) as session:` - holds the region's lock.

    Errors that do not end the run, e.g. in a view, are logged to `state/scs.log` of the region.

    :param command: shown to others that want the lock; default: this process's command line
    :param lock: to hold instead of the region's
    :raises RefusedError: another run holds the region, or this user may not change it
    """
    sharing.check_may_change(environment)
    sharing.make_state(environment)
    with logging_to(environment) as log, lock or region_lock(environment, command) as held:
        yield Session(environment, held, watch, log=log)


class Operation(ABC, Generic[Request, Planned, Result]):
    """An operation on a region. A view needs only `plan` and `run`.

    :param command: the command line, for the run record
    :raises RefusedError: this user may not change the region
    """

    name: ClassVar[str]
    """in run records, e.g. `apply`; identifies the operation when a run is resumed"""
    requests: ClassVar[type[Model]]
    """the type of its requests"""
    repeat: ClassVar[str] = ""
    """why `scs runs resume` cannot continue it, one line; empty: it can"""
    changing: ClassVar[bool] = True
    """false: it does not change the region's services"""

    def __init__(self, region: Region, request: Request, command: str = "") -> None:
        sharing.check_may_change(region.environment)
        self.region = region
        self.request = request
        self.command = command or f"scs {self.name}"

    @abstractmethod
    def plan(self, watch: Watch = ignore) -> Planned:
        """Make the plan. Changes nothing.

        :raises RefusedError: the request cannot be carried out
        """

    @abstractmethod
    def total(self, plan: Planned) -> int:
        """How many changes or steps a plan has; 0: there is nothing to do."""

    @abstractmethod
    def empty_result(self, plan: Planned) -> Result:
        """The result if nothing was done: the plan is empty, or was not confirmed."""

    @abstractmethod
    def carry_out(self, session: Session, plan: Planned) -> Result:
        """Carry out exactly this plan, in a session whose record has begun.

        :raises ScsError: it failed; the record has what was done
        """

    def check(self, plan: Planned) -> None:
        """Check that a plan may be carried out.

        :raises RefusedError: why not
        """

    def check_same(self, shown: Planned, current: Planned) -> None:
        """Check that the plan that was shown is still the current one.

        :raises RefusedError: the plans differ
        """
        if shown != current:
            raise RefusedError("the region has changed since this plan was made", "review the new plan")

    def run(
        self,
        watch: Watch = ignore,
        confirm: Callable[[Planned], bool] = always_agree,
        plan: Planned | None = None,
        resumed: Run | None = None,
    ) -> Result:
        """Plan, confirm and carry out, in a new session.

        :param confirm: receives the plan and returns whether to carry it out
        :param plan: that was shown before; refused if the current plan differs
        :param resumed: the run whose record this continues
        :raises RefusedError: invalid input, or another run holds the region; nothing was changed
        :raises PausedError: a pause was requested; the run can be resumed
        :raises ScsError: it failed; the record has what was done
        """
        with self.session(watch) as session:
            return self.execute(session, confirm, plan, resumed)

    def execute(
        self,
        session: Session,
        confirm: Callable[[Planned], bool] = always_agree,
        plan: Planned | None = None,
        resumed: Run | None = None,
    ) -> Result:
        """Like `run`, in the caller's session. If its run has begun, this becomes a part of it."""
        if resumed:
            with run_store(self.region.environment) as store:
                check_resumable(store.get(resumed.id), latest(self.region.environment))
        made = self.plan(session.emit)
        if plan is not None:
            self.check_same(plan, made)
        total = self.total(made)
        if not total and not resumed:
            return self.empty_result(made)
        self.check(made)
        if not confirm(made):
            return self.empty_result(made)
        if isinstance(made, Plan):
            # what was shown is what runs, however long the operator read it
            self.region.check_unchanged()
        session.emit(Expected(total))
        if session.recorded:
            session.record.expect(total)
            session.record.plan(self.changes(made))
            return self.carry_out(session, made)
        try:
            with session.recording(lambda store: self._begin(store, made, resumed)):
                session.record.plan(self.changes(made))
                return self.carry_out(session, made)
        finally:
            manager_metrics.push(self.region, lambda why: session.emit(Note(why)))

    def changes(self, plan: Planned) -> Iterable[Change]:
        """The changes of a plan, for the record; empty if the plan consists of steps."""
        return plan.changes if isinstance(plan, Plan) else ()

    def session(self, watch: Watch = ignore) -> AbstractContextManager[Session]:
        """The session in which the operation runs."""
        return session_of(self.region.environment, watch)

    def secrets(self) -> Iterable[str]:
        """Values to mask in the run record."""
        return self.region.secrets.values()

    def start(self, store: RunStore, plan: Planned) -> RunRecord:
        """Start the record of a run."""
        return store.start(
            self.command, changes_total=self.total(plan), inputs=inputs(self.region),
            inventory=self.region.inventory.hash, secrets=self.secrets(), operation=self.name,
            resume="" if self.repeat else self.request.model_dump_json(), repeat=self.repeat, changing=self.changing,
        )  # fmt: skip

    def _begin(self, store: RunStore, plan: Planned, resumed: Run | None) -> RunRecord:
        if resumed is None:
            return self.start(store, plan)
        # the run ended before it saw a request to pause
        execute.clear_pause(self.region.environment, resumed.id)
        return store.resume(resumed, changes_left=self.total(plan), secrets=self.secrets())


def latest(environment: Environment) -> Run | None:
    """The latest run that changed a region or tried to; backups do not count."""
    with run_store(environment) as store:
        return next(iter(store.list(1, changing=True)), None)


def check_resumable(run: Run, latest: Run | None) -> None:
    """Check that a run can be resumed.

    :param latest: the region's latest run
    :raises RefusedError: why not
    """
    if run.status not in OPEN:
        hint = "scs runs list" if run.status is Status.RUNNING else "scs plan shows what differs now"
        raise RefusedError(f"run {run.id} is {run.status} and cannot be resumed", hint)
    if not run.resume:
        raise RefusedError(f"run {run.id} (`{run.command}`) cannot be resumed", run.repeat or REPEAT)
    if latest and run.id != latest.id:
        raise RefusedError(
            f"run {latest.id} (`{latest.command}`) is later than {run.id}", "scs apply makes all remaining changes"
        )
