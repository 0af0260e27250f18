# SPDX-License-Identifier: Apache-2.0
"""Which users may read an environment: its owner, or a group of operators too. Secrets stay their owner's.

A folder whose set-group-ID bit is set is shared: new files in it receive the group, and scs makes its records readable.
Only the owner, or root, changes a region, so that one user has the keys to its hosts.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

from scs_deploy.base.errors import RefusedError
from scs_deploy.environment import own
from scs_deploy.environment.environment import Environment

FOLDER, FILE = 0o2050, 0o040
"""Bits that a group receives: read and enter, with the group passed on to new files; read."""

STATE_FILES = ("runs.sqlite3", "runs.sqlite3-wal", "runs.sqlite3-shm", "lock", "lock.token")
"""Files in `state/` that reading commands need."""

INPUTS = "inputs"
"""Folder in `state/` with snapshots of settings, overrides and release locks, which runs are compared with."""


def share(environment: Environment, group: str) -> list[Path]:
    """Let a group read an environment, except its secrets; returns the paths that were changed.

    :raises RefusedError: no such group, another user owns the environment, or the group cannot reach its folder
    """
    gid = check_group(environment.path, group)
    make_state(environment)
    changed = [p for p in _readable(environment) if _grant(p, gid)]
    return changed + [p for p in secret_files(environment) if _close(p)]


def check_group(path: Path, group: str) -> int:
    """Check that a group can be given an environment's folder, which may be missing; returns the group's id.

    :raises RefusedError: no such group, another user owns the environment, or the group cannot reach its folder
    """
    try:
        gid = grp.getgrnam(group).gr_gid
    except KeyError:
        raise RefusedError(f"--group {group}: no such group on this machine", f"groupadd {group}") from None
    _check_owner(path, group, gid)
    _check_way(path.resolve(), gid, group)
    return gid


def shared_with(environment: Environment) -> int | None:
    """The id of the group that may read an environment; None: it is not shared."""
    return _group_of(environment.path)


def make_state(environment: Environment) -> Path:
    """Create the state folder if it is missing: for the owner only, or for the group that the environment has."""
    make_folder(environment.state)
    return environment.state


def make_folder(folder: Path) -> None:
    """Create a folder as private as its parent: for the owner, or also for the parent's group if that is shared."""
    if folder.is_dir():
        return
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if _group_of(folder.parent) is not None:
        folder.chmod(0o700 | FOLDER)


def file_mode(folder: Path) -> int:
    """The mode of a new file with records in this folder."""
    return 0o600 if _group_of(folder) is None else 0o600 | FILE


def secret_files(environment: Environment) -> list[Path]:
    """The existing files that nobody but the owner may read; only those that this user can see."""
    settings = environment.settings
    given = [environment.path / n for n in (settings.vault_password_file, settings.backup.ssh_key) if n]
    state = environment.state
    files = [environment.secrets_file, environment.certificates_file, environment.ssh_key, *given]
    private = ("secure.yaml", "tokens.json", "clouds.yaml", "client.yaml", "scs.log", "page.json")
    files += [state / name for name in private]
    return [p for p in files if _is_file(p)]


def unreadable(environment: Environment) -> list[Path]:
    """What the group of a shared environment needs, but cannot read: files that were created by other programs."""
    gid = shared_with(environment)
    return [] if gid is None else [p for p in _readable(environment) if not _reads(p.stat(), gid)]


def secrets_are_hidden(environment: Environment) -> bool:
    """Whether this user may read the environment, but not its secrets."""
    file = environment.secrets_file
    return file.exists() and not os.access(file, os.R_OK)


def check_may_change(environment: Environment) -> None:
    """:raises RefusedError: this user may not change the region"""
    folder = environment.state if environment.state.exists() else environment.path
    if not folder.exists() or (os.access(folder, os.W_OK | os.X_OK) and not secrets_are_hidden(environment)):
        return
    raise RefusedError(
        f"region {environment.name}: user {user_name(os.geteuid())} may not change it",
        f"run the command as {user_name(folder.stat().st_uid)}, e.g. with sudo",
    )


def check_may_connect(environment: Environment) -> None:
    """:raises RefusedError: this user may not read the SSH key of the hosts, or the secrets in their files"""
    if not secrets_are_hidden(environment) and _may_read(environment.ssh_key):
        return
    raise RefusedError(
        f"region {environment.name}: this command connects to hosts, and user {user_name(os.geteuid())} may not read "
        "their SSH key and secrets",
        f"run it as {user_name(environment.path.stat().st_uid)}, e.g. with sudo",
    )


def user_name(uid: int) -> str:
    """The name of a user, or its number."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_name(gid: int) -> str:
    """The name of a group, or its number."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except PermissionError:
        return False


def _may_read(file: Path) -> bool:
    """Whether this user can read a file, or can see that it is missing, which is another error."""
    try:
        file.stat()
    except FileNotFoundError:
        return True
    except PermissionError:
        return False
    return os.access(file, os.R_OK)


def _group_of(folder: Path) -> int | None:
    try:
        info = folder.stat()
    except FileNotFoundError:
        return None
    return info.st_gid if info.st_mode & FOLDER == FOLDER else None


def _check_owner(path: Path, group: str, gid: int) -> None:
    me = os.geteuid()
    owner = path.stat().st_uid if path.exists() else me
    if me == 0 or (me == owner and gid in (os.getegid(), *os.getgroups())):
        return
    why = "is not a member of the group" if me == owner else f"is not its owner, {user_name(owner)}"
    raise RefusedError(f"{path}: cannot be given to {group}: {user_name(me)} {why}", "use sudo")


def _check_way(path: Path, gid: int, group: str) -> None:
    for folder in filter(Path.exists, path.parents):
        info = folder.stat()
        entered = info.st_mode & stat.S_IXOTH or (info.st_mode & stat.S_IXGRP and info.st_gid == gid)
        if not entered:
            raise RefusedError(
                f"{folder}: {group} may not enter this folder, in which the environment is",
                f"chmod o+x {folder}, or move the environments, e.g. to /srv",
            )


def _readable(environment: Environment) -> Iterator[Path]:
    """Existing files and folders that reading commands need, folders first. Links lead out, so they are left alone."""
    base, state = environment.path, environment.state
    yield from (p for p in (base, state) if p.is_dir())
    files = ("environment.yml", "netbox.yml", "inventory.yml", "ca.crt", "announcements.yml", ".gitignore")
    known = [*(base / n for n in files), *sorted(base.glob("release.lock*.yml"))]
    known += [*sorted(base.glob("release.options*.json")), *(base / folder for folder in own.FOLDERS)]
    secret = {p.resolve() for p in secret_files(environment)}
    for path in (*known, environment.inventory, base / "config", *_state(state)):
        inside = path.is_relative_to(base) or path.resolve().is_relative_to(base.resolve())
        if inside and path.exists():
            yield from (p for p in _below(path) if p.resolve() not in secret)


def _state(state: Path) -> Iterator[Path]:
    if os.access(state, os.R_OK | os.X_OK):
        yield from (state / name for name in (*STATE_FILES, INPUTS))


def _below(path: Path) -> Iterator[Path]:
    if path.is_symlink():
        return
    yield path
    if path.is_dir():
        for entry in sorted(path.iterdir()):
            yield from _below(entry)


def _reads(info: os.stat_result, gid: int) -> bool:
    wanted = _bits(info)
    return info.st_gid == gid and info.st_mode & wanted == wanted


def _bits(info: os.stat_result) -> int:
    return FOLDER if stat.S_ISDIR(info.st_mode) else FILE


def _grant(path: Path, gid: int) -> bool:
    info = path.stat()
    if _reads(info, gid) and not info.st_mode & stat.S_IRWXO:
        return False
    os.chown(path, -1, gid)
    # after chown, which clears the set-group-ID bit
    path.chmod(info.st_mode & 0o700 | _bits(info))
    return True


def _close(path: Path) -> bool:
    mode = stat.S_IMODE(path.stat().st_mode)
    if not mode & 0o077:
        return False
    path.chmod(mode & 0o700)
    return True
