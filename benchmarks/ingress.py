# SPDX-License-Identifier: Apache-2.0
"""What TLS between a load balancer and another host's API processes costs: on loopback, with real HAProxies.

    python -m benchmarks.ingress [--seconds 10] [--clients 4]

One load balancer, one API host, one request a connection to the process, as uWSGI has it. "before" sends plain HTTP to
the process, "now" goes through the rendered ingress. A client keeps its connection to the load balancer.
"""

from __future__ import annotations

import argparse
import http.client
import statistics
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

from tests.support.live_ingress import FRONT, Site, management, own, wait

HOST = "ha-2"


def main() -> int:
    """Measure both and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--clients", type=int, default=4)
    given = parser.parse_args()
    print("| path | requests/s | p50 ms | p95 ms |\n| --- | --- | --- | --- |")
    for name in ("before", "now"):
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            folder.chmod(0o755)
            times = measure(site(name, folder, stack), given.seconds, given.clients)
        cuts = statistics.quantiles(times, n=20)
        print(
            f"| {name} | {len(times) / given.seconds:.0f} | {cuts[9] * 1000:.1f} | {cuts[18] * 1000:.1f} |", flush=True
        )
    return 0


def site(name: str, folder: Path, stack: ExitStack) -> Site:
    """A load balancer of another host before one process."""
    made = Site(folder, stack)
    if name == "before":
        made.process(HOST, management(HOST))
        made.balance(f"  server {HOST} {management(HOST)}:{made.process_port} check")
    else:
        made.process(HOST, own(HOST))
        made.ingress(HOST)
        made.balance()
    time.sleep(3)
    wait(lambda: made.balancer.up("identity")[HOST])
    return made


def measure(made: Site, seconds: float, clients: int) -> list[float]:
    """Seconds of each request."""
    found: list[float] = []
    end = time.monotonic() + seconds

    def run() -> None:
        connection = http.client.HTTPConnection(FRONT, made.front, timeout=30)
        while time.monotonic() < end:
            begin = time.monotonic()
            connection.request("GET", "/v3")
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                sys.exit(f"status {answer.status}")
            found.append(time.monotonic() - begin)

    threads = [threading.Thread(target=run) for _ in range(clients)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    return found


if __name__ == "__main__":
    sys.exit(main())
