# SPDX-License-Identifier: Apache-2.0
"""The files that a plan is computed from, and which of them have changed since."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from scs_deploy.base import paths
from scs_deploy.base.errors import RefusedError
from scs_deploy.environment import cloud, own, storage
from scs_deploy.environment.environment import Environment
from scs_deploy.environment.overrides import Overrides

CODE = Path(__file__).resolve().parents[1]
"""The manager's own code: an update of scs plans and renders differently."""

SHOWN = 3
"""Differences that an error message names; it only counts the rest."""

UNREADABLE = "unreadable"
"""In place of the digest of a file that this user may not read."""


class ChangedError(RefusedError):
    """A plan is not carried out, because something that it was computed from has changed."""


def files(environment: Environment) -> list[Path]:
    """All files that a plan is computed from, sorted.

    They are settings, inventory, release lock, secrets, certificates, overrides, lists of options, own services and
    images, the services and the release that scs ships, and scs itself.
    """
    single = (
        environment.file, environment.lock_file, environment.path / storage.FILE, environment.path / cloud.FILE,
        environment.secrets_file,
        environment.certificates_file, environment.ca_file, environment.options_file,
        paths.root() / "releases" / f"{environment.settings.release}.yml",
    )  # fmt: skip
    folders = (
        environment.inventory,
        *(environment.path / folder for folder in own.FOLDERS),
        *shipped(),
        CODE,
    )
    found = {*single, *_overrides(environment.path / "config"), *(f for folder in folders for f in below(folder))}
    # an inventory may be the environment's whole folder; records of runs are no input
    return sorted(f for f in found if is_file(f) and not f.is_relative_to(environment.state))


def shipped() -> Iterator[Path]:
    """The folders of the shipped collections that say what runs on hosts, and what carries it out there."""
    for layer in sorted(paths.layer("core").parent.glob("*")):
        yield from (layer / part for part in ("services", "templates", "files", "plugins"))


def below(path: Path) -> Iterator[Path]:
    """The file, or all files of the folder, without those that editors and Python leave behind."""
    if is_file(path):
        yield path
        return
    for file in path.rglob("*"):
        inside = file.relative_to(path).parts
        hidden = any(part.startswith(".") or part == "__pycache__" for part in inside) or file.name.endswith("~")
        if not hidden and is_file(file):
            yield file


def is_file(path: Path) -> bool:
    """Whether it is a file that this user can see; whoever reads it says why not."""
    try:
        return path.is_file()
    except OSError:
        return False


def digests(environment: Environment) -> dict[str, str]:
    """SHA-256 of each input file by its path, which is relative to the checkout if it is in there."""
    return digests_of(files(environment))


def digests_of(chosen: Iterable[Path]) -> dict[str, str]:
    """The same for some files."""
    return {_name(file): _digest(file) for file in chosen if is_file(file)}


def digest(inputs: Mapping[str, str]) -> str:
    """One hash of all inputs."""
    text = "".join(f"{name}\0{value}\0" for name, value in sorted(inputs.items()))
    return hashlib.sha256(text.encode()).hexdigest()


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What differs, e.g. `environments/berlin/config/nova.conf was changed`."""
    return [
        f"{name} was {'added' if name not in before else 'removed' if name not in now else 'changed'}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]


def refuse(differ: list[str], where: str = "", hint: str = "review the new plan: repeat the command") -> None:
    """Refuse if something differs.

    :param where: begins the message
    :raises ChangedError: names the first differences, and counts the others
    """
    if differ:
        more = f"; and {len(differ) - SHOWN} more" if len(differ) > SHOWN else ""
        raise ChangedError(
            f"{where}the region has changed since this plan was made: {'; '.join(differ[:SHOWN])}{more}", hint
        )


def _overrides(folder: Path) -> list[Path]:
    try:
        return [folder / name for name in Overrides(folder).files]
    except RefusedError:
        # a link that leads nowhere: whoever reads the overrides says so
        return list(below(folder))


def _digest(file: Path) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return UNREADABLE


def _name(file: Path) -> str:
    for root in (paths.root(), CODE.parent):
        if file.is_relative_to(root):
            return str(file.relative_to(root))
    return str(file)
