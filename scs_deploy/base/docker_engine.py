# SPDX-License-Identifier: Apache-2.0
"""The manager's own Docker engine: one way to connect, one clear error when it does not answer."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from scs_deploy.base.errors import RefusedError

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

TIMEOUT = 300
"""Seconds to wait for one response. Committing or removing a large container takes long on slow disks."""


@cache
def connect() -> DockerClient:
    """A client for the engine that DOCKER_HOST names, by default the local socket. One per process.

    :raises RefusedError: no engine answers, or this user has no access to it
    """
    # imported here: the SDK takes 0.2 s to load and most commands do not need it
    import docker
    from docker.errors import DockerException

    try:
        client = docker.from_env(timeout=TIMEOUT)
        client.ping()
    except DockerException as error:
        if _is_permission_error(error):
            raise RefusedError(
                "no permission to use the Docker engine", "run scs as root, or add your user to the docker group"
            ) from None
        reason = " ".join(str(error).split())
        raise RefusedError(
            f"cannot connect to the Docker engine: {reason}", "run make setup to install and start it"
        ) from None
    return client


def _is_permission_error(error: BaseException | None) -> bool:
    """Whether the operating system denied access. The SDK, requests and urllib3 each wrap its error."""
    while error is not None and not isinstance(error, PermissionError):
        error = error.__cause__ or error.__context__
    return error is not None


def execute(container: Container, *command: str) -> tuple[int, str]:
    """Run a command in a container. Returns its exit code and its combined output."""
    code, output = container.exec_run(list(command))
    assert isinstance(output, bytes | None)
    return code or 0, (output or b"").decode(errors="replace")
