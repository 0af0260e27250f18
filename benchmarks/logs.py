#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Logs: what a host's shipper costs for each line, and how long a search for one request takes in a million lines.

Usage: benchmarks/logs.py [LINES]    with a Docker engine that has the image (scs images build victorialogs)

Prints processor time of the shipper for 100,000 lines, the store's size on disk and in memory, and the longest
of five searches by request id, by level and words, and of counting errors by service. The store runs as in a region,
without its ingress.
"""

from __future__ import annotations

import gzip
import http.client
import json
import random
import subprocess
import sys
import tempfile
import time
import urllib.parse
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

FILES = Path(__file__).resolve().parent.parent / "collections/ansible_collections/scs"
sys.path += [str(FILES / "operations/services/log_shipper/files"), str(FILES / "core/files")]

from log_containers import Containers  # noqa: E402

IMAGE = "scs/victorialogs:2025.1"
PORT = 19428
BATCH = 5000
SERVICES = ("nova", "neutron", "cinder", "glance", "keystone", "placement", "haproxy", "mariadb")
WORDS = ("attached", "allocated", "scheduled", "deleted", "timed out", "retried", "updated", "synced")


def request_id(number: int) -> str:
    """One id for about ten lines."""
    return f"req-{uuid.UUID(int=random.Random(number).getrandbits(128), version=4)}"


def text(number: int, chosen: random.Random) -> str:
    """A line of an OpenStack service."""
    level = chosen.choices(("INFO", "WARNING", "ERROR"), (97, 2, 1))[0]
    ids = f"None {request_id(number // 10)} {chosen.getrandbits(128):032x} {chosen.getrandbits(128):032x} - -"
    return f"2026-12-01 06:50:14.732 8 {level} nova.api.openstack [{ids}] {chosen.choice(WORDS)} {number}"


def rows(lines: int) -> Iterator[dict[str, str]]:
    """Lines of three hosts over six hours, as the shipper sends them."""
    chosen, end = random.Random(1), datetime.now(UTC)
    for number in range(lines):
        service, line = chosen.choice(SERVICES), text(number, chosen)
        yield {
            "_time": (end - timedelta(hours=6) * (1 - number / lines)).isoformat(),
            "host": f"ha-{number % 3 + 1}", "service": service, "container": f"{service}_api",
            "level": line.split()[3].lower(), "request_id": request_id(number // 10), "_msg": line,
        }  # fmt: skip


def shipper(lines: int = 100_000) -> float:
    """Microseconds of processor time to read a line of a container and find its fields."""
    chosen = random.Random(2)
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder) / "c1"
        own.mkdir()
        labels = {"scs.container": "nova_api", "scs.service": "nova"}
        (own / "config.v2.json").write_text(json.dumps({"Name": "/nova_api", "Config": {"Labels": labels}}))
        with (own / "c1-json.log").open("w") as stream:
            for number in range(lines):
                entry = {"log": text(number, chosen) + "\n", "stream": "stderr", "time": "2026-12-01T06:50:14.7Z"}
                stream.write(json.dumps(entry) + "\n")
        found, read, begin = Containers(folder, {}), 0, time.process_time()
        while read < lines:
            batch = [json.dumps(row, ensure_ascii=False) for row in found.read(2000)]
            gzip.compress("\n".join(batch).encode(), 1)
            found.confirm()
            read += len(batch)
        return (time.process_time() - begin) / lines * 1e6


def post(path: str, body: bytes, headers: dict[str, str]) -> str:
    """The store's answer."""
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=300)
    try:
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        said = answer.read().decode()
        if answer.status >= 300:
            raise SystemExit(f"{path}: {answer.status} {said}")
        return said
    finally:
        connection.close()


def search(query: str) -> tuple[float, int]:
    """Seconds of a search over all lines, and the number of lines that it gives."""
    begin = time.monotonic()
    body = urllib.parse.urlencode({"query": query}).encode()
    said = post("/select/logsql/query", body, {"Content-Type": "application/x-www-form-urlencoded"})
    return time.monotonic() - begin, len(said.splitlines())


def store(name: str, lines: int) -> None:
    """Fill the store and search in it."""
    arguments = "_time_field=_time&_msg_field=_msg&_stream_fields=host,service,container"
    begin, batch = time.monotonic(), []
    for number, row in enumerate(rows(lines), 1):
        batch.append(json.dumps(row))
        if number % BATCH == 0 or number == lines:
            body = gzip.compress("\n".join(batch).encode(), 1)
            post(f"/insert/jsonline?{arguments}", body, {"Content-Encoding": "gzip"})
            batch = []
    print(f"{lines} lines sent in {time.monotonic() - begin:.0f} s")
    post("/internal/force_flush", b"", {})
    wanted = request_id(lines // 20)
    for what, query in (
        ("one request", f'_msg:"{wanted}"'),
        ("errors with words", 'level:in(error,critical) _msg:~"timed.out" | limit 100'),
        ("errors by service", "level:error | stats by (service) count()"),
    ):
        found = [search(query) for _ in range(5)]
        print(f"{what}: {max(s for s, _ in found):.3f} s at most, {found[0][1]} lines")
    used = subprocess.run(
        ["docker", "exec", name, "sh", "-c", "du -sm /var/lib/victorialogs; grep VmRSS /proc/1/status"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    print("on disk (MB), memory:", " ".join(used.stdout.split()))


def main() -> None:
    """Measure."""
    lines = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    print(f"shipper: {shipper():.1f} µs of processor time for a line")
    name = f"scs-benchmark-logs-{uuid.uuid4().hex[:8]}"
    subprocess.run(
        [
            "docker", "run", "--detach", "--rm", "--name", name, "--network", "host", "--entrypoint", "victoria-logs",
            "--volume", "/var/lib/victorialogs", IMAGE, f"-httpListenAddr=127.0.0.1:{PORT}",
            "-storageDataPath=/var/lib/victorialogs", "-memory.allowedPercent=5", "-loggerLevel=WARN",
        ],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        for _ in range(100):
            try:
                post("/health", b"", {})
                break
            except OSError:
                time.sleep(0.1)
        store(name, lines)
    finally:
        subprocess.run(["docker", "rm", "--force", "--volumes", name], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
