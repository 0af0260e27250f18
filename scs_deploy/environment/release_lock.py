# SPDX-License-Identifier: Apache-2.0
"""Read and write the environment's release lock. Writes are atomic, sorted and reproducible."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import yaml

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.files import replace
from scs_deploy.base.model import load_model
from scs_deploy.environment.environment import Environment
from scs_deploy.spec.release import Lock, LockedImage


def load_lock(environment: Environment) -> Lock:
    """Load the environment's release lock.

    :raises RefusedError: the lock is missing, invalid, or belongs to another release
    """
    path, release = environment.lock_file, environment.settings.release
    if not path.is_file():
        ahead = f" --release {release}" if environment.ahead else ""
        raise RefusedError(f"{path}: no release lock", f"scs images build{ahead} --environment {environment.name}")
    lock = load_model(Lock, path)
    if lock.release != release:
        raise RefusedError(
            f"{path}: this lock is for release {lock.release}, but environment.yml names {release}",
            f"scs upgrade release {release} continues the upgrade"
            if environment.next_lock(release).is_file() else "scs images build",
        )  # fmt: skip
    return lock


HEADER = """\
---
# The images of the release in this region. Written by `scs images build`; keep it in git.
"""


def current(environment: Environment) -> Lock:
    """The environment's lock, or an empty one if the file is missing or belongs to another release.

    :raises RefusedError: the file has an error
    """
    lock = written(environment, environment.lock_file)
    release = environment.settings.release
    return lock if lock.release == release else Lock(release=release, images={})


def written(environment: Environment, path: Path | None = None) -> Lock:
    """The lock in a file, whichever release it belongs to, or an empty one if the file is missing.

    :param path: default: the lock of the release that environment.yml names, even if another one is loaded
    :raises RefusedError: the file has an error
    """
    path = path or environment.present_lock
    if path.is_file():
        return load_model(Lock, path)
    return Lock(release=environment.settings.release, images={})


def merge(lock: Lock, changed: Mapping[str, LockedImage], known: Mapping[str, object]) -> Lock:
    """The lock with the changed entries, without images that are no longer part of the release."""
    images = {**lock.images, **changed}
    return Lock(release=lock.release, images={n: images[n] for n in sorted(images) if n in known})


def text(lock: Lock) -> str:
    """The file's content. The same lock always yields the same bytes."""
    return HEADER + yaml.safe_dump(lock.model_dump(mode="json"), sort_keys=True, width=120)


def save(lock: Lock, path: Path) -> bool:
    """Write the lock if the file differs. Returns true if it was written."""
    content = text(lock)
    if path.is_file() and path.read_text(encoding="utf-8") == content:
        return False
    replace(path, content)
    return True
