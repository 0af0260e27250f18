# SPDX-License-Identifier: Apache-2.0
"""(observed state, request) -> the steps, or why they are refused. Pure: nothing here reads or changes anything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from scs_deploy.base.model import Model
from scs_deploy.base.plural import counted
from scs_deploy.clusters.base import ClusterState
from scs_deploy.operations.node import guests
from scs_deploy.operations.node.view import Compute, HostView, View, disabled_reason


class NodeOptions(Model):
    """Options of the node commands."""

    leave_guests: bool = False
    force_quorum_loss: bool = False
    purge: bool = False


class PlanStep(Model):
    """One step; its name is the method of `Effects` that carries it out."""

    name: str
    title: str


class Refusal(Model):
    """Why the operation is refused, and what to do about it."""

    reason: str
    hint: str = ""


class Stay(Model):
    """A guest that cannot be moved."""

    id: str
    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name} ({self.id}): {self.reason}"


class NodePlan(Model):
    """What an operation will do with a host."""

    verb: str
    host: str
    steps: tuple[PlanStep, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    stays: tuple[Stay, ...] = ()
    notes: tuple[str, ...] = ()


def drain(view: View, host: str, options: NodeOptions) -> NodePlan:
    """Move everything off a running host; steps that are already done are left out."""
    seen = view.hosts[host]
    if len(view.hosts) == 1:
        return _refused("drain", host, f"{host} is the only host of the region: nothing can move elsewhere")
    if seen.unreachable:
        return _refused(
            "drain", host, f"host {host} is unreachable ({seen.unreachable})",
            f"`scs node evacuate {host}` rebuilds its guests elsewhere; then `scs node replace` once it is "
            "reinstalled, or `scs node remove`",
        )  # fmt: skip
    if view.evacuated(host):
        return _refused("drain", host, f"{host} is evacuated", f"scs node undrain {host} returns it to service")
    refusals = _quorum(view.clusters, host, options) + _needed(view.clusters, host, options) + _alone(view, host)
    steps, stays = _guests_off(view, host)
    if stays and not options.leave_guests:
        text = f"{host}: {counted(len(stays), 'guest')} cannot be moved: {listed(stays)}"
        refusals.append(Refusal(reason=text, hint=LEAVE))
    steps += _traffic_off(view, host)
    if seen.stores is not None and not seen.held:
        steps.append(PlanStep(name="hold_data", title="have no copies of its data made elsewhere while it is away"))
    notes = tuple(f"{backend} stays on {host}, which has its data" for backend in _kept(view, host))
    return NodePlan(
        verb="drain", host=host, steps=tuple(steps), refusals=tuple(refusals), stays=tuple(stays), notes=notes
    )


def undrain(view: View, host: str) -> NodePlan:
    """Return a host to service."""
    seen = view.hosts[host]
    if seen.unreachable:
        return _refused("undrain", host, f"host {host} is unreachable ({seen.unreachable})", "start it first")
    steps, notes = _back(view, host)
    # a member that handed over leadership leaves no trace, so the host may need verification without other steps
    if steps or any(c.hands_over and c.votes and host in c.wanted for c in view.clusters):
        steps.insert(0, PlanStep(name="verify", title="wait until its containers and cluster members are healthy"))
    # what runs there of guests that are elsewhere must end before it may write to their disks
    steps = [*_let_in(view, host), *_taken_as_up(view, host), *steps]
    return NodePlan(verb="undrain", host=host, steps=tuple(steps), notes=notes)


def replace(view: View, host: str, options: NodeOptions) -> NodePlan:
    """Restore a host that lost its disk."""
    seen = view.hosts[host]
    if len(view.hosts) == 1:
        return _refused(
            "replace", host, f"{host} is the only host of the region: there is nothing to join", "scs apply"
        )
    if seen.unreachable:
        return _refused(
            "replace",
            host,
            f"host {host} is unreachable ({seen.unreachable})",
            "install it and give the manager SSH access",
        )
    refusals = _quorum(view.clusters, host, options)
    recorded = guests.of(view, host)
    if seen.empty and recorded and not options.leave_guests:
        names = ", ".join(g.name for g in recorded)
        refusals.append(
            Refusal(
                reason=f"{host} is empty, but Nova records {counted(len(recorded), 'guest')} there, "
                f"whose disks are lost: {names}",
                hint=f"rebuild them elsewhere (scs node evacuate {host}), delete them, or add --leave-guests",
            )
        )
    compute = view.computes.get(host)
    steps = []
    if compute and compute.enabled:
        steps.append(
            PlanStep(name="disable_compute", title=f"disable its compute service: {disabled_reason('replace')}")
        )
    if host in view.balancers:
        steps.append(PlanStep(name="hold_back", title="exclude it from the other load balancers"))
    steps.append(PlanStep(name="forget", title="remove its old members from the clusters"))
    steps += _let_in(view, host)
    steps.append(PlanStep(name="bootstrap", title="bootstrap the host"))
    if compute and compute.uuid:
        steps.append(PlanStep(name="identity", title=f"restore its compute node identity {compute.uuid}"))
    if host in view.balancers:
        steps.append(PlanStep(name="move_addresses", title="keep the API addresses on other hosts"))
    steps.append(PlanStep(name="apply", title="apply the region's plan to it, then to the rest of the region"))
    if seen.stores is not None:
        title = "remove its lost disks from the cluster, once their data has all its copies again"
        steps.append(PlanStep(name="drop_data", title=title))
    steps += _taken_as_up(view, host)
    steps.append(PlanStep(name="verify", title="wait until its containers and cluster members are healthy"))
    steps += _back_after_all(view, host)
    notes = (
        () if seen.empty else (f"{host} is not empty: existing containers and data are kept, missing ones are added",)
    )
    return NodePlan(verb="replace", host=host, steps=tuple(steps), refusals=tuple(refusals), notes=notes)


def add(view: View, host: str) -> NodePlan:
    """Add a new host of the inventory to the region."""
    seen = view.hosts[host]
    if seen.unreachable:
        return _refused(
            "add", host, f"host {host} is unreachable ({seen.unreachable})", "check its address and its SSH key"
        )
    refusals = []
    for cluster in view.clusters:
        if not cluster.votes:
            continue
        if host in cluster.wanted and len(cluster.wanted) % 2 == 0:
            refusals.append(
                Refusal(
                    reason=f"{cluster.name} would have {len(cluster.wanted)} members, which tolerate no more failures "
                    f"than {len(cluster.wanted) - 1}, and a network split in halves stops all of them",
                    hint="assign the group to an odd number of hosts, e.g. add another host at the same time",
                )
            )
            break
        others = [m for m in cluster.members if m != host]
        if host in cluster.wanted and others and len(set(cluster.alive) - {host}) <= len(others) // 2:
            refusals.append(Refusal(reason=f"{cluster.name} has no quorum to join", hint="scs status; scs apply"))
    steps = (
        *([_unfence(seen)] if seen.fenced else ()),
        PlanStep(name="certificates", title="issue its certificates"),
        PlanStep(name="bootstrap_all", title="bootstrap it, and add its name on the other hosts"),
        PlanStep(name="apply", title="apply the region's plan to it, then to the hosts whose configuration names it"),
        PlanStep(name="verify", title="wait until its containers, cluster members and compute service are healthy"),
    )
    notes = (
        () if seen.empty else (f"{host} is not empty: existing containers and data are kept, missing ones are added",)
    )
    return NodePlan(verb="add", host=host, steps=steps, refusals=tuple(refusals), notes=notes)


def remove(view: View, host: str, options: NodeOptions) -> NodePlan:
    """Remove a host from the region permanently."""
    seen = view.hosts[host]
    if len(view.hosts) == 1:
        return _refused("remove", host, f"{host} is the only host of the region", "scs testbed down removes a testbed")
    if view.evacuated(host) and not seen.unreachable:
        return _refused("remove", host, f"{host} is evacuated and reachable", f"scs node undrain {host} first: {ENDS}")
    refusals = _quorum(view.clusters, host, options) or _even(view.clusters, host, options)
    refusals += _alone(view, host)
    if seen.stores:
        refusals.append(Refusal(reason=seen.stores, hint="add a host with disks first"))
    steps, stays = _guests_off(view, host)
    if seen.unreachable:
        stays = [Stay(id=g.id, name=g.name, reason="its host is unreachable") for g in view.guests.get(host, ())]
    if stays:
        refusals.append(
            Refusal(
                reason=f"{host}: {counted(len(stays), 'guest')} would be lost: {listed(stays)}",
                hint=f"move them (scs node {'evacuate' if seen.unreachable else 'drain'} {host}) or delete them first",
            )
        )
    notes = [f"the data of {backend} is on {host} and will be lost with it" for backend in _kept(view, host)]
    if seen.unreachable:
        steps = []
        notes.append(f"{host} is unreachable: its containers are not stopped")
        if seen.fenced:
            notes.append(
                f"Ceph goes on to refuse {', '.join(seen.fenced)}, until `scs node add` of a host with one of them"
            )
    else:
        steps += _traffic_off(view, host)
    if seen.stores is not None:
        steps.append(PlanStep(name="move_data", title="make all copies of its data on other hosts"))
    if not seen.unreachable:
        if any(host in c.members for c in view.clusters):
            steps.append(PlanStep(name="leave", title="have its members leave their clusters"))
        steps.append(PlanStep(name="remove_containers", title="stop and remove its containers"))
        if options.purge:
            steps.append(PlanStep(name="purge", title="remove its volumes; data that is only on this host is lost"))
    steps.append(PlanStep(name="forget", title="remove its members from the clusters"))
    if seen.stores is not None:
        steps.append(PlanStep(name="drop_data", title="remove its disks and itself from the data's cluster"))
    if host in view.computes:
        steps.append(PlanStep(name="delete_compute", title="delete its compute service and resource provider"))
    steps.append(PlanStep(name="delete_agents", title="delete its network agents and its chassis"))
    return NodePlan(
        verb="remove", host=host, steps=tuple(steps), refusals=tuple(refusals), stays=tuple(stays), notes=tuple(notes)
    )


ENDS = "that ends what it may still run of guests that are elsewhere now"
LEAVE = "move or delete them, or add --leave-guests to leave them on the host"


def _refused(verb: str, host: str, reason: str, hint: str = "") -> NodePlan:
    return NodePlan(verb=verb, host=host, refusals=(Refusal(reason=reason, hint=hint),))


def _quorum(clusters: Iterable[ClusterState], host: str, options: NodeOptions) -> list[Refusal]:
    """Clusters that would have too few members without this host."""
    result = []
    for cluster in clusters:
        if not cluster.votes or host not in {*cluster.members, *cluster.wanted} or options.force_quorum_loss:
            continue
        total, needed = cluster.counted, cluster.needed
        left = set(cluster.alive) - {host}
        if len(total) == 1:
            result.append(Refusal(reason=f"{host} is the only member of {cluster.name}", hint=FORCE))
        elif len(left) < needed:
            down = ", ".join(sorted(set(total) - left - {host})) or "none"
            result.append(
                Refusal(
                    reason=f"{cluster.name} would have {len(left)} of {len(total)} members without {host}, but needs "
                    f"{needed}; already down: {down}",
                    hint=FORCE,
                )
            )
    return result


def _even(clusters: Iterable[ClusterState], host: str, options: NodeOptions) -> list[Refusal]:
    """The first cluster that would have an even number of members without this host."""
    for cluster in clusters:
        left = [m for m in cluster.wanted if m != host]
        if cluster.votes and host in cluster.wanted and len(left) % 2 == 0 and not options.force_quorum_loss:
            text = f"{cluster.name} would have {counted(len(left), 'member')} left, an even number"
            hint = "add another host first, or --force-quorum-loss"
            return [Refusal(reason=f"{text}, which tolerates one failure less", hint=hint)]
    return []


def _needed(clusters: Iterable[ClusterState], host: str, options: NodeOptions) -> list[Refusal]:
    """Clusters without votes that say themselves that they cannot do without this host now."""
    if options.force_quorum_loss:
        return []
    return [
        Refusal(reason=f"{c.name} on {host} are needed: {c.needs[host]}", hint=FORCE)
        for c in clusters
        if c.needs.get(host)
    ]


FORCE = "repair the other members first (scs status, scs apply), or add --force-quorum-loss"


def _alone(view: View, host: str) -> list[Refusal]:
    """Refusals because of roles that only this host has."""
    result = []
    working = {n for n, h in view.hosts.items() if not h.unreachable and n != host}
    if host in view.balancers and not working & set(view.balancers):
        result.append(Refusal(reason=f"no other host can hold the API addresses of {host}", hint="scs status"))
    if view.hosts[host].gateway and not any(view.hosts[n].gateway for n in working):
        result.append(
            Refusal(
                reason=f"{host} is the only gateway: routers would lose external connectivity",
                hint="undrain another gateway first",
            )
        )
    return result


def targets(view: View, host: str) -> Mapping[str, Compute]:
    """Compute hosts that can take guests of this one."""
    return {n: c for n, c in view.computes.items() if n != host and c.up and c.enabled}


def _guests_off(view: View, host: str) -> tuple[list[PlanStep], list[Stay]]:
    compute = view.computes.get(host)
    if compute is None:
        return [], []
    steps = []
    if compute.enabled:
        steps.append(PlanStep(name="disable_compute", title=f"disable its compute service: {disabled_reason('drain')}"))
    own = guests.of(view, host)
    why = guests.stuck(own, targets(view, host))
    if view.full:
        # QEMU registers a watch when it opens a disk, and a watch is a write
        why = {g.id: f"its disk in Ceph cannot be opened on another host: {view.full}" for g in own} | why
    moving = [g for g in own if g.id not in why]
    if moving:
        steps.append(
            PlanStep(name="move_guests", title=f"live-migrate {counted(len(moving), 'guest')}: {guests.named(moving)}")
        )
    return steps, [Stay(id=g.id, name=g.name, reason=why[g.id]) for g in own if g.id in why]


def _traffic_off(view: View, host: str) -> list[PlanStep]:
    seen = view.hosts[host]
    steps = []
    if seen.gateway or seen.gateways:
        ports = f" ({counted(len(seen.gateways), 'router port')})" if seen.gateways else ""
        steps.append(PlanStep(name="release_gateways", title=f"move router gateways to other hosts{ports}"))
    own = [s for s in view.servers if s.host == host and view.backends.get(s.backend)]
    if any(s.state == "ready" and view.backends[s.backend] == "drain" for s in own):
        steps.append(PlanStep(name="drain_balancer", title="drain its servers in every load balancer"))
    if host in view.balancers and (not seen.marked or seen.addresses):
        held = f" {', '.join(seen.addresses)}" if seen.addresses else ""
        steps.append(PlanStep(name="move_addresses", title=f"move the API addresses{held} to other hosts"))
    singles = sorted({s.backend for s in own if s.state != "maint" and view.backends[s.backend] == "maint"})
    if singles:
        steps.append(PlanStep(name="move_writer", title=f"fail over {', '.join(singles)} to another host"))
    if led := [c.name for c in led_by(view, host)]:
        steps.append(PlanStep(name="move_leaders", title=f"hand over leadership of {', '.join(led)} to another member"))
    return steps


def led_by(view: View, host: str) -> list[ClusterState]:
    """Clusters that this host's member leads and that another member can lead instead."""
    return [c for c in view.clusters if c.hands_over and c.leader == host and c.other(host)]


def _kept(view: View, host: str) -> list[str]:
    return sorted(b for b, how in view.backends.items() if not how and view.used.get(b) == host)


def _let_in(view: View, host: str) -> list[PlanStep]:
    """Steps after which an evacuated host may open disks again."""
    seen = view.hosts[host]
    steps = []
    if view.evacuated(host) and not seen.empty:
        title = "destroy what it still runs of guests that are elsewhere now"
        steps.append(PlanStep(name="destroy_leftovers", title=title))
    if seen.fenced:
        steps.append(_unfence(seen))
    return steps


def _unfence(seen: HostView) -> PlanStep:
    return PlanStep(name="unfence", title=f"have Ceph take from {', '.join(seen.fenced)} again")


def _taken_as_up(view: View, host: str) -> list[PlanStep]:
    """Steps after which Nova takes an evacuated host's compute service as up."""
    compute = view.computes.get(host)
    if not compute or not compute.forced_down or not view.evacuated(host):
        return []
    title = "have nova-compute remove what evacuated guests left, and Nova go by its reports again"
    return [PlanStep(name="force_up", title=title)]


def _back(view: View, host: str) -> tuple[list[PlanStep], tuple[str, ...]]:
    seen = view.hosts[host]
    steps: list[PlanStep] = []
    notes: list[str] = []
    if seen.held:
        steps.append(PlanStep(name="let_data_go", title=LET_GO))
    if any(s.host == host and s.state != "ready" for s in view.servers) or seen.marked:
        steps.append(PlanStep(name="use_balancer", title="enable its servers in every load balancer"))
    if "network" in seen.groups and not seen.gateway:
        steps.append(PlanStep(name="take_gateways", title="allow router gateways on it again"))
    compute = view.computes.get(host)
    if compute and not compute.enabled:
        if compute.disabled_by:
            steps.append(PlanStep(name="enable_compute", title="enable its compute service"))
        else:
            notes.append(
                f"its compute service was disabled by others and stays disabled: {compute.reason or 'no reason given'}"
            )
    if compute and compute.forced_down and not view.evacuated(host):
        notes.append("its compute service was forced down by others: openstack compute service set --up")
    return steps, tuple(notes)


def _back_after_all(view: View, host: str) -> list[PlanStep]:
    """Steps that return a host to service after earlier steps of the plan took it out."""
    steps = []
    if view.hosts[host].held:
        steps.append(PlanStep(name="let_data_go", title=LET_GO))
    if host in view.balancers:
        steps.append(PlanStep(name="use_balancer", title="enable its servers in every load balancer"))
    if "network" in view.hosts[host].groups:
        steps.append(PlanStep(name="take_gateways", title="allow router gateways on it again"))
    compute = view.computes.get(host)
    if compute and (compute.enabled or compute.disabled_by):
        steps.append(PlanStep(name="enable_compute", title="enable its compute service"))
    return steps


LET_GO = "have copies of its data made elsewhere again when it is away"


def listed(stays: Iterable[Stay]) -> str:
    """Guests with their reasons, on one line."""
    return "; ".join(map(str, stays))
