# SPDX-License-Identifier: Apache-2.0
"""An image without a parent: a minimal Debian from the release's suites or its own (mmdebstrap)."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.images import apt
from scs_deploy.images import packages as pkg
from scs_deploy.images.packages import Package
from scs_deploy.images.recipe import Recipe, distribution
from scs_deploy.images.workbench import add_file, relevant
from scs_deploy.spec.release import Release, Suite
from scs_deploy.spec.users import User

# Changes of these or of `make` require a new recipe.FORMAT.
EXCLUDED = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*", "/usr/share/lintian/*")
"""Paths that dpkg excludes, here and in all child images."""

KEPT = "/usr/share/doc/*/copyright"
"""Licenses are kept: images redistribute this software."""

HOMES = {"libvirt-qemu": "/var/lib/libvirt", "mysql": "/nonexistent", "memcache": "/nonexistent"}
"""Homes that Debian's packages expect outside of /var/lib/<user>."""


def user_commands(users: Mapping[str, User], only: Collection[str] | None = None) -> Iterator[str]:
    """Shell commands that create groups and users with fixed IDs, before packages assign their own.

    :param only: the others exist already; default: all
    """
    new = {n: u for n, u in users.items() if only is None or n in only}
    for name, user in new.items():
        yield (
            shlex.join(["groupadd", "--system", "--gid", str(user.gid), name]) if _own_group(name, user, users) else ""
        )
    for name, user in new.items():
        if user.uid is not None:
            home = HOMES.get(name, f"/var/lib/{name}")
            words = ["useradd", "--system", "--no-create-home", "--home-dir", home, "--shell", "/usr/sbin/nologin"]
            yield shlex.join([*words, "--uid", str(user.uid), "--gid", str(user.gid), name])
    for name, user in new.items():
        for group in user.groups:
            if users[group].gid != user.gid:
                yield shlex.join(["usermod", "--append", "--groups", group, name])


def _own_group(name: str, user: User, users: Mapping[str, User]) -> bool:
    return user.uid is None or not any(o.uid is None and o.gid == user.gid for n, o in users.items() if n != name)


def source_lines(suites: Iterable[Suite]) -> list[str]:
    """Suites as lines of apt's sources.list."""
    return [
        f"deb {'' if s.valid_until else '[check-valid-until=no] '}{s.uri} {s.suite} {' '.join(s.components)}"
        for s in suites
    ]


def make(release: Release, recipe: Recipe, users: Mapping[str, User], archive: Path, log: Path) -> tuple[Package, ...]:
    """Write the file system of the base image to `archive` (tar). Returns its packages.

    :raises RefusedError: mmdebstrap is not installed
    :raises ScsError: mmdebstrap failed
    """
    if shutil.which("mmdebstrap") is None:
        raise RefusedError("mmdebstrap is not installed", "run make setup to install it")
    with tempfile.TemporaryDirectory(prefix="scs-base-") as name:
        folder = Path(name)
        script = folder / "finish"
        commands = [c for c in user_commands(users) if c]
        # files that were unpacked before dpkg had its options
        remove = [f"find {p.removesuffix('*')} -mindepth 1 ! -type d ! -name copyright -delete" for p in EXCLUDED]
        script.write_text(
            "\n".join(["set -e", *commands, *recipe.run, *remove, apt.CLEAN, apt.DPKG_QUERY]) + "\n",
            encoding="utf-8",
        )
        listing = folder / "packages"
        settings = apt.inherited_settings().splitlines()
        result = subprocess.run(
            [
                "mmdebstrap",
                "--variant=minbase",
                f"--include={','.join(recipe.packages)}",
                *(f"--dpkgopt=path-exclude={p}" for p in EXCLUDED),
                f"--dpkgopt=path-include={KEPT}",
                *(f"--aptopt={s}" for s in settings),
                # the manager's proxy and date settings apply to the build, not to the image
                '--customize-hook=rm -f "$1/etc/apt/apt.conf.d/99mmdebstrap"',
                f'--customize-hook=chroot "$1" sh <{script} >{listing}',
                distribution(recipe, release),
                str(archive),
                *source_lines(recipe.suites or release.suites),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        log.write_text(result.stderr, encoding="utf-8")
        if result.returncode != 0:
            tail = "\n".join(relevant(result.stderr))
            raise ScsError(
                f"image base: mmdebstrap failed with exit code {result.returncode}:\n{tail}\n", f"log: {log}"
            )
        # added at the end: mmdebstrap removes a policy-rc.d, and the files must not affect its work
        with tarfile.open(archive, "a") as tar:
            for file in recipe.files:
                add_file(tar, file)
        return pkg.parse(listing.read_text(encoding="utf-8"))
