# SPDX-License-Identifier: Apache-2.0
"""Edit secrets.yml: the plain text stays in memory and is encrypted again once it is valid."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from scs_deploy.base.errors import RefusedError
from scs_deploy.environment.environment import Environment
from scs_deploy.secrets import store as secrets
from scs_deploy.secrets import vault

MEMORY = Path("/dev/shm")  # noqa: S108 - the edit gets a private folder there
_FILESYSTEMS = ("tmpfs", "ramfs")


def edit(
    environment: Environment, resume: Path | None = None, lock: AbstractContextManager[object] | None = None
) -> list[str]:
    """Open the secrets in the operator's editor.

    :param resume: file of an earlier edit to continue
    :param lock: is held while the file is written: a run that uses the secrets holds it, too
    :returns: names of added, changed and removed secrets, sorted
    :raises RefusedError: no editor, no in-memory file system, the edit is invalid, a run uses the secrets, or
        secrets.yml changed in the meantime. The edit is kept in the last three cases, and the hint names its file.
    """
    before = vault.read(environment, environment.secrets_file)
    known = secrets.parse(before, environment.secrets_file)
    editor = _editor()
    if resume:
        file = resume
    else:
        file = _memory() / "secrets.yml"
        vault.write(file, before)
    # the file survives a killed editor, so that the edit can be resumed
    done = subprocess.run([*editor, str(file)], check=False)
    kept = f"your edit is kept: scs secrets edit --resume {file}"
    if done.returncode:
        raise RefusedError(f"{editor[0]} exited with {done.returncode}; nothing changed", kept)
    text = file.read_text(encoding="utf-8")
    try:
        values = secrets.parse(text, file)
    except RefusedError as error:
        raise RefusedError(f"{error.message}; nothing changed", kept) from None
    changed = sorted(n for n in {*known, *values} if known.get(n) != values.get(n))
    if text != before:
        try:
            with lock or nullcontext(), vault.locked(environment):
                if vault.read(environment, environment.secrets_file) != before:
                    raise RefusedError(f"{environment.secrets_file}: changed in the meantime")
                vault.save(environment, environment.secrets_file, text)
        except RefusedError as error:
            raise RefusedError(f"{error.message}; your edit was not saved", kept) from None
    _forget(file)
    return changed


def _editor() -> list[str]:
    for name in (os.environ.get("VISUAL"), os.environ.get("EDITOR"), "editor", "vi"):
        if name and (argv := shlex.split(name)) and shutil.which(argv[0]):
            return argv
    raise RefusedError("no editor found", "set EDITOR, e.g. EDITOR=nano scs secrets edit")


def _memory() -> Path:
    """A new private folder on a file system that never reaches a disk."""
    for base in (os.environ.get("XDG_RUNTIME_DIR"), str(MEMORY)):
        if base and os.access(base, os.W_OK) and _filesystem(base) in _FILESYSTEMS:
            return Path(tempfile.mkdtemp(prefix="scs-secrets-", dir=base))
    raise RefusedError(f"{MEMORY}: not an in-memory file system; secrets cannot be edited here", "mount a tmpfs there")


def _filesystem(path: str) -> str:
    filesystem, longest = "", -1
    real = os.path.realpath(path)
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines():
        _, point, kind, *_ = line.split(" ")
        if (real == point or real.startswith(point.rstrip("/") + "/")) and len(point) >= longest:
            filesystem, longest = kind, len(point)
    return filesystem


def _forget(file: Path) -> None:
    # editors leave backups and swap files in the same folder
    if file.parent.name.startswith("scs-secrets-"):
        shutil.rmtree(file.parent, ignore_errors=True)
    else:
        file.unlink(missing_ok=True)
