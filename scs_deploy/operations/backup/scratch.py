# SPDX-License-Identifier: Apache-2.0
"""Containers on the manager in which backups are restored on trial: without network, and removed afterwards."""

from __future__ import annotations

import io
import socket
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from scs_deploy.base import docker_engine
from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.images import registry
from scs_deploy.operations.backup.manifest import Part
from scs_deploy.region.region import Region
from scs_deploy.spec import sources
from scs_deploy.spec.service import Saved, Service

if TYPE_CHECKING:
    from docker.models.containers import Container

LABEL = "scs.backup.verify"

STDOUT, STDERR = 1, 2

MEMORY = "size=512m,mode=0700"
"""Of a trial's files, which are in memory: a part may hold keys."""


class Input:
    """A command in the container that reads the bytes written here; raises at the end if it failed.

    :param what: begins the error
    """

    output = ""
    """what it printed, once it ended"""

    def __init__(self, container: Container, command: Sequence[str], what: str) -> None:
        self._api = container.client.api  # type: ignore[union-attr]
        self._id = self._api.exec_create(container.id, list(command), stdin=True)["Id"]
        self._what = what

    def __enter__(self) -> Input:
        stream: Any = self._api.exec_start(self._id, socket=True)
        self._keep = stream
        self._socket: socket.socket = getattr(stream, "_sock", stream)
        self._socket.settimeout(None)
        return self

    def write(self, data: bytes, /) -> int:
        """Send bytes to the command."""
        self._socket.sendall(data)
        return len(data)

    def flush(self) -> None:
        """Does nothing: there is no buffer."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> None:
        from docker.utils.socket import frames_iter_no_tty

        if error and not isinstance(error, BrokenPipeError):
            self._socket.close()
            return
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        said = {STDOUT: b"", STDERR: b""}
        frames: Iterable[tuple[int, bytes]] = frames_iter_no_tty(self._socket)  # type: ignore[assignment]
        for stream, data in frames:
            said[stream] = (said[stream] + data)[-2000:]
        self._socket.close()
        code = self._api.exec_inspect(self._id)["ExitCode"]
        if code or error:
            words = " ".join((said[STDERR] or said[STDOUT]).decode(errors="replace").split())[-400:]
            raise ScsError(f"{self._what} failed: {words or f'exit code {code}'}") from None
        self.output = said[STDOUT].decode(errors="replace")


def trial(region: Region, service: Service, part: Part, saved: Saved, content: bytes) -> str:
    """Have a service load a part on trial; returns what its program proved.

    :raises RefusedError: no image
    :raises ScsError: the part cannot be loaded
    """
    assert saved.trial
    spec = service.containers[saved.container]
    image = find_image(region, part.image, spec.image or service.name)
    user = region.users.get(spec.user)
    owner = f"uid={user.uid},gid={user.gid}" if user else "uid=0,gid=0"
    tmpfs = dict.fromkeys(("/tmp", *spec.tmpfs), f"{owner},{MEMORY}")  # noqa: S108 - in the container, in memory
    with container(region, image, spec.user, tmpfs, name=saved.container) as made:
        made.put_archive("/", programs(service, saved.container))
        made.start()
        with Input(made, saved.trial, part.name) as command:
            command.write(content)
        return command.output.strip()


@contextmanager
def container(
    region: Region, image: str, user: str, tmpfs: Mapping[str, str], name: str = "", volumes: Sequence[str] = ()
) -> Iterator[Container]:
    """A container without network that has yet to be started, and is always removed with its data.

    :param name: what tells it from others of this region; one that an interrupted verification left is removed
    """
    engine, environment = docker_engine.connect(), region.environment.name
    label = f"{LABEL}.{name}" if name else LABEL
    for old in engine.containers.list(all=True, filters={"label": f"{label}={environment}"}):
        old.remove(force=True, v=True)
    made = engine.containers.create(
        image,
        ["sleep", "infinity"],
        name=f"scs-backup-verify-{environment}{f'-{name}' if name else ''}",
        user=user,
        network_mode="none",
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        tmpfs=dict(tmpfs),
        volumes=list(volumes),
        labels={label: environment},
    )
    try:
        yield made
    finally:
        made.remove(force=True, v=True)


def programs(service: Service, container: str) -> bytes:
    """An archive of the files that a container has verbatim."""
    data, spec = io.BytesIO(), service.containers[container]
    with tarfile.open(fileobj=data, mode="w") as tar:
        for file in spec.sourced:
            source = sources.source(service, container, file.name)
            if source.suffix != ".j2":
                content = source.read_bytes()
                entry = tarfile.TarInfo((file.path or f"{spec.config_dir}/{file.name}").lstrip("/"))
                entry.size, entry.mode = len(content), 0o755
                tar.addfile(entry, io.BytesIO(content))
    return data.getvalue()


def find_image(region: Region, reference: str, name: str) -> str:
    """The image on this manager, pulled if missing.

    :param name: of the image in the release, for the hint
    :raises RefusedError: the image is neither on this manager nor in the registry
    """
    from docker.errors import DockerException, ImageNotFound

    engine = docker_engine.connect()
    host, _, rest = reference.partition("/")
    mine = region.environment.settings.registry.host
    names = [reference]
    if not set(".:") & set(host) and host != "localhost":
        # manifests name images of the region's registry without it
        host, rest = mine, reference
        names.append(f"{mine}/{reference}")
    if host == mine:
        # the manager reaches its own registry on the loopback address
        names.append(f"{registry.push_host(region.environment)}/{rest}")
    for name in names:
        with suppress(ImageNotFound):
            return str(engine.images.get(name).id)
    try:
        repository, _, digest = names[-1].partition("@")
        return str(engine.images.pull(repository, tag=digest or None).id)
    except DockerException as error:
        raise RefusedError(
            f"no image {reference} on this manager or in its registry: {' '.join(str(error).split())[:200]}",
            f"scs images build {name}",
        ) from None
