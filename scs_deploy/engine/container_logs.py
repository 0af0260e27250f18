# SPDX-License-Identifier: Apache-2.0
"""Logs of containers, read on their hosts: which containers a name stands for, and their lines in one stream."""

from __future__ import annotations

import heapq
import json
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import repeat
from queue import SimpleQueue
from threading import Thread
from typing import Any

from scs_deploy.base import paths
from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.base.words import Words
from scs_deploy.environment.environment import Environment
from scs_deploy.inventory.model import Host
from scs_deploy.inventory.ssh import ssh_command
from scs_deploy.region.region import Region
from scs_deploy.spec.catalog import close_matches


class Level(Words):
    """Levels of a log's lines, from the least severe."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


PROGRAM = paths.layer("core") / "files" / "container_log.py"
"""Prints a log on its host."""

LOGS = "/var/log/scs"
"""Where hosts keep the log of a container that was replaced."""


@dataclass(frozen=True)
class Source:
    """A container on a host, or several of them that are read together."""

    host: Host
    container: str
    others: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.host.name if self.others else f"{self.host.name}/{self.container}"


def is_unit(name: str) -> bool:
    """Whether a name is one of the hosts' journal."""
    return name == "kernel" or name.endswith((".service", ".scope", ".socket", ".timer", ".mount"))


def select(region: Region, name: str | None, host: str | None) -> list[Source]:
    """The containers, with their hosts, that `name` stands for; without a name everything, each host as one source.

    :raises RefusedError: the service, container or host does not exist, or the service does not run on the host
    """
    catalog, inventory = region.catalog, region.inventory
    if host is not None and host not in inventory.hosts:
        raise RefusedError(f"no host '{host}'", close_matches(host, inventory.hosts))
    if name is None:
        return everything(region, host)
    if is_unit(name):
        raise RefusedError(f"{name} is a unit of the hosts' journal", f"scs logs {name} --from store")
    if name in catalog.services:
        service, containers = name, list(catalog.services[name].containers)
        if name in containers:
            # a service's name stands for all its containers, also if one of them has the same name
            containers.sort(key=lambda c: c != name)
    elif name in catalog.owner:
        service, containers = catalog.owner[name], [name]
    else:
        catalog.refuse_left_out(name)
        raise RefusedError(
            f"no service or container '{name}'",
            close_matches(name, [*catalog.services, *catalog.owner], catalog.services),
        )
    sources = [
        Source(member, container)
        for container in containers
        for member in region.hosts_of(service, container)
        if host in (None, member.name)
    ]
    if not sources:
        raise RefusedError(f"{name} does not run on {host or 'any host'}", "scs inventory show")
    return sources


def everything(region: Region, host: str | None) -> list[Source]:
    """All containers of each host, or of one."""
    on: dict[str, list[str]] = {}
    for service, spec in region.catalog.services.items():
        for container in spec.containers:
            for member in region.hosts_of(service, container):
                on.setdefault(member.name, []).append(container)
    return [
        Source(region.inventory.hosts[name], "", tuple(containers))
        for name, containers in on.items()
        if host in (None, name)
    ]


class Reader:
    """Reads one log on one host, or all of them."""

    def __init__(self, environment: Environment, source: Source, wanted: Mapping[str, Any]) -> None:
        self.source = source
        self.previous = bool(wanted["previous"])
        self.other: list[str] = []
        file = f"{LOGS}/{source.container}.log.1" if self.previous else ""
        several = {"containers": source.others} if source.others else {}
        argument = json.dumps({**wanted, "container": source.container, "file": file, **several})
        program = PROGRAM.read_text(encoding="utf-8")
        command = ["python3", "-c", program, argument]
        ssh, *arguments = ssh_command(environment, source.host, command, terminal=False)
        self.process = subprocess.Popen(
            [ssh, "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
        )

    def lines(self) -> Iterator[str]:
        """The log's lines, each beginning with its time. Other output is kept for `check`."""
        assert self.process.stdout is not None
        for text in self.process.stdout:
            stamp = text.partition(" ")[0].rstrip()
            if stamp.endswith("Z") and stamp[:4].isdigit():
                yield text.rstrip("\n")
            else:
                self.other.append(text.strip())

    def check(self) -> None:
        """Wait for the command to end.

        :raises ScsError: the host is unreachable, or has no such container
        """
        _, error = self.process.communicate()
        code = self.process.returncode
        if code == 255:
            host = self.source.host
            raise ScsError(f"{host.name} ({host.address}): unreachable over SSH: {' '.join(error.split())}")
        if code:
            message = " ".join(self.other) or f"reading its log failed with exit code {code}"
            missing = "if the file is missing, no run has replaced it yet"
            raise ScsError(
                f"{self.source}: {message}", missing if self.previous else f"scs apply {self.source.container}"
            )

    def stop(self) -> None:
        """Terminate the command if it still runs."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait()


def by_time(streams: list[Iterator[str]]) -> Iterable[tuple[int, str]]:
    """(index of its stream, line) of all lines, the oldest first. Each stream is sorted."""
    # Docker's timestamps have a fixed width, so they sort as text
    numbered = [zip(repeat(index), stream, strict=False) for index, stream in enumerate(streams)]
    return heapq.merge(*numbered, key=lambda item: item[1].partition(" ")[0])


def interleave(streams: list[Iterator[str]]) -> Iterator[tuple[int, str]]:
    """Lines of all streams in the order in which they arrive, until every stream has ended."""
    queue: SimpleQueue[tuple[int, str | None]] = SimpleQueue()

    def read(index: int, stream: Iterator[str]) -> None:
        for line in stream:
            queue.put((index, line))
        queue.put((index, None))

    for index, stream in enumerate(streams):
        Thread(target=read, args=(index, stream), daemon=True).start()
    left = len(streams)
    while left:
        index, line = queue.get()
        if line is None:
            left -= 1
        else:
            yield index, line
