# SPDX-License-Identifier: Apache-2.0
"""A real memcached of the region's image on loopback, and what services have to use it: their rendered files."""

from __future__ import annotations

import json
import pickle
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import memcache

from scs_deploy.desired import resolve
from tests.support.images import needs
from tests.support.live_haproxy import docker
from tests.support.peer_hosts import Hosts, eventually

IMAGE = "scs/memcached:2025.1"
PORT = 11212
HOST = "ha-1"
needs_memcached = needs(IMAGE)


class Poison:
    """Unpickled, it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return _touch, (str(self.marker),)


class Server:
    """memcached with its rendered command and files."""

    def __init__(self, folder: Path, host: str) -> None:
        self.host = host
        self.hosts = Hosts(folder, "testbed-ha", "memcached", {}, {})
        self.address = self.hosts.address[host]
        self.name = f"scs-test-memcached-{uuid.uuid4().hex[:8]}"
        self.where = f"{self.address}:{PORT}"
        for file in folder.rglob("*"):  # on a host, the group of the container's user may do what root may
            mode = file.stat().st_mode
            file.chmod(mode | (mode & 0o700) >> 6 | 0o444)

    def start(self) -> None:
        body = resolve.resolve(self.hosts.region, self.host, {"memcached"}).containers["memcached_tls"].body
        etc, tls = self.hosts.path(self.host, "etc"), self.hosts.path(self.host, "tls")
        docker(
            "run", "--detach", "--name", self.name, "--network", "host", "--user", body["User"], "--cap-drop", "ALL",
            "--read-only", "--security-opt", "no-new-privileges",
            "--volume", f"{etc}:/etc/memcached:ro", "--volume", f"{etc}/ca.crt:/etc/scs/ca.crt:ro",
            "--volume", f"{tls}:/etc/scs/tls:ro", IMAGE, *body["Cmd"],
        )  # fmt: skip
        eventually(lambda: self.execute("/etc/memcached/health.sh", self.address) == 0)

    def stop(self) -> None:
        subprocess.run(["docker", "rm", "--force", self.name], capture_output=True, timeout=60, check=False)

    def execute(self, *command: str) -> int:
        done = subprocess.run(["docker", "exec", self.name, *command], capture_output=True, timeout=60, check=False)
        return done.returncode

    def files(self, container: str, folder: Path, **settings: Any) -> Path:
        """What a container has in /etc/scs/cache.

        :param settings: other values in its cache.json
        """
        folder.mkdir(exist_ok=True)
        for file in resolve.resolve(
            self.hosts.region, HOST, {self.hosts.region.catalog.owner[container]}
        ).files.values():
            if file.container == container and file.name in ("memcache.py", "cache.json", "scs_sessions.py"):
                (folder / file.name).write_text(file.content)
        own = {"ca": str(self.hosts.path(self.host, "etc", "ca.crt")), **settings}
        text = json.loads((folder / "cache.json").read_text())
        (folder / "cache.json").write_text(json.dumps({**text, **own}))
        return folder

    def client(self, container: str, folder: Path, **settings: Any) -> memcache.Client:
        """The client of a container, in this process."""
        memcache.FILE = self.files(container, folder, **settings) / "cache.json"
        memcache._DEAD.clear()
        return memcache.Client([self.where])

    def run(self, container: str, image: str, folder: Path, script: str) -> str:
        """What a Python program prints in a container's image and surroundings."""
        files = self.files(container, folder / container, ca="/etc/scs/ca.crt")
        (folder / "program.py").write_text(script)
        ca = self.hosts.path(self.host, "etc", "ca.crt")
        return docker(
            "run", "--rm", "--network", "host", "--env", "PYTHONPATH=/etc/scs/cache", "--env", f"SERVER={self.where}",
            "--volume", f"{files}:/etc/scs/cache:ro", "--volume", f"{ca}:/etc/scs/ca.crt:ro",
            "--volume", f"{folder}/program.py:/program.py:ro", image, "python3", "/program.py",
        )  # fmt: skip


def poison(client: memcache.Client, key: str, marker: Path) -> None:
    """Have somebody who knows the password, but not the service's secret, put a pickle in the place of a value."""
    name = client._name(key)
    content = pickle.dumps(Poison(marker))
    forged = (
        content,  # as python-memcached stores it
        memcache._signature(b"a guess", name, content) + content,
        memcache._signature(client._keys[0], client._name("another key"), content) + content,
    )
    for sealed in forged:
        # flag 1: a pickle, for python-memcached
        answer, _ = client._ask(name, b"set %s 1 0 %d\r\n%s\r\n" % (name, len(sealed), sealed))
        assert answer == b"STORED"
        assert client.get(key) is None
        assert not marker.exists()


@contextmanager
def running(folder: Path, host: str = HOST) -> Iterator[Server]:
    """A server that ends with the block."""
    server = Server(folder, host)
    try:
        server.start()
        yield server
    finally:
        with suppress(OSError):
            server.stop()


def _touch(path: str) -> None:
    Path(path).touch()
