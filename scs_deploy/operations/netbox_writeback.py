# SPDX-License-Identifier: Apache-2.0
"""Writes what was deployed to NetBox, if netbox.yml enables it. Writes only fields that differ.

Each device is read with its ETag and changed with If-Match (NetBox 4.6). If it changed in between, NetBox rejects the
change and scs reads the device again. Older versions have no ETag; there a change covers only scs's custom fields.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.inventory.netbox import mapping
from scs_deploy.inventory.netbox.client import Netbox
from scs_deploy.inventory.netbox.mapping import Writeback
from scs_deploy.inventory.netbox.read import plain
from scs_deploy.region.region import Region
from scs_deploy.state.runs import Run, run_store

TRIES = 3
"""Attempts to write a device that others change at the same time."""
_TYPES = {"dcim/devices": "dcim.device", "virtualization/virtual-machines": "virtualization.virtualmachine"}


@dataclass(frozen=True)
class Facts:
    """What to write about one host."""

    host: str
    origin: str
    """its NetBox object, e.g. `dcim/devices/7`"""
    release: str
    run: Run


@dataclass(frozen=True)
class WritebackResult:
    """The result of a write-back."""

    written: tuple[str, ...]
    """hosts whose objects were changed"""
    current: int
    """number of hosts whose objects were already up to date"""
    without_run: tuple[str, ...]
    """hosts without a finished run"""


def report(region: Region, progress: Callable[[int, int], None]) -> WritebackResult:
    """Write the fields that netbox.yml names for every host that came from NetBox.

    :param progress: called with the number of finished devices and the total
    :raises RefusedError: write-back is disabled, the token or a permission is missing, or a custom field does not exist
    :raises ScsError: NetBox does not respond, or a device keeps changing
    """
    rules = mapping.load(region.environment)
    if not rules.writeback.enabled:
        raise RefusedError(
            f"{region.environment.path / mapping.FILE}: writeback: names no field to write", "see docs/how-to/netbox.md"
        )
    with run_store(region.environment) as store:
        runs = store.last_done()
    known = {h.name: h.origin for h in region.inventory.hosts.values() if h.origin}
    if not known:
        raise RefusedError(f"{region.environment.inventory}: no host came from NetBox", "scs inventory sync")
    wanted = [Facts(n, origin, region.release.name, runs[n]) for n, origin in known.items() if n in runs]
    netbox = mapping.client(region.environment, rules, write=True)
    written = write(netbox, rules.writeback, wanted, rules.connections, progress)
    return WritebackResult(written, len(wanted) - len(written), tuple(n for n in known if n not in runs))


def write(
    netbox: Netbox,
    rules: Writeback,
    wanted: list[Facts],
    connections: int,
    progress: Callable[[int, int], None],
) -> tuple[str, ...]:
    """Bring the objects up to date; returns the hosts that were changed.

    Writes the first one alone, so that a wrong token or custom field is reported before any other attempt.
    """
    written = []
    done = 0
    with ThreadPoolExecutor(connections) as pool:
        for part in (wanted[:1], wanted[1:]):
            for facts, changed in zip(part, pool.map(lambda f: _one(netbox, rules, f), part), strict=True):
                done += 1
                progress(done, len(wanted))
                written += [facts.host] * changed
    return tuple(written)


def changes(fields: Mapping[str, Any], facts: Facts, rules: Writeback) -> dict[str, Any]:
    """The custom fields that must change, with their new values. Pure.

    :param fields: the object's custom fields
    :raises RefusedError: it has no such custom field
    """
    wanted: dict[str, Any] = {}
    if rules.state:
        wanted[rules.state] = rules.state_value
    if rules.release:
        wanted[rules.release] = facts.release
    if rules.last_run and facts.run.finished:
        # NetBox stores the text as written: use one format, so that equal times compare equal
        wanted[rules.last_run] = facts.run.finished.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    for name in wanted:
        if name not in fields:
            raise RefusedError(
                f"netbox.yml: writeback: NetBox has no custom field '{name}' on {facts.origin}", "create it there first"
            )
    return {name: value for name, value in wanted.items() if not _same(fields[name], value)}


def _same(present: Any, wanted: Any) -> bool:

    present = plain(present)
    if present == wanted:
        return True
    try:
        return bool(datetime.fromisoformat(present) == datetime.fromisoformat(wanted))
    except (TypeError, ValueError):
        return False


def _one(netbox: Netbox, rules: Writeback, facts: Facts) -> bool:
    for _ in range(TRIES):
        entity, etag = netbox.entity(facts.origin)
        todo = changes(entity.get("custom_fields") or {}, facts, rules)
        if not todo:
            return False
        if not netbox.patch(facts.origin, {"custom_fields": todo}, etag):
            continue
        if rules.journal:
            netbox.post("extras/journal-entries", _entry(facts))
        return True
    raise ScsError(
        f"{facts.origin} ({facts.host}): changed {TRIES} times while scs tried to write it",
        "run scs inventory writeback again",
    )


def _entry(facts: Facts) -> dict[str, Any]:
    kind, _, number = facts.origin.rpartition("/")
    finished = facts.run.finished.astimezone(UTC) if facts.run.finished else None
    return {
        "assigned_object_type": _TYPES[kind],
        "assigned_object_id": int(number),
        "kind": "success",
        "comments": f"{facts.run.command}: run {facts.run.id} ended {finished:%Y-%m-%d %H:%M:%S} UTC, "
        f"release {facts.release}, inventory {facts.run.inventory or 'unknown'}",
    }
