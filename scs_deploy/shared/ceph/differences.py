# SPDX-License-Identifier: Apache-2.0
"""What differs between the declared and the observed state of Ceph, why, and what is refused. Pure.

Only what is declared is compared: pools and clients that nobody declares stay as they are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from pydantic import Field

from scs_deploy.base.model import Model
from scs_deploy.plan.change import REGION, Change, Kind, Shared, SharedObject
from scs_deploy.region.pools import PoolWish, Rule
from scs_deploy.shared.ceph import growth, room
from scs_deploy.shared.ceph.desired import ClientWish, Desired
from scs_deploy.shared.ceph.growth import is_recreated
from scs_deploy.shared.ceph.observed import Observed, ObservedPool
from scs_deploy.shared.ceph.room import GUIDE
from scs_deploy.spec.container import Impact
from scs_deploy.spec.job import Phase
from scs_deploy.spec.storage import CEPH

NEW = "not created yet"
ROOT = "default"
"""The root of the CRUSH map, which all hosts are in."""

OPTION = "mon_max_pg_per_osd"
RATIOS, GROUPS = "full ratios", "placement groups per OSD"
"""Names of what is set for the cluster as a whole."""

CONSENT = "--allow data-loss:{pool}"
ROOM = f"add disks or delete data first: {GUIDE}"


class Refusal(Model):
    """Why a plan is refused before anything changes."""

    service: str = Field(description="whose changes are refused")
    text: str
    hint: str

    def __str__(self) -> str:
        return f"{self.text} ({self.hint})"


def diff(desired: Desired, observed: Observed | None) -> tuple[Change, ...]:
    """The necessary changes. If `observed` is None (Ceph is not deployed yet), everything is made."""
    changes = [*_cluster(desired, observed), *_rules(desired, observed)]
    for name, pool in desired.pools.items():
        there = observed.pools.get(name) if observed else None
        reason = NEW if observed is None else pool_reason(pool, there)
        if reason:
            # moving data to other OSDs takes bandwidth from guests
            moves = there is not None and (there.rule, there.size) != (pool.rule.name, pool.size)
            impact = Impact.DATA_PLANE if moves else Impact.NONE
            changes.append(_change(Shared.POOL, pool.service, name, reason, impact, there is None))
    for name, client in desired.clients.items():
        reason = NEW if observed is None else client_reason(client, observed)
        if reason:
            known = observed is not None and name in observed.clients
            impact = Impact.API if known and "key" in reason else Impact.NONE
            changes.append(_change(Shared.CLIENT, client.service, name, reason, impact, not known))
    changes += [
        _change(Shared.POOL, CEPH, p.name, f"service {p.service} is gone: the pool is deleted", Impact.DATA_PLANE)
        for p in gone(desired, observed)
    ]
    return tuple(changes)


def gone(desired: Desired, observed: Observed | None) -> list[ObservedPool]:
    """Pools that scs made for services which are gone, or do not declare them any more."""
    pools = observed.pools.values() if observed else ()
    return [p for p in pools if p.service and p.name not in desired.pools and p.name not in desired.keep]


def undeclared(desired: Desired, observed: Observed) -> list[ObservedPool]:
    """Pools that are neither declared nor Ceph's own."""
    return [p for p in observed.pools.values() if p.name not in desired.pools and "mgr" not in p.applications]


def refusals(desired: Desired, observed: Observed | None, allowed: Collection[str] = ()) -> tuple[Refusal, ...]:
    """What is not done without consent, or not at all.

    :param allowed: pools whose data may be lost
    """
    found = []
    for pool in desired.pools.values():
        there = observed.pools.get(pool.name) if observed else None
        if observed is None or there is None:
            continue
        risk = risk_of(pool, there)
        if risk and pool.name not in allowed:
            found.append(_needs_consent(pool.service, f"pool {pool.name}: {risk}", pool.name))
    if observed:
        found += _without_room(desired, observed)
    for lost in gone(desired, observed):
        if lost.name not in allowed:
            text = f"pool {lost.name} with {lost.objects} objects: its service {lost.service} is gone"
            found.append(_needs_consent(CEPH, text, lost.name, f"`keep: [{lost.name}]` in storage.yml keeps it, "))
    for name, rule in desired.rules.items():
        if observed and name in observed.rules and (wrong := _differs(rule, observed)):
            hint = f"rename it: ceph osd crush rule rename {name} NEW"
            found.append(Refusal(service=CEPH, text=f"CRUSH rule {name} {wrong}", hint=hint))
    return tuple(found)


def full(observed: Observed | None) -> str:
    """Why no client can write now; empty: they can, or nobody knows."""
    return room.refusal(observed.fill if observed else None)


def risk_of(pool: PoolWish, there: ObservedPool) -> str:
    """How a change of a pool may lose data; empty: it cannot."""
    if is_recreated(pool, there):
        return f"{_kind(there)} -> {pool.kind}: Ceph cannot change that; the pool is deleted and made anew"
    if pool.size < there.size:
        return f"size {there.size} -> {pool.size}: fewer copies survive fewer failures"
    if pool.min_size < there.min_size and pool.min_size < 2:
        return f"min_size {there.min_size} -> {pool.min_size}: writes are accepted that only one disk has"
    order = ("osd", "host", "rack")
    domain = next((d for d in order if f"-{d}" in there.rule and there.rule.startswith("scs-")), "")
    if domain and order.index(pool.rule.domain) < order.index(domain):
        return f"failure domain {domain} -> {pool.rule.domain}: copies may be lost together"
    return ""


def recreated(pool: PoolWish, observed: Observed) -> bool:
    """Whether a pool is deleted and made anew."""
    there = observed.pools.get(pool.name)
    return there is not None and is_recreated(pool, there)


def _kind(there: ObservedPool) -> str:
    return f"erasure code {there.erasure}" if there.erasure else "replicated"


def _without_room(desired: Desired, observed: Observed) -> Iterator[Refusal]:
    """What does not fit on the disks."""
    for name, why in growth.problems(desired, observed).items():
        pool = desired.pools[name]
        text = f"pool {name}: {pool_reason(pool, observed.pools[name]) or 'data moves to other racks'}: {why}"
        yield Refusal(service=pool.service, text=text, hint=ROOM)
    if why := growth.lowered(desired, observed):
        yield Refusal(service=CEPH, text=f"ratios: {why}", hint=ROOM)


def _needs_consent(service: str, text: str, pool: str, otherwise: str = "") -> Refusal:
    return Refusal(service=service, text=text, hint=f"{otherwise}{CONSENT.format(pool=pool)} accepts the loss")


def pool_reason(pool: PoolWish, there: ObservedPool | None) -> str:
    """Why a pool changes; empty: it is as declared."""
    if there is None:
        return f"missing ({pool.kind}, size {pool.size}, rule {pool.rule.name})"
    if is_recreated(pool, there):
        return f"{_kind(there)} -> {pool.kind}: deleted and made anew"
    return "; ".join(_pool_reasons(pool, there))


def _pool_reasons(pool: PoolWish, there: ObservedPool) -> Iterator[str]:
    if pool.application not in there.applications:
        yield f"application {pool.application} is not set"
    elif there.service != pool.service:
        yield f"is not marked as {pool.service}'s" if not there.service else f"owner {there.service} -> {pool.service}"
    if pool.rule.erasure is None and there.size != pool.size:
        yield f"size {there.size} -> {pool.size}"
    if there.min_size != pool.min_size:
        yield f"min_size {there.min_size} -> {pool.min_size}"
    if there.rule != pool.rule.name:
        yield f"rule {there.rule} -> {pool.rule.name}"
    if there.autoscale != pool.autoscale:
        yield f"autoscale {there.autoscale} -> {pool.autoscale}"
    if pool.placement_groups is not None and there.placement_groups != pool.placement_groups:
        yield f"placement groups {there.placement_groups} -> {pool.placement_groups}"
    if pool.target_ratio is not None and abs(there.target_ratio - pool.target_ratio) > 1e-6:
        yield f"target ratio {there.target_ratio:g} -> {pool.target_ratio:g}"
    if there.bulk != pool.bulk:
        yield "bulk is not set" if pool.bulk else "bulk is set"
    if pool.overwrites and not there.overwrites:
        yield "takes no partial writes"
    if pool.max_bytes is not None and there.max_bytes != pool.max_bytes:
        yield f"quota {there.max_bytes} -> {pool.max_bytes} bytes"
    if pool.max_objects is not None and there.max_objects != pool.max_objects:
        yield f"quota {there.max_objects} -> {pool.max_objects} objects"


def client_reason(client: ClientWish, observed: Observed) -> str:
    """Why a client changes; empty: it is as declared."""
    there = observed.clients.get(client.name)
    if there is None:
        return "missing"
    reasons = [] if there.key_hash == client.key_hash else ["key differs"]
    for daemon in dict.fromkeys((*client.capabilities, *there.capabilities)):
        now, wanted = there.capabilities.get(daemon, ""), client.capabilities.get(daemon, "")
        if now != wanted:
            reasons.append(f"{daemon}: {now or 'nothing'} -> {wanted or 'nothing'}")
    return "; ".join(reasons)


def _rules(desired: Desired, observed: Observed | None) -> Iterator[Change]:
    for name in desired.rules:
        if observed is None or name not in observed.rules:
            reason = NEW if observed is None else "missing"
            yield _change(Shared.RULE, CEPH, name, reason, Impact.NONE, True)
    for host, rack in desired.racks.items():
        now = observed.racks.get(host) if observed else None
        if now != rack:
            moved = f"rack {now or 'none'} -> {rack}"
            yield _change(Shared.PLACE, CEPH, host, moved, Impact.DATA_PLANE if observed else Impact.NONE, now is None)


def _cluster(desired: Desired, observed: Observed | None) -> Iterator[Change]:
    if ratios := desired.ratios:
        now = observed.ratios if observed else {}
        differ = [
            f"{name} {now.get(name, 'unset')} -> {value}"
            for name, value in ratios.model_dump().items()
            if abs(now.get(name, -1) - value) > 1e-4
        ]
        if differ:
            yield _change(Shared.OPTION, CEPH, RATIOS, "; ".join(differ), Impact.NONE)
    if (wanted := desired.placement_groups_per_osd) is not None:
        known = observed.options.get(f"global/{OPTION}", "unset") if observed else "unset"
        if known != str(wanted):
            yield _change(Shared.OPTION, CEPH, GROUPS, f"{known} -> {wanted}", Impact.NONE)


def _differs(rule: Rule, observed: Observed) -> str:
    """How a rule of our name is another one; empty: it is ours."""
    there = observed.rules[rule.name]
    if (there.root, there.domain, there.device_class) == (ROOT, rule.domain, rule.device_class):
        return ""
    of_class = there.device_class or "any"
    return f"was changed: root {there.root}, failure domain {there.domain}, device class {of_class}"


def _change(kind: Shared, service: str, name: str, reason: str, impact: Impact, new: bool = False) -> Change:
    shared = SharedObject(server=CEPH, kind=kind, name=name)
    return Change(
        kind=Kind.ACCOUNT if kind is Shared.CLIENT else Kind.POOL, service=service, host=REGION, subject=str(shared),
        reason=reason, phase=Phase.REGISTER if service == CEPH else Phase.DATABASE, impact=impact, creates=new,
        shared=shared,
    )  # fmt: skip
