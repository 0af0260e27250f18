# SPDX-License-Identifier: Apache-2.0
"""A container in which an image is built: start, run steps, write files, commit."""

from __future__ import annotations

import io
import shlex
import tarfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import TYPE_CHECKING, Any

from scs_deploy.base.errors import ScsError
from scs_deploy.images import apt
from scs_deploy.images.recipe import File

if TYPE_CHECKING:
    from docker import DockerClient

CPU_SHARES = 64
"""Other containers have 1024: a build uses only CPU time that nothing else on the manager needs."""

LINES = 12
"""Number of lines of a failed step that errors contain."""


class Workbench:
    """A running container of `image` with the builder's volume. Removed at the end of the `with` block."""

    def __init__(self, engine: DockerClient, image: str, name: str, volume: str, log: Path) -> None:
        from docker.types import Mount

        self.engine = engine
        self.name = name
        self.log = log
        self._handle = log.open("a", encoding="utf-8")
        stale = engine.containers.list(all=True, filters={"name": f"^scs-build-{name}$"})
        for container in stale:
            container.remove(force=True)
        self.container = engine.containers.create(
            image,
            name=f"scs-build-{name}",
            hostname=self.hostname,
            entrypoint=["sleep", "infinity"],
            command=[],
            # the manager's network, so that builds reach the same mirrors and proxies
            network_mode="host",
            # a mount, not a volume: `commit` would declare a volume in the image, and each container would get one
            mounts=[Mount(target=apt.WORK, source=volume, type="volume")],
            cpu_shares=CPU_SHARES,
            labels={"scs.build": name},
        )

    @property
    def hostname(self) -> str:
        """The container's host name, which also names its files in the volume."""
        return f"build-{self.name}"

    def __enter__(self) -> Workbench:
        self.container.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        from docker.errors import APIError

        self._handle.close()
        with suppress(APIError):
            self.container.remove(force=True)

    def shell(self, script: str, *, what: str, environment: Mapping[str, str] | None = None) -> str:
        """Run a shell script in the container, log its output and return it.

        :param what: name of the step, for the error
        :param environment: additional variables for this step
        :raises ScsError: the script failed; contains its last lines and the log's path
        """
        self._handle.write(f"\n### {what}\n{script.rstrip()}\n---\n")
        self._handle.flush()
        api = self.engine.api
        run = api.exec_create(
            self.container.id,
            ["sh", "-e", "-c", script],
            environment={**apt.ENVIRONMENT, **(environment or {}), "HOSTNAME": self.hostname},
            user="root",
        )
        output = []
        for chunk in api.exec_start(run["Id"], stream=True):
            text = chunk.decode(errors="replace")
            output.append(text)
            self._handle.write(text)
        code = api.exec_inspect(run["Id"])["ExitCode"]
        printed = "".join(output)
        if code != 0:
            self._handle.flush()
            tail = "\n".join(relevant(printed))
            raise ScsError(f"image {self.name}: {what} failed with exit code {code}:\n{tail}\n", f"log: {self.log}")
        return printed

    def write(self, files: Iterable[File]) -> None:
        """Write files owned by root. Missing folders are created with mode 0755."""
        files = tuple(files)
        if not files:
            return
        folders = sorted({str(PurePosixPath(f.path).parent) for f in files})
        self.shell(f"mkdir -p {shlex.join(folders)}", what="files")
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for file in files:
                add_file(archive, file)
        self.container.put_archive("/", buffer.getvalue())

    def commit(self, repository: str, tag: str, config: dict[str, Any]) -> str:
        """Create an image from the container's current content. Returns the image id."""
        # `commit` keeps the container's config: without `config`, the image would run the `sleep` of this class
        image = self.container.commit(repository=repository, tag=tag, pause=False, conf=config)
        return str(image.id)


def add_file(archive: tarfile.TarFile, file: File) -> None:
    """Add one file of a recipe to a tar archive."""
    content = file.content.encode()
    info = tarfile.TarInfo(file.path.lstrip("/"))
    info.size = len(content)
    info.mode = int(file.mode, 8)
    archive.addfile(info, io.BytesIO(content))


def relevant(output: str) -> list[str]:
    """The lines of a failed step that show the reason: errors of apt and dpkg, else the last lines."""
    lines = [line.rstrip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("E: ", "dpkg: error", " E: ", "ERROR: ")) or "rror:" in line]
    return errors[-LINES:] if errors else lines[-LINES:]
