# SPDX-License-Identifier: Apache-2.0
"""A node pulls what it needs and forgets what nothing needs any more: the module, a real engine, a real registry."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.support import node_modules
from tests.support.images import needs
from tests.support.live_haproxy import IMAGE, answers, docker
from tests.support.peer_hosts import eventually

REGISTRY = "scs/registry:2025.1"

pytestmark = [needs(IMAGE), needs(REGISTRY)]


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return node_modules.load(monkeypatch, "images")


@pytest.fixture
def name() -> Iterator[str]:
    name = f"scs-test-images-{uuid.uuid4().hex[:8]}"
    yield name
    for container in docker("ps", "--all", "--quiet", "--filter", f"name=^{name}").split():
        docker("rm", "--force", "--volumes", container)
    for image in docker("images", "--quiet", "--filter", f"label={name}").split():
        docker("rmi", "--force", image)


@pytest.fixture
def published(name: str, tmp_path: Path) -> Callable[[str, int], str]:
    """Makes an image of a repository, in a registry and nowhere else; its reference."""
    config = tmp_path / "registry.yml"
    config.write_text(
        "version: 0.1\nstorage: {filesystem: {rootdirectory: /var/lib/docker-registry}}\nhttp: {addr: ':5000'}\n"
    )
    docker(
        "run", "--detach", "--name", f"{name}-registry", "--publish", "127.0.0.1::5000",
        "--volume", f"{config}:/registry.yml:ro", REGISTRY, "docker-registry", "serve", "/registry.yml",
    )  # fmt: skip
    address = docker("port", f"{name}-registry", "5000")
    eventually(lambda: answers(int(address.rpartition(":")[2]), "/v2/"))

    def publish(repository: str, generation: int) -> str:
        tag = f"{address}/{repository}:latest"
        recipe = f"FROM {IMAGE}\nLABEL {name}={repository}-{generation}\n"
        subprocess.run(
            ["docker", "build", "--quiet", "--tag", tag, "-"], input=recipe.encode(), check=True, timeout=120
        )
        docker("push", "--quiet", tag)
        reference = docker("inspect", "--format", "{{index .RepoDigests 0}}", tag)
        docker("rmi", tag)
        return reference

    return publish


def test_a_node_holds_two_generations(module: ModuleType, name: str, published: Callable[[str, int], str]) -> None:
    engine = module.Engine()
    other = published("other/thing", 0)
    first, second, third = (published("scs/thing", n) for n in (1, 2, 3))

    def roll(reference: str) -> list[str]:
        """An update to one, as a run does it; what it removed."""
        pulled: list[str] = []
        removed: list[str] = []
        module.bring(engine, [reference], [reference], pulled, removed)
        assert pulled == [reference]
        docker("run", "--detach", "--name", f"{name}-new", "--network", "none", reference, "sleep", "600")
        if docker("ps", "--quiet", "--filter", f"name=^{name}$"):
            docker("rm", "--force", name)
        docker("rename", f"{name}-new", name)
        return removed

    engine.pull(other)
    assert roll(first) == []
    assert roll(second) == []
    assert engine.has_image(first), "the way back needs no pull"
    assert roll(third) == [first]
    assert [engine.has_image(r) for r in (first, second, third, other)] == [False, True, True, True]
    # nothing to pull: nothing goes
    module.bring(engine, [third], [third], [], [])
    assert engine.has_image(second)
