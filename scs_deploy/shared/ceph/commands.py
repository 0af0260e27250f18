# SPDX-License-Identifier: Apache-2.0
"""The commands to monitors that make declared changes. Pure. Each may be repeated.

Source: src/mon/MonCommands.h of Ceph 20.2; `ceph` sends the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from scs_deploy.plan.change import Change, Shared, shared_objects
from scs_deploy.region.pools import PoolWish, Rule
from scs_deploy.shared.ceph.desired import Desired
from scs_deploy.shared.ceph.differences import GROUPS, OPTION, RATIOS, ROOT, gone, recreated
from scs_deploy.shared.ceph.observed import MARK, Observed, ObservedPool

Command = dict[str, Any]

KEYRING = "/etc/ceph/clients.keyring"
"""In a monitor's container: the keys and capabilities of all declared clients."""

_DELETE = "mon_allow_pool_delete"


def commands(desired: Desired, observed: Observed, changes: Iterable[Change]) -> list[Command]:
    """The commands for these changes, in an order in which each finds what it needs."""
    shared = shared_objects(changes)
    names = {kind: [s.name for s in shared if s.kind is kind] for kind in Shared}
    result = [c for name in names[Shared.OPTION] for c in _option(name, desired)]
    result += [c for host in names[Shared.PLACE] for c in _place(host, desired.racks[host])]
    pools = [desired.pools[n] for n in names[Shared.POOL] if n in desired.pools]
    rules = {n: desired.rules[n] for n in names[Shared.RULE]} | {p.rule.name: p.rule for p in pools}
    result += [c for n, rule in rules.items() if n not in observed.rules for c in _rule(rule)]
    lost = [p.name for p in gone(desired, observed) if p.name in names[Shared.POOL]]
    lost += [p.name for p in pools if recreated(p, observed)]
    result += _deletion(lost)
    for pool in pools:
        there = None if pool.name in lost else observed.pools.get(pool.name)
        result += _pool(pool, there)
    if clients := names[Shared.CLIENT]:
        entities = [desired.clients[n].entity for n in clients]
        result.append({"prefix": "auth import", "sections_of": KEYRING, "sections": entities})
    return result


def _option(name: str, desired: Desired) -> Iterator[Command]:
    if name == RATIOS and desired.ratios:
        # in this order, each stays below the next one while they rise
        for ratio in ("full", "backfillfull", "nearfull"):
            yield {"prefix": f"osd set-{ratio}-ratio", "ratio": getattr(desired.ratios, ratio)}
    elif name == GROUPS:
        yield {
            "prefix": "config set", "who": "global", "name": OPTION, "value": str(desired.placement_groups_per_osd),
        }  # fmt: skip


def _place(host: str, rack: str) -> Iterator[Command]:
    yield {"prefix": "osd crush add-bucket", "name": rack, "type": "rack", "args": [f"root={ROOT}"]}
    yield {"prefix": "osd crush move", "name": host, "args": [f"root={ROOT}", f"rack={rack}"]}


def _rule(rule: Rule) -> Iterator[Command]:
    if rule.erasure:
        profile = [f"{k}={v}" for k, v in rule.profile.items()]
        yield {"prefix": "osd erasure-code-profile set", "name": rule.name, "profile": profile}
        yield {"prefix": "osd crush rule create-erasure", "name": rule.name, "profile": rule.name}
        return
    wanted = {"class": rule.device_class} if rule.device_class else {}
    yield {
        "prefix": "osd crush rule create-replicated", "name": rule.name, "root": ROOT, "type": rule.domain, **wanted,
    }  # fmt: skip


def _deletion(pools: list[str]) -> list[Command]:
    """Monitors delete pools only while they are told that they may."""
    if not pools:
        return []
    allow = {"prefix": "config set", "who": "mon", "name": _DELETE, "value": "true"}
    forbid = {"prefix": "config rm", "who": "mon", "name": _DELETE}
    deletions = [
        {"prefix": "osd pool delete", "pool": p, "pool2": p, "yes_i_really_really_mean_it": True, "fails": False}
        for p in pools
    ]
    return [allow, *deletions, forbid]


def _pool(pool: PoolWish, there: ObservedPool | None) -> Iterator[Command]:
    def setting(name: str, value: str) -> Command:
        return {"prefix": "osd pool set", "pool": pool.name, "var": name, "val": value}

    if there is None:
        yield _creation(pool)
    if there is None or pool.application not in there.applications:
        yield {"prefix": "osd pool application enable", "pool": pool.name, "app": pool.application}
    if there is None or there.service != pool.service:
        yield {
            "prefix": "osd pool application set", "pool": pool.name, "app": pool.application, "key": MARK,
            "value": pool.service,
        }  # fmt: skip
    # what a new pool is made with needs no second command, of which each waits a second for the monitors' agreement
    if there and there.rule != pool.rule.name:
        yield setting("crush_rule", pool.rule.name)
    if there and pool.rule.erasure is None and there.size != pool.size:
        yield setting("size", str(pool.size))
    if there is None or there.min_size != pool.min_size:
        yield setting("min_size", str(pool.min_size))
    if there and there.autoscale != pool.autoscale:
        yield setting("pg_autoscale_mode", pool.autoscale)
    if there and pool.placement_groups is not None and there.placement_groups != pool.placement_groups:
        yield setting("pg_num", str(pool.placement_groups))
    if pool.target_ratio is not None and (there is None or there.target_ratio != pool.target_ratio):
        yield setting("target_size_ratio", str(pool.target_ratio))
    if pool.bulk != (there.bulk if there else False):
        yield setting("bulk", str(pool.bulk).lower())
    if pool.overwrites and not (there and there.overwrites):
        yield setting("allow_ec_overwrites", "true")
    for field, wanted in (("max_bytes", pool.max_bytes), ("max_objects", pool.max_objects)):
        if wanted is not None and wanted != (getattr(there, field) if there else 0):
            yield {"prefix": "osd pool set-quota", "pool": pool.name, "field": field, "val": str(wanted)}


def _creation(pool: PoolWish) -> Command:
    start = {"pg_num": pool.placement_groups, "pgp_num": pool.placement_groups} if pool.placement_groups else {}
    kind: Command
    if pool.rule.erasure:
        kind = {"pool_type": "erasure", "erasure_code_profile": pool.rule.name, "rule": pool.rule.name}
    else:
        kind = {"pool_type": "replicated", "rule": pool.rule.name, "size": pool.size}
    return {"prefix": "osd pool create", "pool": pool.name, "autoscale_mode": pool.autoscale, **start, **kind}
