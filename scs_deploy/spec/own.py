# SPDX-License-Identifier: Apache-2.0
"""The operator's own services in an environment's folder, added to the shipped catalog.

One wrong service never takes the others away: it is left out with everything that requires it, and `Catalog.left_out`
says why. Whoever changes a region refuses to go on with such a catalog; whoever reads goes on without the service.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import load_model, where
from scs_deploy.spec import catalog as catalogs
from scs_deploy.spec import metrics, sources
from scs_deploy.spec.catalog import Catalog, LeftOut, Taken
from scs_deploy.spec.complete import complete
from scs_deploy.spec.service import LAYERS, Service

NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
"""Also the name of database and broker users, and of the first part of settings and secrets."""

RESERVED = frozenset({*LAYERS, "all", "global", "hosts", "region"})
"""Names with another meaning: in `config/`, or on the command line."""

IGNORED = ("README.md", "README")


@dataclass
class _Draft:
    """What has been found so far."""

    services: dict[str, Service] = field(default_factory=dict)
    errors: dict[str, RefusedError] = field(default_factory=dict)


def load(folder: Path) -> Catalog:
    """The shipped catalog and the services in a folder of an environment.

    :raises RefusedError: an error in a shipped service
    """
    shipped = catalogs.load()
    entries = [] if not folder.is_dir() else [e for e in sorted(folder.iterdir()) if not _ignored(e)]
    if not entries:
        return shipped
    # they may change while the process runs: a rollback writes them
    sources.candidates.cache_clear()
    metrics.load.cache_clear()
    draft = _Draft()
    taken = Taken.of(shipped.services.values())
    for entry in entries:
        try:
            service = _read(entry, shipped)
            taken.add(service)
            draft.services[entry.name] = service
        except RefusedError as error:
            draft.errors[entry.name] = error
    return _ordered(shipped, draft)


def leave_out(catalog: Catalog, errors: Mapping[str, RefusedError]) -> Catalog:
    """The catalog without some of the operator's own services, and without those that require them."""
    if not errors:
        return catalog
    shipped = catalogs.load()
    own = {s.name: s for s in catalog.services.values() if s.own and s.name not in errors}
    earlier = {e.name: RefusedError(e.message, e.hint) for e in catalog.left_out}
    return _ordered(shipped, _Draft(own, {**earlier, **errors}))


def _ignored(entry: Path) -> bool:
    hidden = entry.name in IGNORED or entry.name.startswith(".") or entry.name.endswith("~")
    # git keeps no empty folder
    return hidden or (entry.is_dir() and not any(entry.iterdir()))


def _read(entry: Path, shipped: Catalog) -> Service:
    spec = entry / "service.yml"
    if not spec.is_file():
        raise RefusedError(f"{entry}: no service", f"a service is a folder with a service.yml: {entry}/service.yml")
    if entry.name in shipped.services:
        raise RefusedError(
            f"{spec}:1: scs has a service '{entry.name}' itself",
            "choose another name for the folder; files in config/ change the shipped service",
        )
    if not NAME.fullmatch(entry.name) or entry.name in RESERVED:
        raise RefusedError(
            f"{entry}: '{entry.name}' cannot be the name of a service",
            f"use [a-z0-9_], at most 32 characters, and none of {', '.join(sorted(RESERVED))}",
        )
    service = complete(load_model(Service, spec, {"name": entry.name, "directory": entry, "own": True}))
    catalogs.check_cluster(service)
    catalogs.check_sources(service)
    # also where no host of the region evaluates them
    metrics.load(entry)
    return service


def _ordered(shipped: Catalog, draft: _Draft) -> Catalog:
    """Each service after what it requires; those for which that is impossible are left out."""
    ready, waiting, errors = dict(shipped.services), dict(draft.services), dict(draft.errors)
    waves = dict(shipped.waves)
    while waiting:
        names = {**shipped.services, **waiting, **{n: s for n, s in ready.items() if s.own}}
        wrong = {n: e for n, s in waiting.items() if (e := _requirement(s, names, errors))}
        placed = [n for n, s in waiting.items() if n not in wrong and all(r in ready for r in s.requires)]
        if not wrong and not placed:
            wrong = {n: _cycle(s, waiting) for n, s in waiting.items()}
        errors |= wrong
        for name in wrong:
            del waiting[name]
        for name in placed:
            ready[name] = waiting.pop(name)
            waves[name] = max((waves[r] + 1 for r in ready[name].requires), default=0)
    ordered = sorted(ready, key=lambda n: (waves[n], LAYERS.index(ready[n].layer), n))
    left_out = tuple(LeftOut(name=n, message=e.message, hint=e.hint) for n, e in sorted(errors.items()))
    return Catalog(services={n: ready[n] for n in ordered}, waves={n: waves[n] for n in ordered}, left_out=left_out)


def _requirement(
    service: Service, names: Mapping[str, Service], errors: Mapping[str, RefusedError]
) -> RefusedError | None:
    for i, name in enumerate(service.requires):
        if name in errors:
            at = where(service.directory / "service.yml", ("requires", i))
            return RefusedError(f"{at}: service '{name}' has an error", f"correct it first: {errors[name].message}")
    try:
        catalogs.check_requires(service, names)
    except RefusedError as error:
        return error
    return None


def _cycle(service: Service, waiting: Mapping[str, Service]) -> RefusedError:
    trail = [service.name]
    while trail[-1] not in trail[:-1]:
        trail.append(next(r for r in waiting[trail[-1]].requires if r in waiting))
    spec = service.directory / "service.yml"
    return RefusedError(f"{where(spec, ('requires',))}: cycle: {' -> '.join(trail)}", "remove one of the requirements")
