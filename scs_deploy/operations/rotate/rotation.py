# SPDX-License-Identifier: Apache-2.0
"""Rotates secrets, certificates or the CA in one run of steps, some of which apply changes to the region."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import Model
from scs_deploy.base.plural import counted
from scs_deploy.engine.events import Watch, ignore
from scs_deploy.operations.apply import Applied, Apply, ApplyRequest
from scs_deploy.operations.base import Operation, Session, always_agree
from scs_deploy.operations.bootstrap import Bootstrap, BootstrapRequest
from scs_deploy.operations.rotate import certificates, secrets, state
from scs_deploy.operations.rotate.roll import Engine
from scs_deploy.operations.rotate.secrets import Rotated
from scs_deploy.operations.rotate.state import Rotation, RotationStep
from scs_deploy.plan.reach import refuse_unreachable
from scs_deploy.plan.region import Plan
from scs_deploy.prober.watch import ProbeOptions
from scs_deploy.region.certificates import wanted_leaves
from scs_deploy.region.region import Region
from scs_deploy.region.selection import Selection
from scs_deploy.secrets import pki
from scs_deploy.spec.container import Impact
from scs_deploy.state.runs import Run


class RotateRequest(Model):
    """What to rotate."""

    kind: state.Kind
    names: tuple[str, ...] = ()
    """of secrets or certificates, sorted; empty, for certificates: all"""
    users_trust: bool = False
    """all API users trust the new CA"""
    allow: tuple[Impact, ...] = ()
    probe: ProbeOptions = ProbeOptions()


@dataclass(frozen=True)
class RotationPlan:
    """The steps of a rotation."""

    rotation: Rotation
    """its progress"""
    steps: tuple[RotationStep, ...] = field(compare=False)
    secrets: tuple[Rotated, ...] = ()

    @property
    def left(self) -> int:
        """How many steps remain."""
        return sum(s.key not in self.rotation.done for s in self.steps)


@dataclass(frozen=True)
class RotationResult:
    """How far a rotation got."""

    run: str
    """id of the run; '' if nothing was done"""
    waits_for: str = ""
    """what the operator must do before it continues; '' if it is complete"""


class RunRotation(Operation[RotateRequest, RotationPlan | Plan, RotationResult]):
    """Rotates secrets or certificates while the region keeps working.

    `confirm` receives the steps, and later the plan of each step that changes the region.
    """

    name = "rotate"
    requests = RotateRequest

    def __init__(self, region: Region, request: RotateRequest, command: str = "") -> None:
        names = tuple(sorted(set(request.names)))
        super().__init__(region, request.model_copy(update={"names": names}), command)
        self.command = command or state.command(request.kind, names)
        self._session: Session | None = None
        self._confirm: Callable[[RotationPlan | Plan], bool] = always_agree

    def plan(self, watch: Watch = ignore) -> RotationPlan:  # noqa: ARG002 - contacts no host
        """See Operation."""
        region, request = self.region, self.request
        engine = Engine(region.environment.name, self._roll, request.allow)
        if request.kind == "secrets":
            chosen = tuple(secrets.choose(request.names, region.catalog))
            secrets.refuse_others(region.secrets, chosen)
            rotation = state.begin(region.environment, request.kind, request.names)
            steps = secrets.key_steps(engine, set(secrets.keys(region.catalog)) & set(request.names))
            steps += secrets.signing_steps(engine, request.names)
            if chosen:
                steps += secrets.steps(engine, chosen)
            return RotationPlan(rotation, tuple(steps), chosen)
        pki.check_names(request.names, wanted_leaves(region.environment, region.catalog, region.inventory))
        rotation = state.begin(region.environment, request.kind, request.names)
        if request.kind == "ca":
            return RotationPlan(rotation, tuple(certificates.ca_steps(engine, self._prepare_hosts)))
        return RotationPlan(rotation, tuple(certificates.leaf_steps(engine, request.names)))

    def total(self, plan: RotationPlan | Plan) -> int:
        """See Operation."""
        return plan.left if isinstance(plan, RotationPlan) else len(plan.changes)

    def empty_result(self, plan: RotationPlan | Plan) -> RotationResult:  # noqa: ARG002 - the same for every plan
        """See Operation."""
        return RotationResult("")

    def execute(
        self,
        session: Session,
        confirm: Callable[[RotationPlan | Plan], bool] = always_agree,
        plan: RotationPlan | Plan | None = None,
        resumed: Run | None = None,
    ) -> RotationResult:
        """See Operation."""
        self._confirm = confirm
        return super().execute(session, confirm, plan, resumed)

    def carry_out(self, session: Session, plan: RotationPlan | Plan) -> RotationResult:
        """See Operation.

        :raises ScsError: a step failed; repeat the same rotation to continue with it
        """
        assert isinstance(plan, RotationPlan)
        self._session = session
        agreed = frozenset({"issue"}) if self.request.users_trust else frozenset[str]()
        waits = state.carry_out(session, plan.rotation, plan.steps, agreed)
        return RotationResult(session.record.id, waits.ask if waits else "")

    def _roll(self, region: Region, selection: Selection) -> Applied:
        """Plan, confirm and apply within this run."""
        assert self._session
        # earlier steps generated values that the record must mask
        self._session.record.mask(region.secrets.values())
        request = ApplyRequest(
            services=selection.services, hosts=selection.hosts, allow=selection.allow, probe=self.request.probe
        )
        refused = False

        def confirm(plan: Plan) -> bool:
            nonlocal refused
            refused = not self._confirm(plan)
            return not refused

        done = Apply(region, request).execute(self._session, confirm)
        if refused:
            raise RefusedError("the changes of this step were not confirmed", f"{self.command} continues with it")
        return done

    def _prepare_hosts(self) -> str:
        assert self._session
        region = Region.load(self.region.environment.name)
        done = Bootstrap(region, BootstrapRequest()).execute(self._session)
        refuse_unreachable(done.unreachable, "a new CA")
        return f"changed {len(done.changed)} of {counted(len(done.hosts), 'host')}"
