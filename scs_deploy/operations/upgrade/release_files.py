# SPDX-License-Identifier: Apache-2.0
"""Changes the release in a region's files: environment.yml and the release lock, both or neither."""

from __future__ import annotations

import os
import re
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import yaml

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import load_model
from scs_deploy.environment import sharing
from scs_deploy.environment.environment import Environment
from scs_deploy.environment.environment import load as load_environment
from scs_deploy.spec.release import Lock

_RELEASE = re.compile(r"""^(release[ \t]*:[ \t]*)("[^"\n]*"|'[^'\n]*'|[^\s#]\S*)""", re.MULTILINE)


def text_with(text: str, release: str, where: str = "environment.yml") -> str:
    """environment.yml with another release; everything else stays the same, including comments.

    :raises RefusedError: the key cannot be found, or the edit would change something else
    """
    changed, count = _RELEASE.subn(lambda m: f'{m[1]}"{release}"', text)
    try:
        before, after = yaml.safe_load(text), yaml.safe_load(changed)
    except yaml.YAMLError:
        before = after = None
    if count != 1 or not isinstance(before, dict) or after != {**before, "release": release}:
        raise RefusedError(
            f"{where}: cannot find the key `release`", f'write it as `release: "{release}"` on a line of its own'
        )
    return changed


class Kept(NamedTuple):
    """A file before it was changed."""

    content: bytes
    mode: int


def kept(file: Path) -> Kept | None:
    """The file as it is; None: there is none."""
    return Kept(file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) if file.is_file() else None


def switch(environment: Environment, release: str) -> dict[Path, Kept | None]:
    """Write the files for a release whose images are locked; returns their previous contents, for `restore`.

    Writes environment.yml first, so that `settle` can complete an interrupted switch.

    :raises RefusedError: environment.yml cannot be edited; nothing was written
    """
    file, lock, new = environment.file, environment.present_lock, environment.next_lock(release)
    text = text_with(file.read_text(encoding="utf-8"), release, str(file))
    previous = {p: kept(p) for p in (file, lock, new)}
    put(file, text.encode())
    new.replace(lock)
    return previous


def settle(environment: Environment) -> bool:
    """Complete an interrupted `switch`; true if there was one."""
    new, lock = environment.next_lock(environment.settings.release), environment.present_lock
    if environment.ahead or not new.is_file():
        return False
    if lock.is_file() and load_model(Lock, lock).release == environment.settings.release:
        return False
    new.replace(lock)
    return True


def restore(previous: Mapping[Path, Kept | None]) -> None:
    """Undo `switch`, the lock first."""
    for file, before in reversed(list(previous.items())):
        put(file, before and before.content, before and before.mode)


def put(file: Path, content: bytes | None, mode: int | None = None) -> None:
    """Write a file atomically; None: remove it.

    Who may read it is decided before it has content: an override may hold secrets.

    :param mode: of a new file; a file in its place passes its mode on. Default: for the owner, and the group that the
        region is shared with
    """
    if content is None:
        file.unlink(missing_ok=True)
        for folder in file.parents:
            if not folder.is_dir() or any(folder.iterdir()):
                break
            # an empty folder would be a service without a description
            folder.rmdir()
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.exists():
        mode = stat.S_IMODE(file.stat().st_mode)
    elif mode is None:
        mode = sharing.file_mode(file.parent)
    handle, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    try:
        # mkstemp makes it readable for its owner only
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            os.fchmod(stream.fileno(), mode)
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def seen_with(environment: Environment, release: str) -> Environment:
    """The environment as it would be with another release."""
    return load_environment(environment.name, release)
