# SPDX-License-Identifier: Apache-2.0
"""The managed registry removes only unneeded images, tested with a real registry, real images and real locks."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from scs_deploy.environment import release_lock
from scs_deploy.environment.environment import Environment, Settings
from scs_deploy.images import collection, registry
from scs_deploy.secrets import pki, vault
from scs_deploy.spec.release import Lock, LockedImage
from scs_deploy.state import snapshot
from tests.support.certificates import server
from tests.support.images import needs
from tests.support.live_haproxy import docker
from tests.support.peer_hosts import free_port
from tests.unit.secrets.test_secrets import SETTINGS

SIZE = 300_000
"""bytes of an image, incompressible"""

pytestmark = needs("scs/registry:2025.1")


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[Environment]:
    settings = {
        **SETTINGS,
        "vault_password_file": "vault_password",
        "registry": {"address": registry.LOOPBACK, "port": free_port(registry.LOOPBACK), "keep_days": 14},
    }
    made = Environment(
        name=f"test-{uuid.uuid4().hex[:8]}", path=tmp_path / "region", settings=Settings.model_validate(settings)
    )
    made.path.mkdir()
    vault.create_password(made)
    pki.ensure(made, {"registry": server(registry.LOOPBACK)})
    made.file.write_text("release: '2025.1'\n", encoding="utf-8")
    registry.ensure(made)
    yield made
    registry.remove(made, lambda _: None)


def push(environment: Environment, name: str) -> LockedImage:
    """An image of random content under a repository's only tag; it is in the registry and nowhere else."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        member = tarfile.TarInfo("content")
        member.size = SIZE
        tar.addfile(member, io.BytesIO(os.urandom(SIZE)))
    tag = f"{registry.push_host(environment)}/scs/{name}:2025.1"
    subprocess.run(["docker", "import", "-", tag], input=archive.getvalue(), check=True, capture_output=True)
    docker("push", "--quiet", tag)
    digest = docker("inspect", "--format", "{{index .RepoDigests 0}}", tag).partition("@")[2]
    docker("rmi", tag)
    return LockedImage(reference=f"scs/{name}", digest=digest, size=SIZE)


def lock(environment: Environment, **images: LockedImage) -> None:
    release_lock.save(Lock(release="2025.1", images=images), environment.lock_file)


def whole(environment: Environment, image: LockedImage) -> bool:
    """Whether a host gets all of it."""
    reference = f"{registry.push_host(environment)}/{image.reference}@{image.digest}"
    if subprocess.run(["docker", "pull", "--quiet", reference], capture_output=True, check=False).returncode:
        return False
    docker("rmi", reference)
    return True


def with_days(environment: Environment, days: int) -> Environment:
    kept = environment.settings.registry.model_copy(update={"keep_days": days})
    return environment.model_copy(update={"settings": environment.settings.model_copy(update={"registry": kept})})


def test_images_without_a_lock_are_removed_after_a_while(environment: Environment) -> None:
    other = push(environment, "other")
    updates = [push(environment, "thing") for _ in range(4)]
    for number, image in enumerate(updates[:3]):
        lock(environment, other=other, thing=image)
        folder = snapshot.keep(environment, f"run-{number}", "specs").folder
        # of the last month, each ten days after the other
        then = time.time() - (30 - 10 * number) * collection.DAY
        os.utime(folder, (then, then))
    lock(environment, other=other, thing=updates[3])

    assert collection.collect(environment) == collection.NOTHING, "they were pushed just now"
    impatient = with_days(environment, 0)
    with collection.pushing(environment):
        assert collection.collect(impatient) == collection.NOTHING, "an uploaded layer belongs to no image yet"
    forgotten = collection.collect(impatient)
    assert forgotten.images == 1
    assert SIZE < forgotten.bytes < 2 * SIZE
    assert [whole(environment, image) for image in updates] == [False, True, True, True]
    assert whole(environment, other)
    assert collection.collect(impatient) == collection.NOTHING
    # what was removed can come again
    assert push(environment, "thing").digest not in {i.digest for i in updates}


def test_images_of_runs_are_kept_as_long_as_configured(environment: Environment) -> None:
    image, now = push(environment, "thing"), time.time()
    for name, days, thing in (("newest", 1, "c"), ("before", 2, "b"), ("old", 20, "")):
        lock(environment, thing=image.model_copy(update={"digest": f"sha256:{thing * 64}"}) if thing else image)
        folder = snapshot.keep(environment, name, "specs").folder
        os.utime(folder, (now - days * collection.DAY, now - days * collection.DAY))
    environment.lock_file.unlink()
    assert image.digest in collection.named(environment, now - 21 * collection.DAY)
    assert image.digest not in collection.named(environment, now - 19 * collection.DAY)
    # the next release's lock counts as well
    release_lock.save(Lock(release="2026.1", images={"thing": image}), environment.path / "release.lock.2026.1.yml")
    assert image.digest in collection.named(environment, now)


def test_a_registry_that_was_removed_finds_the_images_that_were_kept(environment: Environment) -> None:
    image = push(environment, "thing")
    registry.remove(environment, lambda _: None, keep_images=True)
    registry.ensure(environment)
    assert whole(environment, image)
    registry.remove(environment, lambda _: None)
    registry.ensure(environment)
    assert not whole(environment, image)
