#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Maps compute hosts to their cell once all named hosts have registered. Only mapped hosts get guests.

Argument: the hosts' names, separated by commas.
"""

import sys
import time
from typing import Any

from nova import config, context, objects
from nova.objects import host_mapping

DEADLINE = 600
"""Seconds in which all hosts must register."""


def registered(admin: Any) -> set[str]:
    """Hosts with a record of nova-compute in any cell."""
    hosts: set[str] = set()
    for cell in objects.CellMappingList.get_all(admin):
        if not cell.is_cell0():
            with context.target_cell(admin, cell) as within:
                services = objects.ServiceList.get_by_binary(within, "nova-compute", include_disabled=True)
                hosts |= {s.host for s in services}
    return hosts


def main(names: str) -> None:
    config.parse_args(["discover_hosts"])
    objects.register_all()
    admin = context.get_admin_context()
    expected, until = set(names.split(",")), time.monotonic() + DEADLINE
    while missing := expected - registered(admin):
        if time.monotonic() > until:
            sys.exit(f"nova-compute has not registered on {', '.join(sorted(missing))} within {DEADLINE} s")
        time.sleep(1)
    mapped = host_mapping.discover_hosts(admin, by_service=True)
    print("mapped:", ", ".join(sorted(m.host for m in mapped)) or "all known already")


if __name__ == "__main__":
    main(sys.argv[1])
