# SPDX-License-Identifier: Apache-2.0
"""A verb as one run: locked, planned, confirmed, recorded step by step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pydantic import Field

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import Model
from scs_deploy.engine.events import TaskStarted
from scs_deploy.inventory.synced import is_synced
from scs_deploy.operations.base import Operation, Session, Step
from scs_deploy.operations.node import inventory, observe, plan, trust
from scs_deploy.operations.node.effects import Effects
from scs_deploy.operations.node.plan import NodePlan, Options, Refusal
from scs_deploy.operations.node.plan import Step as PlanStep
from scs_deploy.operations.node.view import View
from scs_deploy.operations.node.work import Work
from scs_deploy.region.region import Region
from scs_deploy.state.runs import RunRecord

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
    options: Options = Options()
    fingerprint: str = Field(default="", description="of the SSH key of a host that was installed anew")


class NodeVerb(Operation[NodePlan, Done]):
    """Drains, undrains, replaces, adds or removes a host.

    :raises RefusedError: there is no such host
    """

    name = "node"
    repeat = "repeat the command: it looks at the host again, and leaves out what is done already"

    def __init__(self, region: Region, request: NodeRequest) -> None:
        super().__init__(region, f"scs node {request.verb} {request.host}")
        check_host(region, request.host)
        self.request = request

    def plan(self) -> NodePlan:
        """What the verb would do, or why it is refused. A new SSH key of the host is trusted first.

        :raises RefusedError: the host's SSH key is not the known one
        """
        return self._look()[1]

    def execute(self, session: Session, confirm: Callable[[NodePlan], bool]) -> Done:
        """See Operation.

        :param confirm: is shown every plan, also a refused one, and says whether to go on
        :raises RefusedError: a plan that must not be carried out
        :raises ScsError: a step failed; what came before is done and recorded
        """
        session.emit(TaskStarted("looking at all hosts", self.request.verb))
        view, made = self._look()
        go_on = confirm(made)
        refuse(made)
        if not go_on or not made.steps:
            return Done(made, "")
        with session.recording(self.start(len(made.steps))) as record:
            carry_out(Effects(Work(self.region, view, made, record, session)), made, session, record)
        return Done(made, record.id)

    def _look(self) -> tuple[View, NodePlan]:
        request = self.request
        if request.fingerprint:
            trust.trust(self.region, request.host, request.fingerprint)
        return look(self.region, request.verb, request.host, request.options)


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


def carry_out(effects: Effects, made: NodePlan, session: Session, record: RunRecord) -> None:
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

    steps = (Step(s.name, s.title, does(s), made.host, tolerated=s.name in TOLERANT) for s in made.steps)
    session.carry_out(record, made.verb, steps)
