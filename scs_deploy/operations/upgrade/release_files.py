# SPDX-License-Identifier: Apache-2.0
"""Which release a region is at, in its own files: environment.yml and the lock, changed together and back together."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import yaml

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import load_model
from scs_deploy.environment import environment as environments
from scs_deploy.environment.environment import Environment
from scs_deploy.spec.release import Lock

_RELEASE = re.compile(r"""^(release[ \t]*:[ \t]*)("[^"\n]*"|'[^'\n]*'|[^\s#]\S*)""", re.MULTILINE)


def text_with(text: str, release: str, where: str = "environment.yml") -> str:
    """environment.yml with another release: every other byte, comments included, stays.

    :raises RefusedError: the key cannot be found, or something else would change with it
    """
    changed, found = _RELEASE.subn(lambda m: f'{m[1]}"{release}"', text)
    try:
        before, after = yaml.safe_load(text), yaml.safe_load(changed)
    except yaml.YAMLError:
        before = after = None
    if found != 1 or not isinstance(before, dict) or after != {**before, "release": release}:
        raise RefusedError(
            f"{where}: cannot tell where `release` is set", f'write it as `release: "{release}"` on a line of its own'
        )
    return changed


def switch(environment: Environment, release: str) -> dict[Path, bytes | None]:
    """Write the files of a release whose images are locked already; returns what they held, for `restore`.

    environment.yml comes first: interrupted between the two, `settle` knows by it what was meant.

    :raises RefusedError: environment.yml cannot be edited; nothing is written then
    """
    file, lock, new = environment.file, environment.present_lock, environment.next_lock(release)
    text = text_with(file.read_text(encoding="utf-8"), release, str(file))
    held: dict[Path, bytes | None] = {p: p.read_bytes() if p.is_file() else None for p in (file, lock, new)}
    put(file, text.encode())
    new.replace(lock)
    return held


def settle(environment: Environment) -> bool:
    """Finish a `switch` that was interrupted; true when there was one."""
    new, lock = environment.next_lock(environment.settings.release), environment.present_lock
    if environment.ahead or not new.is_file():
        return False
    if lock.is_file() and load_model(Lock, lock).release == environment.settings.release:
        return False
    new.replace(lock)
    return True


def restore(held: Mapping[Path, bytes | None]) -> None:
    """Take `switch` back, the lock first."""
    for file, content in reversed(list(held.items())):
        put(file, content)


def put(file: Path, content: bytes | None) -> None:
    """Write a file as a whole; None: remove it."""
    if content is None:
        file.unlink(missing_ok=True)
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f".{file.name}.new")
    new.write_bytes(content)
    if file.exists():
        new.chmod(file.stat().st_mode & 0o777)
    new.replace(file)


def seen_with(environment: Environment, release: str) -> Environment:
    """The environment as it would be with a release."""
    return environments.load(environment.name, release)
