# SPDX-License-Identifier: Apache-2.0
"""A verb as one run: locked, planned, confirmed, recorded step by step."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.engine.events import TaskDone, TaskFailed, TaskStarted, Watch
from scs_deploy.inventory.synced import is_synced
from scs_deploy.operations.node import inventory, observe, plan, trust
from scs_deploy.operations.node.effects import Effects
from scs_deploy.operations.node.plan import NodePlan, Options, Refusal
from scs_deploy.operations.node.view import View
from scs_deploy.operations.node.work import Work
from scs_deploy.region.inputs import inputs
from scs_deploy.region.region import Region
from scs_deploy.state.lock import RunLock
from scs_deploy.state.runs import RunRecord, RunStore, Status

TOLERANT = frozenset({"move_guests"})
"""Steps after whose failure the rest is done all the same: what they leave behind, no later step relies on."""


@dataclass(frozen=True)
class Done:
    """How a verb ended."""

    plan: NodePlan
    run: str
    """id of its record; '' when there was nothing to do, or the plan only was asked for"""


def perform(
    region: Region,
    verb: str,
    host: str,
    options: Options,
    watch: Watch,
    confirm: Callable[[NodePlan], bool],
    fingerprint: str = "",
    change: bool = True,
) -> Done:
    """Plan, show, carry out.

    :param confirm: is shown every plan, also a refused one, and says whether to go on
    :param fingerprint: of the SSH key of a host that was installed anew
    :param change: False: plan only, beside a run that holds the region, too
    :raises RefusedError: wrong input, a plan that must not be carried out, or another run holds the region
    :raises ScsError: a step failed; what came before is done and recorded
    """
    check_host(region, host)
    state = region.environment.state
    state.mkdir(mode=0o700, exist_ok=True)
    with RunLock(state / "lock") if change else nullcontext() as lock:
        if fingerprint:
            trust.trust(region, host, fingerprint)
        watch(TaskStarted("looking at all hosts", verb))
        view, made = look(region, verb, host, options)
        go_on = confirm(made)
        refuse(made)
        if not go_on or not made.steps or lock is None:
            return Done(made, "")
        store = RunStore(state / "runs.sqlite3")
        try:
            record = store.start(
                f"scs node {verb} {host}",
                changes_total=len(made.steps),
                inputs=inputs(region),
                inventory=region.inventory.hash,
                secrets=region.secrets.values(),
            )
            with record.recording():
                _carry_out(Effects(Work(region, view, made, record, lock, watch)), made, record, lock, watch)
            return Done(made, record.id)
        finally:
            store.close()


def look(region: Region, verb: str, host: str, options: Options) -> tuple[View, NodePlan]:
    """Observe, and plan.

    :raises RefusedError: the host's SSH key is not the known one
    """
    empty: frozenset[str] = frozenset()
    if verb in ("replace", "add"):
        found = observe.probe(region, host)
        if strange := trust.explain(host, found):
            raise strange
        # a host that does not answer is asked once more with the others, for what they say of it
        empty = frozenset({host}) if found == "empty" else empty
    view = observe.observe(region, guests_of=(host,), empty=empty)
    needs_nova = "compute" in view.hosts[host].groups and verb != "add"
    if view.no_compute and needs_nova:
        reason = f"{host} is a compute host, and Nova does not answer: {view.no_compute}"
        refusals: tuple[Refusal, ...] = (Refusal(reason=reason, hint="scs status"),)
    else:
        refusals = ()
    made = {
        "drain": lambda: plan.drain(view, host, options),
        "undrain": lambda: plan.undrain(view, host),
        "replace": lambda: plan.replace(view, host, options),
        "add": lambda: plan.add(view, host),
        "remove": lambda: plan.remove(view, host, options),
    }[verb]()
    if verb == "remove":
        if is_synced(region.environment.inventory):
            origin = region.inventory.hosts[host].origin
            where = f"give {origin} another status in NetBox" if origin else "take it out of the inventory's source"
            where += ", then `scs inventory sync`"
        else:
            where = f"take it out of the inventory: {', '.join(inventory.mentions(region.environment.inventory, host))}"
        notes = (*made.notes, f"afterwards {where}", NEXT)
        made = made.model_copy(update={"notes": notes})
    return view, made.model_copy(update={"refusals": (*refusals, *made.refusals)})


NEXT = "then `scs plan` shows what the others must know: load balancers, cluster members, names; `scs apply` does it"


def refuse(made: NodePlan) -> None:
    """Raise when a plan has refusals.

    :raises RefusedError: all reasons on one line
    """
    if made.refusals:
        hints = dict.fromkeys(r.hint for r in made.refusals if r.hint)
        raise RefusedError("; ".join(r.reason for r in made.refusals), "; ".join(hints))


def check_host(region: Region, host: str) -> None:
    """A host of the inventory.

    :raises RefusedError: there is no such host
    """
    if host not in region.inventory.hosts:
        known = ", ".join(region.inventory.hosts)
        raise RefusedError(f"{region.environment.inventory}: no host '{host}'", f"there are: {known}")


def _carry_out(effects: Effects, made: NodePlan, record: RunRecord, lock: RunLock, watch: Watch) -> None:
    late: list[ScsError] = []
    lock.check()
    if made.verb == "drain":
        effects.note(drained=True)
    for step in made.steps:
        lock.check()
        if step is made.steps[-1] and made.verb in ("undrain", "replace"):
            effects.note(drained=False)
        watch(TaskStarted(step.title, made.verb))
        number = record.step_started(step.title, phase=made.verb, host=made.host, subject=step.name)
        try:
            getattr(effects, step.name)()
        except ScsError as error:
            record.step_finished(number, Status.FAILED, str(error))
            watch(TaskFailed(step.title, made.host, str(error)))
            if step.name not in TOLERANT:
                raise
            late.append(error)
        else:
            record.step_finished(number, Status.DONE, changes_done=1)
            watch(TaskDone(step.title, made.host, 1))
    if late:
        raise late[0]
