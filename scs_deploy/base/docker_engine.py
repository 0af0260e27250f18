# SPDX-License-Identifier: Apache-2.0
"""The manager's own Docker engine: one way to connect, one clear error when it is not there."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from scs_deploy.base.errors import RefusedError

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

TIMEOUT = 300
"""Seconds for one answer of the engine: a commit or a removal of a large container takes long on slow disks."""


@cache
def connect() -> DockerClient:
    """A client of the engine that DOCKER_HOST names, by default the local socket; one per process.

    :raises RefusedError: no engine answers there, or this user may not talk to it
    """
    # imported here: the SDK costs 0.2 s that most commands need not pay
    import docker
    from docker.errors import DockerException

    try:
        client = docker.from_env(timeout=TIMEOUT)
        client.ping()
    except DockerException as error:
        if "Permission denied" in str(error):
            raise RefusedError(
                "no permission to use the Docker engine", "run as root, or join the group docker"
            ) from None
        reason = " ".join(str(error).split())
        raise RefusedError(f"no Docker engine answers: {reason}", "make setup installs and starts it") from None
    return client


def execute(container: Container, *command: str) -> tuple[int, str]:
    """Run a command in a container: its exit code, and what it wrote on both outputs."""
    code, output = container.exec_run(list(command))
    assert isinstance(output, bytes | None)
    return code or 0, (output or b"").decode(errors="replace")
