# SPDX-License-Identifier: Apache-2.0
"""Processes on hosts whose input and output are streams, over SSH, without buffering whole files."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import IO

from scs_deploy.base.errors import ScsError
from scs_deploy.desired.model import RunContainer
from scs_deploy.inventory.ssh import ssh_command
from scs_deploy.region.region import Region

GUARD = """
set -o pipefail
# the manager holds our standard input open: when it closes, the manager no longer wants the result
{ read -r _; kill -TERM 0; } <&0 &
guard=$!
"$@"
code=$?
kill "$guard" 2> /dev/null
exit "$code"
"""
"""bash; runs a command without input, and ends it if the manager or the connection to it fails."""

TAIL = 400
"""How many characters of a failed command's output are shown."""


class Remote:
    """A process on a host: `with Remote(...) as process:` raises at the end unless the process succeeded.

    :param argv: the command on the host; must not contain secrets
    :param heard: called with each line of its standard error
    """

    def __init__(self, region: Region, host: str, argv: Sequence[str], heard: Callable[[str], None] | None = None):

        prefix = [] if region.environment.settings.ssh.user == "root" else ["sudo", "-n"]
        command = ssh_command(region.environment, region.inventory.hosts[host], [*prefix, *argv], False)
        command[1:1] = ["-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=15"]
        self._what = f"host {host}"
        self._heard = heard
        self._last: deque[str] = deque(maxlen=20)
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=1 << 18
        )
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    @property
    def output(self) -> IO[bytes]:
        """Its standard output."""
        assert self.process.stdout
        return self.process.stdout

    @property
    def input(self) -> IO[bytes]:
        """Its standard input."""
        assert self.process.stdin
        return self.process.stdin

    def __enter__(self) -> Remote:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> None:
        broken = isinstance(error, BrokenPipeError)
        if error and not broken:
            self.process.kill()
            self.process.wait()
            return
        code = self._finish()
        if code or broken:
            said = " ".join(" ".join(self._last).split())[-TAIL:]
            raise ScsError(f"{self._what}: {said or f'the command failed with exit code {code}'}") from None

    def _finish(self) -> int:
        with suppress(BrokenPipeError):
            self.input.close()
        # drain the output, so that a process that still writes does not block
        while self.output.read(1 << 18):
            pass
        code = self.process.wait()
        self._thread.join(10)
        return code

    def _listen(self) -> None:
        assert self.process.stderr
        for raw in self.process.stderr:
            line = raw.decode(errors="replace").rstrip()
            self._last.append(line)
            if self._heard:
                self._heard(line)


def inside(container: str, argv: Sequence[str]) -> list[str]:
    """A command in a running container, with standard input."""
    return ["docker", "exec", "--interactive", container, *argv]


def guarded(container: str, argv: Sequence[str]) -> list[str]:
    """Like `inside`, but ends the command if the manager fails. For commands without input."""
    return inside(container, ["bash", "-c", GUARD, "backup", *argv])


def beside(run: RunContainer, argv: Sequence[str]) -> list[str]:
    """A command in a new container with a service's image, user and mounts, without network, whether or not it runs.

    The container is removed afterwards; one left by an interrupted restore is removed first.
    """
    host_config = run.body["HostConfig"]
    name = f"restore_{run.name}"
    options = ["--rm", "--interactive", f"--name={name}", "--network=none", f"--user={run.body['User']}"]
    options += [f"--cap-drop={c}" for c in host_config["CapDrop"]] + [f"--cap-add={c}" for c in host_config["CapAdd"]]
    options += [f"--volume={b}" for b in host_config["Binds"]]
    options += [f"--tmpfs={path}:{mount}" for path, mount in host_config["Tmpfs"].items()]
    options.append("--label=scs.execute=" + run.name)
    script = f'docker rm --force {name} > /dev/null 2>&1; exec docker run "$@"'
    return ["sh", "-c", script, "run", *options, run.image, *argv]


def output_of(region: Region, host: str, argv: Sequence[str], text: str = "") -> str:
    """Run a command with `text` as its input, and return its output.

    :raises ScsError: the command failed; quotes the end of its standard error
    """
    with Remote(region, host, argv) as remote:
        remote.input.write(text.encode())
        remote.input.close()
        return remote.output.read().decode(errors="replace")


def pipe(region: Region, source: tuple[str, RunContainer, Sequence[str]],
         target: tuple[str, RunContainer, Sequence[str]]) -> None:  # fmt: skip
    """What a command prints is the input of another one. Each is a host, a container, and what runs beside it.

    :raises ScsError: one of the commands failed
    """
    with Remote(region, source[0], beside(source[1], source[2])) as giver:
        giver.input.close()
        with Remote(region, target[0], beside(target[1], target[2])) as taker:
            shutil.copyfileobj(giver.output, taker.input, 1 << 18)
