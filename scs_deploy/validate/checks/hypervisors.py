# SPDX-License-Identifier: Apache-2.0
"""Check that servers on two hypervisors reach each other, and that live migration works."""

from __future__ import annotations

import base64
import threading
import time
from typing import Any

from scs_deploy.base import icmp
from scs_deploy.validate import measure
from scs_deploy.validate.checks.server import check_identity
from scs_deploy.validate.console import guest_lines
from scs_deploy.validate.guest_image import MARKER, PORT
from scs_deploy.validate.region import Region
from scs_deploy.validate.registry import CheckFailedError, NotApplicableError, Outcome, check

ACTIVE_DEADLINE = 300
CONSOLE_DEADLINE = 240
MIGRATION_DEADLINE = 600
LONGEST_GAP = 15.0
"""Maximum seconds without a reply during a migration. A reboot of the guest takes longer."""


def peer_script(address: str) -> str:
    """User data: request another guest's ID until it responds, and print it on the console."""
    return (
        "#!/bin/sh\n"
        f'until uuid=$(wget -q -T 5 -O - http://{address}:{PORT}/instance-id) && [ -n "$uuid" ]; do sleep 1; done\n'
        f'echo "{MARKER} peer uuid=$uuid"\n'
    )


def _others(region: Region) -> list[str]:
    """Available hypervisors other than the first server's."""
    own = region.cloud.compute.get_server(region.made["server"].id).compute_host
    services = region.cloud.compute.services(binary="nova-compute")
    others = sorted(s.host for s in services if s.status == "enabled" and s.state == "up" and s.host != own)
    if not others:
        raise NotApplicableError("the region has only one available hypervisor")
    return others


@check("east-west", requires=("console-log",), budget=180.0, creates=True)
def east_west(region: Region) -> Outcome:
    """A server with the hint different_host boots on another hypervisor and reaches the first server."""
    made, compute = region.made, region.cloud.compute
    _others(region)
    first = compute.get_server(made["server"].id)
    address = next(iter(region.cloud.network.ports(device_id=first.id))).fixed_ips[0]["ip_address"]

    def boot() -> None:
        made["second"] = compute.create_server(
            name=f"{region.name}-2", image_id=made["image"].id, flavor_id=made["flavor"].id,
            networks=[{"uuid": made["network"].id}], security_groups=[{"name": made["security_group"].id}],
            scheduler_hints={"different_host": [first.id]},
            user_data=base64.b64encode(peer_script(address).encode()).decode(),
        )  # fmt: skip

        def ended() -> bool:
            made["second"] = compute.get_server(made["second"].id)
            return made["second"].status in ("ACTIVE", "ERROR")

        measure.until(ended, ACTIVE_DEADLINE)
        if made["second"].status != "ACTIVE":
            fault = made["second"].fault or {}
            raise CheckFailedError(
                f"server {made['second'].name} is {made['second'].status}: {fault.get('message', 'no fault message')}"
            )

    took = measure.seconds(boot)
    hosts = first.compute_host, made["second"].compute_host
    if hosts[0] == hosts[1]:
        raise CheckFailedError(f"both servers are on {hosts[0]} despite the hint different_host")
    seen: dict[str, dict[str, str]] = {}

    def look() -> bool:
        seen.update(guest_lines(compute.get_server_console_output(made["second"].id)["output"] or ""))
        return "peer" in seen

    if not measure.until(look, CONSOLE_DEADLINE, 2):
        raise CheckFailedError(f"the server on {hosts[1]} got no response from {address} on {hosts[0]}")
    if seen["peer"].get("uuid") != first.id:
        raise CheckFailedError(
            f"the server on {hosts[1]} reached {seen['peer'].get('uuid')} at {address} instead of {first.id}"
        )
    return Outcome(f"from {hosts[1]} to {address} on {hosts[0]}", [took])


class _Pings(threading.Thread):
    """Pings an address ten times per second and records the longest time between two replies."""

    def __init__(self, address: str) -> None:
        super().__init__(daemon=True)
        self.address = address
        self.longest = 0.0
        self.answers = 0
        self._stopped = threading.Event()
        self._last = time.monotonic()

    def run(self) -> None:
        number = 1000
        while not self._stopped.wait(0.1):
            number += 1
            try:
                icmp.ping(self.address, sequence=number % 65536)
            except OSError:
                continue
            now = time.monotonic()
            self.longest, self._last = max(self.longest, now - self._last), now
            self.answers += 1

    def stop(self) -> float:
        """Stop and return the longest gap in seconds, including the time since the last reply."""
        self._stopped.set()
        self.join()
        return max(self.longest, time.monotonic() - self._last)


@check("live-migration", requires=("floating-ip",), budget=300.0)
def live_migration(region: Region) -> Outcome:
    """The server moves to another hypervisor including its disk and keeps responding."""
    compute, server = region.cloud.compute, region.made["server"]
    _others(region)
    source = compute.get_server(server.id).compute_host
    address = region.made["address"]
    pings = _Pings(address)
    pings.start()

    def migrate() -> None:
        compute.live_migrate_server(server.id, host=None, block_migration="auto")
        latest: dict[str, Any] = {}

        def ended() -> bool:
            latest["server"] = compute.get_server(server.id)
            busy = latest["server"].task_state or latest["server"].status == "MIGRATING"
            return not busy and (latest["server"].compute_host != source or bool(_failure(region)))

        measure.until(ended, MIGRATION_DEADLINE, 1)
        if latest["server"].compute_host == source or latest["server"].status != "ACTIVE":
            reason = _failure(region) or f"status {latest['server'].status}, task {latest['server'].task_state}"
            raise CheckFailedError(f"server {server.name} did not migrate away from {source}: {reason}")
        region.made["server"] = latest["server"]

    try:
        took = measure.seconds(migrate)
        if not measure.until(lambda: pings.answers > 0, 30):
            raise CheckFailedError(f"{address} does not respond")
        answers = pings.answers
        if not measure.until(lambda: pings.answers > answers + 20, 60):
            raise CheckFailedError(f"{address} does not respond after the migration")
    finally:
        gap = pings.stop()
    target = region.made["server"].compute_host
    if gap > LONGEST_GAP:
        raise CheckFailedError(f"{address} did not respond for {gap:.1f} s while migrating from {source} to {target}")
    check_identity(address, server.id)
    return Outcome(f"{source} to {target}, longest gap {gap:.1f} s", [took])


def _failure(region: Region) -> str:
    """The reason why the server's last migration failed; empty if it did not fail."""
    for migration in region.cloud.compute.migrations(instance_uuid=region.made["server"].id):
        if migration.status in ("error", "failed", "cancelled"):
            return f"migration {migration.id} to {migration.dest_compute or 'no host'}: {migration.status}"
        return ""
    return ""
