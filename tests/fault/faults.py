# SPDX-License-Identifier: Apache-2.0
"""What can go wrong with a testbed's node, done from the manager that runs it. A node is a container, scs-<host>."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import Any

from scs_deploy.testbed.cgroups import processes
from tests.fault import sockets


class FaultError(Exception):
    """A fault could not be made or undone."""


class Cut(StrEnum):
    """How a network goes away."""

    CABLE = "cable"
    """the node's interface loses its carrier"""
    SILENT = "silent"
    """the node sees a carrier and hears nobody, as behind a switch that died"""


def run(*command: str, check: bool = True, timeout: float = 120) -> str:
    """Standard output of a command on the manager.

    :raises FaultError: it failed, or took too long
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=timeout)
    except subprocess.TimeoutExpired:
        raise FaultError(f"{' '.join(command)}: no answer in {timeout:g} s") from None
    if check and done.returncode:
        raise FaultError(f"{' '.join(command)}: exit {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def wait(condition: Callable[[], object], deadline: float, what: str, interval: float = 0.5) -> float:
    """Seconds until `condition` is true.

    :raises AssertionError: it is not in `deadline` seconds
    """
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < deadline, f"{what}: not in {deadline:g} s"
        time.sleep(interval)
    return time.monotonic() - begin


class Node:
    """A node, by its host's name."""

    def __init__(self, host: str) -> None:
        self.host, self.name = host, f"scs-{host}"

    def __repr__(self) -> str:
        return self.host

    def on(self, *command: str, check: bool = True, timeout: float = 120) -> str:
        """Run a command on the node, past its network."""
        return run("docker", "exec", self.name, *command, check=check, timeout=timeout)

    def inside(self, container: str, *command: str, check: bool = True, timeout: float = 60) -> str:
        """Run a command in one of its containers."""
        return self.on("docker", "exec", container, *command, check=check, timeout=timeout)

    @property
    def running(self) -> bool:
        """The node is on."""
        return run("docker", "inspect", "--format", "{{.State.Running}}", self.name).strip() == "true"

    @property
    def pid(self) -> int:
        """Its first process, as the manager numbers it."""
        return int(run("docker", "inspect", "--format", "{{.State.Pid}}", self.name))

    def path(self, path: str) -> str:
        """A path of the node as the manager opens it.

        :raises FaultError: the node does not run
        """
        if not (pid := self.pid):
            raise FaultError(f"{self.host} does not run")
        return f"/proc/{pid}/root{path}"

    def containers(self) -> list[dict[str, Any]]:
        """Its containers, as the Docker Engine API lists them.

        :raises FaultError, OSError, http.client.HTTPException, ValueError: its engine does not answer
        """
        found: list[dict[str, Any]] = sockets.docker(self.path("/run/docker.sock"), "/containers/json?all=1")
        return found

    def passes_check(self, container: str) -> bool:
        """Whether a container's own health check passes now.

        :raises FaultError, OSError, http.client.HTTPException, ValueError: the node's engine does not answer
        """
        inspected = sockets.docker(self.path("/run/docker.sock"), f"/containers/{container}/json")
        check = (inspected["Config"].get("Healthcheck") or {}).get("Test", [])[1:]
        try:
            self.inside(container, *check)
        except FaultError:
            return False
        return True

    def started(self, container: str) -> str:
        """When a container's process began; empty: it does not run.

        :raises FaultError, OSError, http.client.HTTPException, ValueError: the node's engine does not answer
        """
        state = sockets.docker(self.path("/run/docker.sock"), f"/containers/{container}/json")["State"]
        return str(state["StartedAt"]) if state["Running"] else ""

    def container_pid(self, container: str) -> int:
        """A container's daemon as the node numbers it, not the init process before it; 0: it does not run."""
        pid = int(self.on("docker", "inspect", "--format", "{{.State.Pid}}", container))
        if not pid:
            return 0
        while self.on("cat", f"/proc/{pid}/comm", check=False).strip() in ("dumb-init", "tini", "docker-init"):
            children = self.on("cat", f"/proc/{pid}/task/{pid}/children", check=False).split()
            if not children:
                break
            pid = int(children[0])
        return pid

    # -- faults

    def kill_container(self, container: str) -> int:
        """kill -9 of a container's daemon; returns the pid that it had.

        :raises FaultError: it does not run
        """
        pid = self.container_pid(container)
        if not pid:
            raise FaultError(f"{container} does not run on {self.host}")
        self.on("kill", "-KILL", str(pid))
        return pid

    def stop(self) -> None:
        """Shut the node down in order."""
        run("docker", "stop", self.name, timeout=180)

    def kill(self) -> None:
        """Take its power away."""
        run("docker", "kill", self.name)

    def start(self) -> None:
        """Switch it on."""
        run("docker", "start", self.name)

    def freeze(self) -> None:
        """SIGSTOP to everything on it: addresses answer, connections are accepted by the kernel, nobody serves them.

        Nested containers are not in the node's control group, so `docker pause` would stop too few.
        """
        stopped: set[int] = set()
        first = self.pid
        while missing := set(processes(first)) - stopped:
            for pid in missing:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
            stopped |= missing

    def thaw(self) -> None:
        """SIGCONT to everything on it."""
        for pid in processes(self.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def peers(self) -> dict[str, str]:
        """Interface of the node: the manager's end of its cable."""
        ends = {int((p / "ifindex").read_text()): p.name for p in Path("/sys/class/net").iterdir()}
        script = "for i in /sys/class/net/eth*; do echo ${i##*/} $(cat $i/iflink); done"
        found = {}
        for line in self.on("sh", "-c", script).splitlines():
            interface, index = line.split()
            if int(index) not in ends:
                raise FaultError(f"{self.host}: {interface} has no end on this manager")
            found[interface] = ends[int(index)]
        return found

    def cut(self, interfaces: Iterable[str], how: Cut) -> Callable[[], None]:
        """Cut the node from networks; returns what mends it."""
        peers = self.peers()
        ends = [peers[i] for i in interfaces]
        mends: list[tuple[str, ...]] = []
        for end in ends:
            if how is Cut.CABLE:
                mends.append(("ip", "link", "set", end, "up"))
                run("ip", "link", "set", end, "down")
            else:
                mends.append(("bridge", "link", "set", "dev", end, "state", "3"))
                run("bridge", "link", "set", "dev", end, "state", "0")

        def mend() -> None:
            for command in mends:
                run(*command)

        return mend


class SmallDisk:
    """A container's volume moved onto a file system of its own that a test may fill; this machine's disk stays free.

    An ext4 image that takes what is written to it. The data goes back to where it was.
    """

    def __init__(self, node: Node, container: str, volume: str, megabytes: int) -> None:
        self.node, self.container, self.volume = node, container, volume
        self.megabytes = megabytes
        self.data = f"/var/lib/docker/volumes/{volume}/_data"
        self.image = Path(f"/var/tmp/scs-fault-{node.host}-{volume}.img")
        self.loop = ""

    @property
    def _mount(self) -> str:
        return f"/mnt/fault-{self.volume}"

    def setup(self) -> None:
        """Stop the container, move its data, start it.

        :raises FaultError: a step failed; `restore` puts everything back
        """
        with self.image.open("wb") as file:
            file.truncate(self.megabytes << 20)
        run("mkfs.ext4", "-q", "-m", "0", str(self.image))
        self.loop = run("losetup", "--find", "--show", str(self.image)).strip()
        device = Path(self.loop).stat().st_rdev
        self.node.on("sh", "-c", f"[ -e {self.loop} ] || mknod {self.loop} b {os.major(device)} {os.minor(device)}")
        self.node.on("docker", "stop", self.container, timeout=180)
        script = (
            f"set -eu; mkdir -p {self._mount}; mount -t ext4 {self.loop} {self._mount}; "
            f"chown --reference={self.data} {self._mount}; chmod --reference={self.data} {self._mount}; "
            f"cp -a {self.data}/. {self._mount}/; rm -rf {self._mount}/lost+found; "
            f"umount {self._mount}; mount -t ext4 {self.loop} {self.data}"
        )
        self.node.on("sh", "-c", script, timeout=300)
        self.node.on("docker", "start", self.container)

    def fill(self) -> int:
        """Fill it to the last block with a file beside the data; returns the bytes that are left."""
        script = f"dd if=/dev/zero of={self.data}/.ballast bs=1M 2> /dev/null; sync -f {self.data}"
        self.node.on("sh", "-c", script, check=False, timeout=300)
        return self.free()

    def free(self) -> int:
        """Free bytes."""
        return int(self.node.on("df", "--output=avail", "-B1", self.data).split()[-1])

    def empty(self) -> None:
        """Remove the ballast."""
        self.node.on("rm", "-f", f"{self.data}/.ballast")

    def restore(self) -> None:
        """Stop the container, bring its data back, start it, remove the file system."""
        mounted = self.node.on("sh", "-c", f"mountpoint -q {self.data} && echo yes", check=False).strip() == "yes"
        self.node.on("docker", "stop", self.container, check=False, timeout=180)
        if mounted:
            script = (
                f"set -eu; umount {self.data}; mkdir -p {self._mount}; mount -t ext4 {self.loop} {self._mount}; "
                f"rm -f {self._mount}/.ballast; rm -rf {self._mount}/lost+found; "
                f"find {self.data} -mindepth 1 -delete; cp -a {self._mount}/. {self.data}/; umount {self._mount}"
            )
            self.node.on("sh", "-c", script, timeout=300)
        self.node.on("docker", "start", self.container)
        self.node.on("sh", "-c", f"umount {self._mount} 2> /dev/null; rm -f {self.loop}", check=False)
        if self.loop:
            run("losetup", "--detach", self.loop, check=False)
        self.image.unlink(missing_ok=True)


@contextmanager
def small_disk(node: Node, container: str, volume: str, megabytes: int) -> Iterator[SmallDisk]:
    """A `SmallDisk` that goes away again, also when the test fails."""
    disk = SmallDisk(node, container, volume, megabytes)
    try:
        disk.setup()
        yield disk
    finally:
        disk.restore()
