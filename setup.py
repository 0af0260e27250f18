# SPDX-License-Identifier: Apache-2.0
"""What pyproject.toml cannot say: the wheel holds the checkout's data as scs_deploy/installed/, and its commit."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

RELEASE = "0.1.0"
ROOT = Path(__file__).parent
DATA = ("collections", "docs/runbooks", "environments", "images", "inventories", "playbooks", "releases")


def version() -> str:
    """The release; not on its tag, with the commit: `0.1.0+g1a2b3c4d5`."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=9", "--match=v*", "--dirty=.dirty"]
    try:
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return RELEASE
    if said == f"v{RELEASE}":
        return RELEASE
    return f"{RELEASE}+g{said.rpartition('-g')[2]}"


def data() -> list[str]:
    """The files that git has, so that nothing of a region in this checkout reaches the wheel."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", *DATA]
    try:
        listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\0")
    except (OSError, subprocess.CalledProcessError):
        # a source distribution: whoever made it chose its files
        listed = [str(p.relative_to(ROOT)) for name in DATA for p in (ROOT / name).rglob("*") if p.is_file()]
    return ["ansible.cfg", *(n for n in listed if n)]


class BuildWithData(build_py):
    """Adds the data; an editable installation has it beside the package."""

    def run(self) -> None:
        """See setuptools."""
        if self.editable_mode:
            super().run()
            return
        # what an earlier build left would become a part of the package
        shutil.rmtree(Path(self.build_lib, "scs_deploy"), ignore_errors=True)
        super().run()
        for name in data():
            target = Path(self.build_lib, "scs_deploy", "installed", name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target)


setup(
    version=version(),
    cmdclass={"build_py": BuildWithData},
    data_files=[("share/man/man1", ["docs/reference/scs.1"])],
)
