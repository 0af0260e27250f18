# SPDX-License-Identifier: Apache-2.0
"""A verb as one run: locked, planned, confirmed, recorded step by step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pydantic import Field

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import Model
from scs_deploy.engine.events import Expected, Stage, Watch, ignore
from scs_deploy.inventory.synced import is_synced
from scs_deploy.operations.base import Operation, Session, Step, agree
from scs_deploy.operations.node import inventory, observe, plan, trust
from scs_deploy.operations.node.effects import Effects
from scs_deploy.operations.node.plan import NodeOptions, NodePlan, PlanStep, Refusal
from scs_deploy.operations.node.view import View
from scs_deploy.operations.node.work import Work
from scs_deploy.region.region import Region
from scs_deploy.state.runs import Run

TOLERANT = frozenset({"move_guests"})
"""Steps after whose failure the rest is done all the same: what they leave behind, no later step relies on."""


@dataclass(frozen=True)
class Done:
    """How a verb ended."""

    plan: NodePlan
    run: str
    """id of its record; '' when there was nothing to do, or the plan only was asked for"""


class NodeRequest(Model):
    """What to do with a host."""

    verb: str = Field(description="drain, undrain, replace, add or remove")
    host: str
    options: NodeOptions = NodeOptions()
    fingerprint: str = Field(default="", description="of the SSH key of a host that was installed anew")


class NodeVerb(Operation[NodeRequest, NodePlan, Done]):
    """Drains, undrains, replaces, adds or removes a host.

    `confirm` is shown every plan, also one that is refused or has no steps.

    :raises RefusedError: there is no such host
    """

    name = "node"
    requests = NodeRequest
    repeat = "repeat the command: it looks at the host again, and leaves out what is done already"

    def __init__(self, region: Region, request: NodeRequest, command: str = "") -> None:
        super().__init__(region, request, command or f"scs node {request.verb} {request.host}")
        check_host(region, request.host)
        self._view: View | None = None

    def plan(self, watch: Watch = ignore) -> NodePlan:
        """What the verb would do, or why it is refused. A new SSH key of the host is trusted first.

        :raises RefusedError: the host's SSH key is not the known one
        """
        request = self.request
        watch(Stage("looking at all hosts"))
        if request.fingerprint:
            trust.trust(self.region, request.host, request.fingerprint)
        self._view, made = look(self.region, request.verb, request.host, request.options)
        return made

    def total(self, plan: NodePlan) -> int:
        """See Operation."""
        return len(plan.steps)

    def nothing(self, plan: NodePlan) -> Done:
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
        confirm: Callable[[NodePlan], bool] = agree,
        plan: NodePlan | None = None,
        resumed: Run | None = None,  # noqa: ARG002 - a run of it is not resumed
    ) -> Done:
        """See Operation."""
        made = self.plan(session.emit)
        if plan is not None:
            self.check_same(plan, made)
        goes_on = confirm(made)
        self.check(made)
        if not goes_on or not made.steps:
            return self.nothing(made)
        session.emit(Expected(self.total(made)))
        with session.recording(lambda store: self.start(store, made)):
            return self.carry_out(session, made)

    def carry_out(self, session: Session, plan: NodePlan) -> Done:
        """See Operation.

        :raises ScsError: a step failed; what came before is done and recorded
        """
        assert self._view
        work = Work(self.region, self._view, plan, session.record, session)
        carry_out(Effects(work), plan, session)
        return Done(plan, session.record.id)


def look(region: Region, verb: str, host: str, options: NodeOptions) -> tuple[View, NodePlan]:
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


def carry_out(effects: Effects, made: NodePlan, session: Session) -> None:
    """Do the steps of a plan. A host counts as drained from before the first one until the last one brings it back.

    :raises ScsError: a step failed, or another process took the region
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
