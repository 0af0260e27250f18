# SPDX-License-Identifier: Apache-2.0
"""Snapshots of a run's inputs for rollbacks: release lock, settings, overrides, own services; named by their hash."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.files import replace
from scs_deploy.base.model import Model, load_model
from scs_deploy.environment import sharing
from scs_deploy.environment.environment import Environment
from scs_deploy.environment.own import FOLDERS, SERVICES

LOCKS = 2
"""Number of release locks that always count as in use: the current one, and the one that a rollback restores."""

LOCK = "release.lock.yml"
CONFIG = "config"
ABOUT = "about.yml"
WRITTEN = (CONFIG, *FOLDERS)
"""Folders of an environment that are kept whole."""


class About(Model):
    """Hashes of a snapshot's parts."""

    lock: str
    config: str
    """of the override files"""
    settings: str
    """of environment.yml"""
    specs: str
    """of service specs, templates and programs, which belong to scs itself and are not kept"""
    own: str = ""
    """of the environment's own services and images"""


class Snapshot:
    """A region's inputs at a point in time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.about = load_model(About, folder / ABOUT)

    @property
    def lock(self) -> Path:
        """Its release lock."""
        return self.folder / LOCK

    @property
    def services(self) -> Path:
        """The environment's own services."""
        return self.folder / SERVICES

    def overrides(self) -> dict[str, bytes]:
        """Path below config/: content."""
        return contents(self.folder / CONFIG)

    def written(self) -> dict[str, bytes]:
        """Path below the environment's folder: content, of overrides and of own services and images."""
        return written(self.folder)

    def mode(self, path: str) -> int:
        """Who may read and run a file that `written` has."""
        return stat.S_IMODE((self.folder / path).stat().st_mode)


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a folder: path below it, content."""
    if not folder.is_dir():
        return {}
    files = (p for p in sorted(folder.rglob("*")) if p.is_file() and "__pycache__" not in p.parts)
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


def written(folder: Path) -> dict[str, bytes]:
    """What an operator writes below an environment's folder and a rollback restores: path, content."""
    return {f"{part}/{path}": content for part in WRITTEN for path, content in contents(folder / part).items()}


def about(environment: Environment, specs: str) -> About:
    """Hashes of a region's current inputs.

    :param specs: see `region.inputs.specs`
    """
    config = contents(environment.path / CONFIG)
    own = {f"{f}/{p}": c for f in FOLDERS for p, c in contents(environment.path / f).items()}
    return About(
        lock=_hash(environment.lock_file.read_bytes()),
        config=_hash_of(config),
        settings=_hash(environment.file.read_bytes()),
        specs=specs,
        own=_hash_of(own),
    )


def keep(environment: Environment, name: str, specs: str) -> Snapshot:
    """Keep a region's current inputs.

    :param name: the hash in run records, see `region.inputs.inputs`
    :param specs: see `region.inputs.specs`
    """
    base = environment.state / "inputs"
    folder = base / name
    if not (folder / ABOUT).is_file():
        new = base / f".{name}.new"
        shutil.rmtree(new, ignore_errors=True)
        # overrides may contain secrets: only those who may read the environment's overrides may read these
        sharing.make_folder(base)
        sharing.make_folder(new)
        shutil.copyfile(environment.lock_file, new / LOCK)
        for path, content in written(environment.path).items():
            (new / path).parent.mkdir(parents=True, exist_ok=True)
            copy(environment.path / path, new / path, content)
        text = "".join(f'{k}: "{v}"\n' for k, v in about(environment, specs).model_dump().items())
        replace(new / ABOUT, text)
        shutil.rmtree(folder, ignore_errors=True)
        new.replace(folder)
    folder.touch()
    old = sorted((f for f in base.iterdir() if f.is_dir()), key=lambda f: f.stat().st_mtime)
    for other in old[: -environment.settings.keep.snapshots]:
        shutil.rmtree(other, ignore_errors=True)
    return Snapshot(folder)


def copy(file: Path, new: Path, content: bytes) -> None:
    """Write a new file that only those can read who can read the original, from its first byte on."""
    mode = stat.S_IMODE(file.stat().st_mode)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode & 0o700), "wb") as stream:
        stream.write(content)
        os.fchmod(stream.fileno(), mode)


def newest(environment: Environment) -> list[Snapshot]:
    """All snapshots, those used last first."""
    kept = [f for f in (environment.state / "inputs").glob("*") if (f / ABOUT).is_file()]
    return [Snapshot(f) for f in sorted(kept, key=lambda f: f.stat().st_mtime, reverse=True)]


def locks(environment: Environment, since: float) -> list[Path]:
    """Release locks that runs used, newest first: those used since then, and at least the last two.

    :param since: seconds since the epoch
    """
    used: dict[str, Path] = {}
    kept = [f for f in (environment.state / "inputs").glob("*") if (f / ABOUT).is_file()]
    for folder in sorted(kept, key=lambda f: f.stat().st_mtime, reverse=True):
        if len(used) >= LOCKS and folder.stat().st_mtime < since:
            break
        used.setdefault(load_model(About, folder / ABOUT).lock, folder / LOCK)
    return list(used.values())


def load(environment: Environment, name: str) -> Snapshot:
    """Load a snapshot.

    :raises RefusedError: it does not exist, or no longer
    """
    folder = environment.state / "inputs" / name
    if not name or not (folder / ABOUT).is_file():
        raise RefusedError(
            f"this manager has no snapshot of the {f'inputs {name}' if name else 'earlier inputs'}",
            f"restore {LOCK} and config/ from the environment's git history, then run scs apply",
        )
    return Snapshot(folder)


def _hash_of(files: Mapping[str, bytes]) -> str:
    return _hash(*(p.encode() + b"\0" + c for p, c in files.items())) if files else ""


def _hash(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part + b"\0")
    return digest.hexdigest()[:12]
