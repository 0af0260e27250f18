#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes releases/constraints/<release>.yml: the Python packages that the release's images install, with hashes.

Starts from upstream's tested versions and takes the newest point releases of the series in `python:` of the release.
Needs Docker, the release's base image on this machine (`scs images build base --no-push`), and an index.

Example: tools/constraints.py 2026.1 --upper upper-constraints-2026.1.txt
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from scs_deploy.base import docker_engine
from scs_deploy.base.errors import ScsError
from scs_deploy.base.files import replace
from scs_deploy.images import pinning, pins, python
from scs_deploy.images.builder import Builder
from scs_deploy.images.events import Event
from scs_deploy.images.store import Store
from scs_deploy.spec.release import load_release


def main() -> None:
    """Resolve and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("release", help="name of a release with `python:`")
    parser.add_argument(
        "--upper",
        type=Path,
        required=True,
        metavar="FILE",
        help="upstream's versions, from https://releases.openstack.org/constraints/upper/<series>",
    )
    parser.add_argument("--ca-bundle", type=Path, metavar="FILE", help="as of `scs images build`")
    given = parser.parse_args()
    try:
        write(given.release, given.upper, given.ca_bundle)
    except ScsError as error:
        sys.exit(f"{error.message}\n{error.hint or ''}".rstrip())


def write(name: str, upper: Path, ca_bundle: Path | None) -> None:
    """Resolve and write the pins of a release.

    :raises ScsError: see pinning.resolve
    """
    release = load_release(name)
    target = pins.path_of(name)
    before = pins.load(release) if target.is_file() else None
    builder = Builder(
        docker_engine.connect(), release, Store(name), show, ca_bundle=python.bundle(ca_bundle), unpinned=True
    )
    found = pinning.resolve(builder, upper.read_text(encoding="utf-8"))
    target.parent.mkdir(exist_ok=True)
    replace(target, pinning.text(found, name))
    old = before.packages if before else {}
    for package in sorted(old.keys() | found.packages.keys()):
        was, now = old.get(package), found.packages.get(package)
        if was != now:
            print(f"{package}: {was.version if was else '-'} -> {now.version if now else '-'}")
    print(f"{target}: {len(found.packages)} packages")


def show(event: Event) -> None:
    """A line per step."""
    print(event.step or event.state, file=sys.stderr)


if __name__ == "__main__":
    main()
