#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What monitoring costs a deployed region at rest: processors and memory of its containers, as it measures itself.

    .venv/bin/python benchmarks/monitoring.py --environment testbed

`--strict` exits 1 above 10 % of a processor or 1.5 GiB on a host. The region should have rested for ten minutes.
"""

from __future__ import annotations

import argparse
import sys

from scs_deploy.engine import remote
from scs_deploy.region.region import Region
from scs_deploy.shared.monitoring import Monitoring

CPU, MEMORY = 100.0, 1536.0
"""Milliseconds per second and MiB on each host."""


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environment", default=None)
    parser.add_argument("--strict", action="store_true")
    options = parser.parse_args()
    region = Region.load(options.environment, reading=True)
    monitoring = Monitoring(region, remote.runner_in(region))
    own = "|".join(c for s in region.catalog.services.values() if s.layer == "operations" for c in s.containers)
    busy = monitoring.query(f'1000 * rate(scs_container_cpu_seconds_total{{container=~"{own}"}}[10m])')
    used = monitoring.query(f'scs_container_memory_bytes{{container=~"{own}"}} / 1048576')
    by_host: dict[str, list[tuple[str, float, float]]] = {}
    memory = {(dict(k)["host"], dict(k)["container"]): v for k, v in used.items()}
    for key, value in busy.items():
        host, container = dict(key)["host"], dict(key)["container"]
        by_host.setdefault(host, []).append((container, value, memory.get((host, container), 0.0)))
    worst = False
    for host, rows in sorted(by_host.items()):
        for container, cpu, size in sorted(rows):
            print(f"{host:12} {container:20} {cpu:8.1f} ms/s {size:8.0f} MiB")
        cpu, size = sum(r[1] for r in rows), sum(r[2] for r in rows)
        print(f"{host:12} {'all':20} {cpu:8.1f} ms/s {size:8.0f} MiB")
        worst = worst or cpu > CPU or size > MEMORY
    series = sum(monitoring.query("prometheus_tsdb_head_series").values())
    print(f"{series:.0f} series in all servers")
    return 1 if not by_host or (options.strict and worst) else 0


if __name__ == "__main__":
    sys.exit(main())
