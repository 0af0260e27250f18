# SPDX-License-Identifier: Apache-2.0
"""The node operations: drain, undrain, evacuate, replace, add and remove."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pydantic import Field

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import Model
from scs_deploy.engine.events import Expected, Note, Stage, Watch, ignore
from scs_deploy.inventory.synced import is_synced
from scs_deploy.operations import alert_watch
from scs_deploy.operations.base import Operation, Session, Step, always_agree
from scs_deploy.operations.node import evacuation, inventory, observe, plan, trust
from scs_deploy.operations.node.effects import Effects
from scs_deploy.operations.node.plan import NodeOptions, NodePlan, PlanStep, Refusal
from scs_deploy.operations.node.view import View
from scs_deploy.operations.node.work import Work
from scs_deploy.region.region import Region
from scs_deploy.state.runs import Run

TOLERANT = frozenset({"move_guests", "evacuate_guests"})
"""Steps whose failure does not stop the later ones, which do not depend on them."""


@dataclass(frozen=True)
class Done:
    """How a node operation ended."""

    plan: NodePlan
    run: str
    """id of the run; '' if there was nothing to do, or only the plan was requested"""


class NodeRequest(Model):
    """What to do with a host."""

    verb: str = Field(description="drain, undrain, evacuate, replace, add or remove")
    host: str
    options: NodeOptions = NodeOptions()
    fingerprint: str = Field(default="", description="of the SSH key of a reinstalled host")


class NodeVerb(Operation[NodeRequest, NodePlan, Done]):
    """Drains, undrains, evacuates, replaces, adds or removes a host.

    `confirm` receives every plan, also if it is refused or has no steps.

    :raises RefusedError: the inventory has no such host
    """

    name = "node"
    requests = NodeRequest
    repeat = "repeat the command: it observes the host again, and skips what is already done"

    def __init__(self, region: Region, request: NodeRequest, command: str = "") -> None:
        super().__init__(region, request, command or f"scs node {request.verb} {request.host}")
        check_host(region, request.host)
        self._view: View | None = None

    def plan(self, watch: Watch = ignore) -> NodePlan:
        """What the operation would do, or why it is refused. Trusts a new SSH key of the host first.

        :raises RefusedError: the host's SSH key has changed
        """
        request = self.request
        watch(Stage("observing all hosts"))
        if request.fingerprint:
            trust.trust(self.region, request.host, request.fingerprint)
        self._view, made = observe_and_plan(self.region, request.verb, request.host, request.options)
        return made

    def total(self, plan: NodePlan) -> int:
        """See Operation."""
        return len(plan.steps)

    def empty_result(self, plan: NodePlan) -> Done:
        """See Operation."""
        return Done(plan, "")

    def check(self, plan: NodePlan) -> None:
        """See Operation.

        :raises RefusedError: all reasons on one line
        """
        refuse(plan)

    def execute(
        self,
        session: Session,
        confirm: Callable[[NodePlan], bool] = always_agree,
        plan: NodePlan | None = None,
        resumed: Run | None = None,  # noqa: ARG002 - cannot be resumed
    ) -> Done:
        """See Operation."""
        made = self.plan(session.emit)
        if plan is not None:
            self.check_same(plan, made)
        confirmed = confirm(made)
        self.check(made)
        if not confirmed or not made.steps:
            return self.empty_result(made)
        session.emit(Expected(self.total(made)))
        with session.recording(lambda store: self.start(store, made)):
            return self.carry_out(session, made)

    def carry_out(self, session: Session, plan: NodePlan) -> Done:
        """See Operation.

        :raises ScsError: a step failed; earlier steps are done and recorded
        """
        assert self._view
        work = Work(self.region, self._view, plan, session.record, session)
        host = self.request.host
        # the host may go down once it is drained: its alerts are silent until another operation brings it back
        after = alert_watch.DRAINED if plan.verb == "drain" else alert_watch.AFTER
        with alert_watch.watched(
            self.region, [{"host": host}], f"{host} in maintenance", lambda said: session.emit(Note(said)), after=after
        ):
            carry_out(Effects(work), plan, session)
        return Done(plan, session.record.id)


def observe_and_plan(region: Region, verb: str, host: str, options: NodeOptions) -> tuple[View, NodePlan]:
    """Observe the hosts and make the plan.

    :raises RefusedError: the host's SSH key has changed
    """
    empty: frozenset[str] = frozenset()
    if verb in ("replace", "add", "evacuate"):
        probed = observe.probe(region, host)
        if changed_key := trust.explain(host, probed):
            raise changed_key
        # an unreachable host is observed again with the others, because they have information about it
        empty = frozenset({host}) if probed == "empty" else empty
    view = observe.observe(region, guests_of=(host,), empty=empty)
    if verb == "evacuate":
        view = observe.with_open_disks(region, view, host)
    needs_nova = "compute" in view.hosts[host].groups and verb != "add"
    if view.no_compute and needs_nova:
        reason = f"{host} is a compute host, but Nova does not respond: {view.no_compute}"
        refusals: tuple[Refusal, ...] = (Refusal(reason=reason, hint="scs status"),)
    else:
        refusals = ()
    made = {
        "drain": lambda: plan.drain(view, host, options),
        "undrain": lambda: plan.undrain(view, host),
        "evacuate": lambda: evacuation.evacuate(view, host, options),
        "replace": lambda: plan.replace(view, host, options),
        "add": lambda: plan.add(view, host),
        "remove": lambda: plan.remove(view, host, options),
    }[verb]()
    if verb == "remove":
        if is_synced(region.environment.inventory):
            origin = region.inventory.hosts[host].origin
            where = f"change the status of {origin} in NetBox" if origin else "remove it from the inventory's source"
            where += ", then run `scs inventory sync`"
        else:
            where = f"remove it from the inventory: {', '.join(inventory.mentions(region.environment.inventory, host))}"
        notes = (*made.notes, f"afterwards, {where}", NEXT)
        made = made.model_copy(update={"notes": notes})
    return view, made.model_copy(update={"refusals": (*refusals, *made.refusals)})


NEXT = (
    "then run `scs bootstrap` and `scs apply`: the others' packet filters refuse the host, their names, load balancers "
    "and clusters no longer have it, and they refuse its certificates; "
    "`scs certs check` names those that clients still accept"
)


def refuse(made: NodePlan) -> None:
    """Raise if a plan has refusals.

    :raises RefusedError: all reasons on one line
    """
    if made.refusals:
        hints = dict.fromkeys(r.hint for r in made.refusals if r.hint)
        raise RefusedError("; ".join(r.reason for r in made.refusals), "; ".join(hints))


def check_host(region: Region, host: str) -> None:
    """Check that a host is in the inventory.

    :raises RefusedError: it is not
    """
    if host not in region.inventory.hosts:
        known = ", ".join(region.inventory.hosts)
        raise RefusedError(f"{region.environment.inventory}: no host '{host}'", f"there are: {known}")


def carry_out(effects: Effects, made: NodePlan, session: Session) -> None:
    """Carry out the steps of a plan. The host is marked as drained before the first step of a drain, and until the last
    step of an undrain or a replacement.

    :raises ScsError: a step failed, or another process took over the lock
    """
    session.check()
    if made.verb == "drain":
        effects.note(drained=True)
    brings_back = made.steps[-1] if made.verb in ("undrain", "replace") else None

    def does(step: PlanStep) -> Callable[[], None]:
        def do() -> None:
            if step is brings_back:
                effects.note(drained=False)
            getattr(effects, step.name)()

        return do

    steps = (Step(s.name, s.title, does(s), (made.host,), tolerated=s.name in TOLERANT) for s in made.steps)
    session.carry_out(made.verb, steps)
