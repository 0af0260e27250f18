# SPDX-License-Identifier: Apache-2.0
"""Images of the base suite, then with its security updates: only what changed is built, and the lock says what."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from scs_deploy.base import docker_engine
from scs_deploy.images import advisories
from scs_deploy.images import packages as pkg
from scs_deploy.images.builder import LABEL_IMAGE, LABEL_RELEASE, Builder
from scs_deploy.images.difference import difference
from scs_deploy.images.store import Store
from scs_deploy.images.workbench import Workbench
from scs_deploy.spec.release import ImageSpec, Lock, LockedImage, Release, load_release

pytestmark = [pytest.mark.e2e, pytest.mark.long]

NAME = "scs-test-updates"
OTHER = "scs-test-updates-other"
IMAGES = ("base", "haproxy", "memcached")


def release(security: bool) -> Release:
    """A small release of the shipped one's distribution."""
    shipped = load_release("2025.1")
    suites = tuple(s for s in shipped.suites if security or s.suite == shipped.distribution)
    return shipped.model_copy(update={"name": NAME, "suites": suites, "images": {n: ImageSpec() for n in IMAGES}})


def forget() -> None:
    """Remove the images and volumes of this module, also those that an interrupted run left."""
    engine = docker_engine.connect()
    labels = [f"{LABEL_RELEASE}={name}" for name in (NAME, OTHER)]
    for image in IMAGES[::-1]:
        for label in labels:
            for left in engine.images.list(filters={"label": [f"{LABEL_IMAGE}={image}", label]}):
                engine.images.remove(str(left.id), force=True)
    for volume in engine.volumes.list(filters={"name": f"scs-images-{NAME}"}):
        volume.remove(force=True)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    forget()
    yield tmp_path
    forget()


def made(folder: Path, security: bool, name: str = NAME) -> tuple[Builder, Lock, dict[str, str]]:
    """Builds, and the lock that a push would write."""
    one = release(security).model_copy(update={"name": name})
    builder = Builder(docker_engine.connect(), one, Store(name, folder))
    built = builder.build()
    images = {}
    for image in IMAGES:
        parent = builder.recipes[image].parent
        own = pkg.own(builder.packages(image), builder.packages(parent) if parent else ())
        digest = f"sha256:{built[image].inputs}"
        images[image] = LockedImage(reference=f"scs/{image}", digest=digest, size=1, packages=own)
    return builder, Lock(release=name, images=images), {n: b.state for n, b in built.items()}


def test_security_updates_are_built_and_named(folder: Path) -> None:
    _, before, states = made(folder, security=False)
    assert set(states.values()) == {"built"}
    builder, after, states = made(folder, security=True)
    changes = difference(before, after)
    raised = advisories.updates(changes)
    assert raised
    base = Workbench(builder.engine, builder.tag("base"), "base", builder.volume, builder.store.log("base"))
    with base as bench:
        advice = advisories.ask(bench, raised)
    security = {name for (name, _), a in advice.items() if a.security}
    assert security
    # the same packages again: nothing is built
    _, again, states = made(folder, security=True)
    assert set(states.values()) == {"reused"}
    assert difference(after, again) == ()


def test_a_release_of_the_same_suites_takes_the_images_that_are_there(folder: Path) -> None:
    first, _, _ = made(folder, security=False)
    second, _, states = made(folder, security=False, name=OTHER)
    assert states == dict.fromkeys(IMAGES, "reused")
    for name in IMAGES:
        one, other = first.local(name), second.local(name)
        assert one and other and one.id == other.id and f"scs/{name}:{OTHER}" in other.tags
