#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Builds the container image of the manager: `make manager-image`.

The builder of the region's images makes it from images/manager.yml and requirements.lock; a last layer adds the wheel
of this checkout. Regions do not use it, so it is no part of a release, and no testbed builds it.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import io
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from docker import DockerClient
from packaging.requirements import Requirement

from scs_deploy.base import docker_engine
from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.base.version import DISTRIBUTION, version
from scs_deploy.images import apt, python
from scs_deploy.images.builder import Builder
from scs_deploy.images.events import Event
from scs_deploy.images.pins import Pin, normalize
from scs_deploy.images.store import Store
from scs_deploy.images.workbench import Workbench
from scs_deploy.spec.release import ImageSpec, PythonPackages, Release, load_release

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
NAME = "manager"
PYTHON = {"trixie": "3.13", "bookworm": "3.11"}
"""Version of Python in each Debian."""

LOCKED = re.compile(
    r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>\S+)(?P<hashes>(?: \\\n\s+--hash=sha256:[0-9a-f]{64})+)", re.M
)


def locked(text: str) -> dict[str, Pin]:
    """The packages of a requirements file with hashes, by normalized name."""
    return {
        normalize(found["name"]): Pin(
            version=found["version"], sha256=tuple(re.findall(r"sha256:([0-9a-f]{64})", found["hashes"]))
        )
        for found in LOCKED.finditer(text)
    }


def runtime(pins: Mapping[str, Pin], interpreter: str) -> dict[str, Pin]:
    """The pins of what scs requires to run with a version of Python, without what only its tests require.

    :raises RefusedError: a package has no pin
    """
    environment = {"python_version": interpreter, "python_full_version": f"{interpreter}.0", "extra": ""}
    selected: dict[str, Pin] = {}
    waiting = [(DISTRIBUTION, frozenset[str]())]
    seen = set(waiting)
    while waiting:
        name, extras = waiting.pop()
        if name != DISTRIBUTION:
            if name not in pins:
                raise RefusedError(f"{LOCK}: no pin for {name}, which Python {interpreter} requires", "make lock")
            selected[name] = pins[name]
        for text in importlib.metadata.requires(name) or ():
            needed = Requirement(text)
            cases = [environment, *({**environment, "extra": extra} for extra in extras)]
            if needed.marker and not any(needed.marker.evaluate(case) for case in cases):
                continue
            found = (normalize(needed.name), frozenset(needed.extras))
            if found not in seen:
                seen.add(found)
                waiting.append(found)
    return dict(sorted(selected.items()))


def release_of(name: str) -> Release:
    """The suites of a release, with the manager's image as the only one besides that of its base."""
    return load_release(name).model_copy(
        update={
            "name": NAME,
            "images": {"base": ImageSpec(), NAME: ImageSpec()},
            # tells the builder that pip is needed; the pins come from requirements.lock
            "python": PythonPackages(series={}),
        }
    )


def packages(engine: DockerClient, release: Release, ca_bundle: Path | None) -> Builder:
    """Build everything but scs itself, if it has changed."""

    def tell(event: Event) -> None:
        print(f"{event.image}: {event.state} {event.step}".rstrip(), flush=True)

    builder = Builder(engine, release, Store(NAME), tell, ca_bundle=python.bundle(ca_bundle), unpinned=True)
    pins = runtime(locked(LOCK.read_text(encoding="utf-8")), PYTHON[release.distribution])
    builder.recipes[NAME] = builder.recipes[NAME].model_copy(update={"python": tuple(pins)})
    builder.pins = {NAME: pins}
    builder.build()
    return builder


def add_scs(builder: Builder, wheel: Path, tag: str) -> None:
    """Add scs, in a layer of its own: usually only this one changes."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as content:
        content.add(wheel, arcname=wheel.name)
    image = builder.local(NAME)
    assert image
    config: dict[str, Any] = {**image.attrs["Config"], "User": "scs", "WorkingDir": "/regions", "Cmd": ["--help"]}
    config["Labels"] = {**image.labels, "org.opencontainers.image.version": version()}
    with Workbench(builder.engine, builder.tag(NAME), f"{NAME}-scs", builder.volume, builder.store.log("scs")) as bench:
        bench.container.put_archive("/tmp", archive.getvalue())  # noqa: S108 - of the container
        script = (
            f"{python.PIP} install --quiet --no-compile --no-deps --no-index /tmp/{wheel.name}\nrm /tmp/{wheel.name}\n"
        )
        bench.shell(script + python.COMPILE + f"{python.PIP} check\n{apt.CLEAN}", what="install scs")
        bench.commit(f"scs/{NAME}", tag, config)


def make_wheel(folder: Path) -> Path:
    """The wheel of this checkout."""
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", folder, ROOT], check=True)
    return next(folder.glob("*.whl"))


def main(arguments: list[str]) -> int:
    """Build the image; returns the exit code."""
    parser = argparse.ArgumentParser(description="Build the container image of the manager, from this checkout.")
    parser.add_argument("--release", default="2025.1", help="take Debian's suites from this release (%(default)s)")
    parser.add_argument("--ca-bundle", type=Path, help="CA certificates to trust when downloading Python packages")
    given = parser.parse_args(arguments)
    tag = version().replace("+", "-")
    try:
        engine = docker_engine.connect()
        builder = packages(engine, release_of(given.release), given.ca_bundle)
        with tempfile.TemporaryDirectory() as folder:
            add_scs(builder, make_wheel(Path(folder)), tag)
        engine.images.get(f"scs/{NAME}:{tag}").tag(f"scs/{NAME}", "latest")
    except ScsError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"scs/{NAME}:{tag}, scs/{NAME}:latest")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
