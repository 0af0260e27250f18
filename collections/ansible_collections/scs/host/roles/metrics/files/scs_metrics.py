#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes what only the host knows of its containers as metrics, which node_exporter reads from a file.

What runs and is healthy, what it uses, what exited by itself, and until when certificates are valid. The engine's
socket gives all rights on the host, so that no exporter in a container gets it.

Sources: Docker Engine API v1.41, GET /containers/json and GET /containers/{id}/stats;
https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
"""

import glob
import http.client
import json
import os
import socket
import ssl
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn
from urllib.parse import quote

SOCKET = "/var/run/docker.sock"
STOPPED = "/var/lib/scs/stopped"
EXITS = "/var/lib/scs/exits"
FILES = "/etc/scs"
TARGET = "/var/lib/scs/metrics/scs.prom"

INTERVAL = 60
"""Seconds between two looks."""

RECENT = 3600
"""Seconds in which exits count."""

HELP = {
    "scs_container_running": "1 if the container runs",
    "scs_container_healthy": "1 if its health check passes; absent while it starts and without a check",
    "scs_container_stopped": "1 if scs stop stopped it",
    "scs_container_exits_recent": "exits in the last hour that scs did not cause",
    "scs_container_cpu_seconds_total": "processor time since it was started",
    "scs_container_memory_bytes": "memory in use, without the page cache",
    "scs_certificate_not_after_timestamp_seconds": "end of a certificate's validity",
}
COUNTERS = ("scs_container_cpu_seconds_total",)

Sample = tuple[str, dict[str, str], float]
"""Name, labels, value."""


class Connection(http.client.HTTPConnection):
    """HTTP over the engine's UNIX socket."""

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(20)
        self.sock.connect(SOCKET)


def get(connection: Connection, path: str) -> Any:
    """The engine's answer; None if there is no such thing any more.

    :raises OSError: the engine does not answer, or refuses
    """
    connection.request("GET", "/v1.41" + path)
    answer = connection.getresponse()
    data = answer.read()
    if answer.status == 404:
        return None
    if answer.status != 200:
        raise OSError(f"the container engine says {answer.status}: {data[:200].decode(errors='replace')}")
    return json.loads(data)


def containers() -> Iterator[Sample]:
    """The samples of all managed containers.

    :raises OSError: the engine does not answer
    """
    connection = Connection("localhost")
    try:
        filters = quote(json.dumps({"label": ["scs.container"]}))
        for found in get(connection, f"/containers/json?all=1&filters={filters}") or ():
            if not found["Names"]:
                # it is being removed
                continue
            name = found["Names"][0].lstrip("/")
            labels = {"container": name, "container_service": found["Labels"].get("scs.service", "")}
            running = found["State"] == "running"
            yield "scs_container_running", labels, running
            yield "scs_container_stopped", labels, os.path.exists(os.path.join(STOPPED, name))
            yield "scs_container_exits_recent", labels, exits(name)
            if found["Status"].endswith(("(healthy)", "(unhealthy)")):
                yield "scs_container_healthy", labels, found["Status"].endswith("(healthy)")
            if running and (used := get(connection, f"/containers/{found['Id']}/stats?stream=false&one-shot=true")):
                yield from usage(labels, used)
    finally:
        connection.close()


def usage(labels: dict[str, str], stats: dict[str, Any]) -> Iterator[Sample]:
    """Processor time and memory, of either version of control groups."""
    yield "scs_container_cpu_seconds_total", labels, stats["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9
    memory = stats["memory_stats"]
    if "usage" in memory:
        detail = memory.get("stats", {})
        cache = detail.get("inactive_file", detail.get("total_inactive_file", 0))
        yield "scs_container_memory_bytes", labels, max(memory["usage"] - cache, 0)


def exits(name: str) -> int:
    """Exits of a container in the last hour that no module of scs caused; the keeper records them."""
    try:
        with open(os.path.join(EXITS, name)) as stream:
            found = [json.loads(line) for line in stream]
    except (OSError, ValueError):
        return 0
    return sum(not e["scs"] and e["time"] > time.time() - RECENT for e in found)


class Certificates:
    """The certificates of all containers. Each file is read again only when it has changed."""

    def __init__(self) -> None:
        self._read: dict[str, tuple[tuple[int, int], float]] = {}

    def samples(self) -> Iterator[Sample]:
        """Their ends."""
        files = [*glob.glob(f"{FILES}/*/tls/*.crt"), *glob.glob(f"{FILES}/*/*.pem")]
        for file in sorted(f for f in files if not f.endswith("ca.crt")):
            end = self._end(file)
            if end:
                container, _, name = os.path.relpath(file, FILES).replace("/tls/", "/").partition("/")
                labels = {"container": container, "certificate": name.rpartition(".")[0]}
                yield "scs_certificate_not_after_timestamp_seconds", labels, end

    def _end(self, file: str) -> float:
        try:
            status = os.stat(file)
            stamp = (status.st_ino, status.st_mtime_ns)
            if self._read.get(file, ((0, 0), 0.0))[0] != stamp:
                # the only reader of certificates in Python's own library
                decoded = ssl._ssl._test_decode_cert(file)  # type: ignore[attr-defined]
                self._read[file] = stamp, ssl.cert_time_to_seconds(decoded["notAfter"])
        except (OSError, ValueError, KeyError):
            # replaced just now, or no certificate
            return 0.0
        return self._read[file][1]


def text(samples: Iterable[Sample]) -> str:
    """The samples in Prometheus's text format."""
    by_name: dict[str, list[str]] = {}
    for name, labels, value in samples:
        shown = ",".join(f'{k}="{_escaped(v)}"' for k, v in labels.items())
        by_name.setdefault(name, []).append(f"{name}{{{shown}}} {float(value):.10g}")
    lines = []
    for name, own in by_name.items():
        kind = "counter" if name in COUNTERS else "gauge"
        lines += [f"# HELP {name} {HELP[name]}", f"# TYPE {name} {kind}", *own]
    return "\n".join(lines) + "\n"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def write(content: str) -> None:
    """Replace the file, which others read meanwhile."""
    os.makedirs(os.path.dirname(TARGET), mode=0o755, exist_ok=True)
    with open(TARGET + ".new", "w") as stream:
        stream.write(content)
    os.chmod(TARGET + ".new", 0o644)
    os.replace(TARGET + ".new", TARGET)


def main() -> NoReturn:
    """Look again and again; without an engine the file stays as it is, and its age shows it."""
    certificates = Certificates()
    while True:
        try:
            write(text([*containers(), *certificates.samples()]))
        except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
            print(f"no metrics: {error}", file=sys.stderr, flush=True)
        time.sleep(INTERVAL)


if __name__ == "__main__":
    main()
