# SPDX-License-Identifier: Apache-2.0
"""A dead compute host: whether its guests may be rebuilt elsewhere, and which steps do that. Pure.

Two copies of a guest must never write to one disk. A host that does not answer the manager may be cut off only, with
guests that run and write. So nothing happens while anything of it is still heard, and before the first guest is rebuilt
the shared storage refuses whatever comes from the host. That alone is what makes it safe; the rest spares guests that
are well, and operators who are wrong about a host.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from scs_deploy.base.plural import counted
from scs_deploy.clusters.base import Server
from scs_deploy.operations.node import guests
from scs_deploy.operations.node.plan import NodeOptions, NodePlan, PlanStep, Refusal, Stay, listed, targets
from scs_deploy.operations.node.view import Compute, Guest, View, disabled_reason

ANSWERS = (
    "Permission denied", "Connection refused", "Connection reset", "Connection closed by remote host",
    "Host key verification failed", "REMOTE HOST IDENTIFICATION HAS CHANGED", "Too many authentication failures",
    "kex_exchange_identification",
)  # fmt: skip
"""How OpenSSH words the failures of a connection to a machine that is on."""

REPEAT = (
    "switch the host off, e.g. over its management controller; what is dead is noticed within two minutes: "
    "then repeat the command"
)
LEAVE = "repair the host, or add --leave-guests: they stay on it until it is back, and the others are rebuilt"


def evacuate(view: View, host: str, options: NodeOptions) -> NodePlan:
    """Rebuild the guests of a dead host elsewhere; steps that are already done are left out."""
    seen, compute = view.hosts[host], view.computes.get(host)
    if compute is None and not view.no_compute:
        return _refused(host, f"{host} is no compute host: it has no guests", "scs node list")
    if not (seen.unreachable or seen.empty):
        again = f"scs node undrain {host}" if view.evacuated(host) else f"scs node drain {host}"
        why = "returns it to service" if view.evacuated(host) else "moves its guests while they run"
        return _refused(host, f"{host} is reachable", f"{again} {why}")
    refusals = _signs_of_life(view, host) + _storage(view, host)
    own = guests.of(view, host)
    why_not = guests.lost(own, seen.local_disks)
    if keeping(view, host) is not None:
        disks_in_ceph = [g for g in own if g.own_disk and g.id not in why_not and not g.task]
        tight = guests.crowded(disks_in_ceph, keeping(view, host) or {})
        why_not |= {guest: f"of those with disks in Ceph, {why}" for guest, why in tight.items()}
    stays = tuple(Stay(id=g.id, name=g.name, reason=why_not[g.id]) for g in own if g.id in why_not)
    if stays and not options.leave_guests:
        text = f"{host}: {counted(len(stays), 'guest')} cannot be rebuilt elsewhere with their data: {listed(stays)}"
        refusals.append(Refusal(reason=text, hint=LEAVE))
    rebuilt = [g for g in own if g.id not in why_not]
    if rebuilt and not targets(view, host):
        refusals.append(Refusal(reason="no other compute host is up and enabled", hint="scs node list"))
    if not rebuilt or compute is None:
        return NodePlan(verb="evacuate", host=host, refusals=tuple(refusals), stays=stays)
    steps = [PlanStep(name="fence", title="have Ceph refuse everything that comes from it")]
    if compute.enabled or compute.disabled_by not in ("", "evacuate"):
        title = f"disable its compute service: {disabled_reason('evacuate')}"
        steps.append(PlanStep(name="disable_compute", title=title))
    if not compute.forced_down:
        steps.append(PlanStep(name="force_down", title="have Nova take its compute service as down"))
    if any(s.host == host and s.state == "ready" and view.backends.get(s.backend) for s in _elsewhere(view, host)):
        steps.append(PlanStep(name="hold_back", title="exclude it from the other load balancers"))
    title = f"rebuild {counted(len(rebuilt), 'guest')} with their disks on other hosts: {guests.named(rebuilt)}"
    steps.append(PlanStep(name="evacuate_guests", title=title))
    tight = guests.crowded(rebuilt, targets(view, host))
    notes = [f"{g.name} ({g.id}) may stay: {tight[g.id]}" for g in rebuilt if g.id in tight]
    return NodePlan(
        verb="evacuate", host=host, steps=tuple(steps), refusals=tuple(refusals), stays=stays, notes=tuple(notes)
    )


def keeping(view: View, host: str) -> Mapping[str, Compute] | None:
    """The hosts that a guest with a disk of its own must go to; None: Nova may choose.

    On a host that looks for disks among its files, Nova would not find the one in Ceph, and make an empty one.
    """
    all_of_them = targets(view, host)
    fit = {n: c for n, c in all_of_them.items() if n in view.hosts and not view.hosts[n].local_disks}
    return None if len(fit) == len(all_of_them) else fit


def destinations(view: View, host: str, rebuilt: Iterable[Guest]) -> dict[str, str]:
    """Guest's id: the host that it must go to. Nova chooses for the others, and may refuse each."""
    fit = keeping(view, host)
    return {} if fit is None else guests.places([g for g in rebuilt if g.own_disk], fit)[0]


def disks(view: View, host: str) -> tuple[str, ...]:
    """Disks of a host's guests in the shared storage."""
    own = guests.of(view, host)
    return tuple(d for g in own for d in guests.disks(g, view.hosts[host].local_disks))


def _signs_of_life(view: View, host: str) -> list[Refusal]:
    seen, compute = view.hosts[host], view.computes.get(host)
    signs = []
    if any(words in seen.unreachable for words in ANSWERS):
        signs.append(f"it answers ({seen.unreachable})")
    if compute and compute.up:
        signs.append("its nova-compute reports to Nova")
    if heard := sorted(c.name for c in view.clusters if host in {*c.alive, *c.heard}):
        signs.append(f"others hear its members of {', '.join(heard)}")
    if backends := sorted({s.backend for s in _elsewhere(view, host) if s.host == host and s.up}):
        signs.append(f"load balancers reach its {', '.join(backends)}")
    if view.open_disks:
        first = min(view.open_disks)
        more = f" and {len(view.open_disks) - 1} more" if len(view.open_disks) > 1 else ""
        signs.append(f"it has disks of guests open: {first}{more}")
    return [Refusal(reason=f"{host} may be alive: {'; '.join(signs)}", hint=REPEAT)] if signs else []


def _storage(view: View, host: str) -> list[Refusal]:
    if view.shared is None:
        text = f"the region has no storage that hosts share: the disks of {host}'s guests are on it"
        return [Refusal(reason=text, hint="repair the host")]
    if view.shared:
        return [Refusal(reason=view.shared, hint="scs storage status; then repeat the command")]
    if view.unknown_disks:
        return [Refusal(reason=view.unknown_disks, hint="scs storage status")]
    return []


def _elsewhere(view: View, host: str) -> list[Server]:
    """What load balancers on other hosts that answer know of servers."""
    return [s for s in view.servers if s.balancer != host]


def _refused(host: str, reason: str, hint: str) -> NodePlan:
    return NodePlan(verb="evacuate", host=host, refusals=(Refusal(reason=reason, hint=hint),))
