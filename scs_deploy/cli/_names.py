# SPDX-License-Identifier: Apache-2.0
"""Names of a region for completion. Most are kept in state/names.json, which ordinary commands keep current.

A TAB reads them without loading the region, so this module imports nothing that takes time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from scs_deploy.base import paths

if TYPE_CHECKING:
    from scs_deploy.region.region import Region

FILE = "names.json"
"""In a region's state folder. Holds no secrets: names only."""

RECENT = 50
"""Runs that are offered."""

Names = dict[str, str]
"""name: its description, which may be empty"""


def known(kind: str, environment: str) -> Names:
    """The names of a kind, e.g. HOST, as the metavar of a parameter calls it. Empty for an unknown kind.

    :param environment: the region that the command line selects; empty: the default one
    :raises Exception: any, if a file is not as expected
    """
    if kind == "REGION":
        return dict.fromkeys(_environments(), "")
    if kind == "RELEASE":
        return dict.fromkeys(sorted(p.stem for p in (paths.root() / "releases").glob("*.yml")), "")
    state = paths.environments() / (environment or _default()) / "state"
    if kind == "RUN":
        return _runs(state / "runs.sqlite3")
    return dict.fromkeys(json.loads((state / FILE).read_text(encoding="utf-8")).get(kind, ()), "")


def learn(region: Region) -> None:
    """Keep the names of a region's services, containers, hosts and so on."""
    from scs_deploy.environment import sharing
    from scs_deploy.spec.container import Impact

    with suppress(OSError):
        sharing.make_state(region.environment)
    catalog = region.catalog
    remember(
        region.environment.path,
        {
            "SERVICE": catalog.services,
            "LAYER": {s.layer for s in catalog.services.values()},
            "CONTAINER": catalog.owner,
            "HOST": region.inventory.hosts,
            "SECRET": catalog.secrets(),
            "IMAGE": region.release.images,
            "IMPACT": list(Impact),
        },
    )


def remember(environment: Path, found: Mapping[str, Iterable[str]]) -> None:
    """Keep names, by kind, beside those of other kinds. A file that cannot be written does not end a command."""
    file = environment / "state" / FILE
    try:
        before = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        before = {}
    kept = before if isinstance(before, dict) else {}
    now = {**kept, **{kind: sorted(names) for kind, names in found.items()}}
    if now == before:
        return
    temporary = file.with_name(f".{FILE}.{os.getpid()}")
    # a region that nobody has worked on has no such folder; not everybody who may read it may write to it
    with suppress(OSError):
        try:
            temporary.write_text(json.dumps(now, sort_keys=True), encoding="utf-8")
            temporary.replace(file)
        except OSError:
            temporary.unlink(missing_ok=True)


def changed(environment: Path, kind: str, added: Iterable[str], removed: Iterable[str] = ()) -> None:
    """Keep that a command made or removed things of a kind."""
    try:
        names = set(json.loads((environment / "state" / FILE).read_text(encoding="utf-8"))[kind])
    except (OSError, ValueError, LookupError, TypeError):
        names = set()
    remember(environment, {kind: (names | {*added}) - {*removed}})


def _environments() -> list[str]:
    return sorted(p.parent.name for p in paths.environments().glob("*/environment.yml"))


def _default() -> str:
    """The region of a command without --environment; see scs_deploy.environment, which takes longer to load."""
    if name := os.environ.get("SCS_ENVIRONMENT"):
        return name
    marker = paths.environments() / ".current"
    if marker.is_file():
        return marker.read_text(encoding="utf-8").strip()
    only, *more = _environments()
    if more:
        raise LookupError("no environment is selected")
    return only


def _runs(file: Path) -> Names:
    import sqlite3

    # a TAB neither creates the database nor waits for a run that writes to it
    connection = sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True, timeout=0.05)
    try:
        rows = connection.execute("SELECT id, status, command FROM runs ORDER BY id DESC LIMIT ?", (RECENT,))
        return {str(run): f"{status}: {command}" for run, status, command in rows}
    finally:
        connection.close()
