# SPDX-License-Identifier: Apache-2.0
"""Streams data between a container on a host and a file of the target, over SSH, without buffering whole files."""

from __future__ import annotations

import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import IO

from scs_deploy.base.errors import ScsError
from scs_deploy.desired.model import RunContainer
from scs_deploy.engine.events import Stage, Watch
from scs_deploy.inventory.ssh import ssh_command
from scs_deploy.operations.backup import crypt
from scs_deploy.operations.backup.crypt import Counter
from scs_deploy.operations.backup.target import Target
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


class Meter:
    """Shows the progress of a stream from time to time."""

    def __init__(self, watch: Watch, what: str) -> None:
        self._watch, self._what = watch, what
        self._begin = self._last = time.monotonic()

    def __call__(self, size: int) -> None:
        """Show the progress after `size` bytes."""
        now = time.monotonic()
        if now - self._last >= 0.5:
            self._last = now
            rate = size / max(now - self._begin, 0.1)
            self._watch(Stage(f"{self._what}: {mebibytes(size)} at {mebibytes(rate)}/s"))


def mebibytes(size: float) -> str:
    """A size with its unit, for display."""
    return f"{size / (1 << 30):.1f} GiB" if size >= 1 << 30 else f"{size / (1 << 20):.1f} MiB"


def keep(
    target: Target, backup: str, file: str, source: crypt.Reads, recipients: Sequence[str], meter: Meter
) -> tuple[int, str]:
    """Write a stream to a new file of the target, encrypted if there are recipients; returns (bytes, SHA-256).

    :raises ScsError: the file could not be written
    """
    with target.writing(backup, file) as stream:
        counter = Counter(stream, meter)
        if recipients:
            crypt.encrypt(source, counter, recipients)
        else:
            while chunk := source.read(1 << 18):
                counter.write(chunk)
    return counter.size, counter.sha256
