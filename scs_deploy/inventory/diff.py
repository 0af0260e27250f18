# SPDX-License-Identifier: Apache-2.0
"""The differences between two inventories, host by host, and their effects on services. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any

from pydantic import Field

from scs_deploy.base.model import Model
from scs_deploy.inventory.model import Disk, Host, Inventory
from scs_deploy.inventory.placing import placed
from scs_deploy.spec.catalog import Catalog


class Kind(StrEnum):
    """What happens to a host."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


class HostChange(Model):
    """One host's differences."""

    host: str
    kind: Kind
    facts: tuple[str, ...] = Field(description="the differences, one line each")
    effects: tuple[str, ...] = Field(description="their effects on services")


class Diff(Model):
    """All differences."""

    hosts: tuple[HostChange, ...]
    region: tuple[str, ...] = Field(description="changes of groups, cluster members and quorum")

    @property
    def empty(self) -> bool:
        """Nothing differs."""
        return not self.hosts and not self.region


def compare(old: Inventory, new: Inventory, catalog: Catalog) -> Diff:
    """The changes from `old` to `new`."""
    before, after = _services(old, catalog), _services(new, catalog)
    changes = []
    for name in sorted({*old.hosts, *new.hosts}):
        was, now = old.hosts.get(name), new.hosts.get(name)
        if was is None and now is not None:
            facts = (f"groups {', '.join(now.groups) or 'none'}", *(f"network {n}" for n in _places(now)))
            effects = (*_runs("runs", after.get(name, frozenset())), "run scs node add to add it to the region")
            changes.append(HostChange(host=name, kind=Kind.ADDED, facts=facts, effects=effects))
        elif now is None and was is not None:
            effects = (
                *_runs("no longer runs", before.get(name, frozenset())),
                "run scs node remove before the inventory drops it",
            )
            changes.append(
                HostChange(host=name, kind=Kind.REMOVED, facts=(f"groups {', '.join(was.groups)}",), effects=effects)
            )
        elif was is not None and now is not None and was != now:
            facts = tuple(_facts(was, now))
            effects = tuple(_effects(was, now, before.get(name, frozenset()), after.get(name, frozenset()), catalog))
            # another source object can describe the same host
            if facts:
                changes.append(HostChange(host=name, kind=Kind.CHANGED, facts=facts, effects=effects))
    return Diff(hosts=tuple(changes), region=tuple(_region(old, new, catalog)))


def _services(inventory: Inventory, catalog: Catalog) -> dict[str, frozenset[str]]:
    by_host: dict[str, set[str]] = {}
    for service in placed(catalog, inventory).services.values():
        for groups in {c.hosts or service.hosts for c in service.containers.values()}:
            for host in inventory.group(*groups):
                by_host.setdefault(host.name, set()).add(service.name)
    return {h: frozenset(s) for h, s in by_host.items()}


def _runs(word: str, services: frozenset[str]) -> tuple[str, ...]:
    return (f"{word} {', '.join(sorted(services))}",) if services else ()


def _places(host: Host) -> list[str]:
    return [f"{n}: {p.address or 'no address'} on {p.interface}" for n, p in sorted(host.networks.items())]


def _facts(was: Host, now: Host) -> Iterator[str]:
    yield from _moved("SSH address", was.address, now.address)
    for group in sorted(set(now.groups) - set(was.groups)):
        yield f"group {group}: added"
    for group in sorted(set(was.groups) - set(now.groups)):
        yield f"group {group}: removed"
    for network in sorted({*was.networks, *now.networks}):
        a, b = was.networks.get(network), now.networks.get(network)
        if a is None or b is None:
            yield f"network {network}: {'added' if a is None else 'removed'}"
        else:
            yield from _moved(f"network {network}: address", a.address, b.address)
            yield from _moved(f"network {network}: interface", a.interface, b.interface)
    for link in sorted({*was.links, *now.links}):
        one, two = was.links.get(link), now.links.get(link)
        if one is None or two is None:
            yield f"link {link}: {'added' if one is None else 'removed'}"
        else:
            yield from _fields(f"link {link}", one.model_dump(mode="json"), two.model_dump(mode="json"))
    yield from _fields("variable", was.settings, now.settings)
    yield from _fields("variable", was.connection, now.connection)
    disks = ({d.path: d for d in was.disks}, {d.path: d for d in now.disks})
    for path in sorted({*disks[0], *disks[1]}):
        yield from _disk(path, disks[0].get(path), disks[1].get(path))
    yield from _moved("zone", was.zone, now.zone)
    yield from _moved("rack", was.rack, now.rack)
    yield from _moved("management controller", was.oob, now.oob)
    yield from _moved("object", was.origin, now.origin)


def _disk(path: str, was: Disk | None, now: Disk | None) -> Iterator[str]:
    if was is None or now is None:
        yield from _moved(f"disk {path}", *("none" if d is None else d.device_class or "any" for d in (was, now)))
        return
    yield from _fields(f"disk {path}", was.model_dump(mode="json"), now.model_dump(mode="json"))


def _fields(what: str, was: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for key in sorted({*was, *now}):
        yield from _moved(f"{what} {key}", was.get(key), now.get(key))


def _moved(what: str, was: Any, now: Any) -> Iterator[str]:
    if was != now:
        yield f"{what}: {_text(was)} -> {_text(now)}"


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(str(v) for v in value) or "none"
    return "none" if value is None else str(value)


def _effects(was: Host, now: Host, before: frozenset[str], after: frozenset[str], catalog: Catalog) -> Iterator[str]:
    yield from _runs("will run", after - before)
    yield from _runs("will no longer run", before - after)
    kept = before & after
    if any(_address(was, n) != _address(now, n) for n in {*was.networks, *now.networks}):
        clustered = sorted(s for s in kept if catalog.services[s].quorum)
        yield "its certificates are reissued"
        if kept:
            yield f"restarts with the new address: {', '.join(sorted(kept))}"
        if clustered:
            yield (
                f"{', '.join(clustered)}: the other members know it by its address; "
                "remove it and add it again (scs node)"
            )
    if was.links != now.links:
        yield "its network configuration is rewritten (scs bootstrap)"
    changed = {k for k in {*was.settings, *now.settings} if was.settings.get(k) != now.settings.get(k)}
    users = sorted(s for s in kept if changed & set(catalog.services[s].settings))
    if users:
        yield f"reconfigured: {', '.join(users)}"


def _address(host: Host, network: str) -> Any:
    place = host.networks.get(network)
    return place and place.address


def _region(old: Inventory, new: Inventory, catalog: Catalog) -> Iterator[str]:
    for group in sorted({*old.groups, *new.groups}):
        was, now = old.groups.get(group, ()), new.groups.get(group, ())
        if was == now:
            continue
        yield f"group {group}: {len(was)} -> {len(now)} hosts"
        voters = sorted(s.name for s in catalog.services.values() if s.quorum and group in s.hosts)
        if voters and now:
            yield (
                f"{', '.join(voters)}: {len(now)} members, tolerates the loss of {(len(now) - 1) // 2}"
                + (" (even number: scs plan refuses it)" if len(now) % 2 == 0 else "")
            )
        if any(group in catalog.services[s].hosts for s in catalog.address_holders):
            yield "load balancer and API addresses: their hosts change; HAProxy is reconfigured on all of them"
