# SPDX-License-Identifier: Apache-2.0
"""Garbage collection of the managed registry: remove images of earlier updates that no lock of the environment and no
recent run names. Without it, the images of every daily update would stay forever.
"""

from __future__ import annotations

import fcntl
import re
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from scs_deploy.base import docker_engine
from scs_deploy.base.errors import ScsError
from scs_deploy.base.model import load_model
from scs_deploy.environment.environment import Environment
from scs_deploy.images import registry
from scs_deploy.spec.release import Lock
from scs_deploy.state import snapshot

if TYPE_CHECKING:
    from docker.models.containers import Container

STORE = "/var/lib/docker-registry"
REVISION = re.compile(
    r"^(?P<pushed>[\d.]+) .*/repositories/(?P<reference>.+)/_manifests/revisions/sha256/(?P<hex>[0-9a-f]{64})/link$",
    re.MULTILINE,
)
"""Path of the file that records a manifest of a repository. Its time is that of the push."""

DAY = 24 * 3600


class Held(NamedTuple):
    """A manifest in the registry."""

    reference: str
    digest: str
    pushed: float
    """seconds since the epoch"""


class Forgotten(NamedTuple):
    """The result of a collection."""

    images: int
    bytes: int


NOTHING = Forgotten(0, 0)


def listed(text: str) -> list[Held]:
    """Parse the output of `find -name link -printf '%T@ %p\\n'` in the registry's store."""
    return [Held(m["reference"], f"sha256:{m['hex']}", float(m["pushed"])) for m in REVISION.finditer(text)]


def unneeded(held: Collection[Held], keep: Collection[str], since: float) -> list[Held]:
    """Manifests that can be removed: not in `keep`, and pushed before `since`."""
    return [h for h in held if h.digest not in keep and h.pushed < since]


def named(environment: Environment, since: float) -> set[str]:
    """Digests in the environment's locks and in the locks of its runs.

    :param since: start of the period whose runs count; the last two locks count in any case
    :raises RefusedError: a lock has an error, so its images are unknown
    """
    files = [*environment.path.glob("release.lock*.yml"), *snapshot.locks(environment, since)]
    return {image.digest for file in files for image in load_model(Lock, file).images.values()}


@contextmanager
def pushing(environment: Environment) -> Iterator[None]:
    """Prevent collections during a push: uploaded layers belong to no image yet."""
    with _hold(environment, fcntl.LOCK_SH):
        yield


def collect(environment: Environment) -> Forgotten:
    """Remove unneeded images from the managed registry. Does nothing during a push.

    :raises RefusedError: a lock has an error, or the registry does not respond
    :raises ScsError: the registry cannot remove an image
    """
    if not environment.settings.registry.managed:
        return NOTHING
    try:
        with _hold(environment, fcntl.LOCK_EX | fcntl.LOCK_NB):
            return _collect(environment)
    except BlockingIOError:
        return NOTHING


def _collect(environment: Environment) -> Forgotten:
    since = time.time() - environment.settings.registry.keep_days * DAY
    container = docker_engine.connect().containers.get(registry.container_name(environment))
    held = listed(_run(container, "find", STORE, "-name", "link", "-printf", r"%T@ %p\n"))
    gone = unneeded(held, named(environment, since), since)
    if not gone:
        return NOTHING
    before = _used(container)
    api = registry.Api(environment)
    for manifest in gone:
        api.delete(manifest.reference, manifest.digest)
    _run(container, "docker-registry", "garbage-collect", f"/{registry.FOLDER}/config.yml")
    return Forgotten(len(gone), before - _used(container))


def _used(container: Container) -> int:
    return int(_run(container, "du", "--summarize", "--bytes", STORE).split()[0])


def _run(container: Container, *command: str) -> str:
    """Run a command in the container and return its output.

    :raises ScsError: the command failed
    """
    code, output = docker_engine.execute(container, *command)
    if code:
        raise ScsError(f"{container.name}: {command[0]}: {' '.join(output.split())[-400:]}")
    return output


@contextmanager
def _hold(environment: Environment, kind: int) -> Iterator[None]:
    path: Path = environment.state / "registry.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as handle:
        fcntl.flock(handle, kind)
        yield
