# SPDX-License-Identifier: Apache-2.0
"""Does a server boot, does the network reach it, and can it be seen."""

from __future__ import annotations

import re
from typing import Any

from scs_deploy.base import icmp
from scs_deploy.validate import measure
from scs_deploy.validate.guest_image import MARKER, PORT
from scs_deploy.validate.region import Region
from scs_deploy.validate.registry import CheckFailedError, Outcome, check

ACTIVE_DEADLINE = 300
CONSOLE_DEADLINE = 240
REACH_DEADLINE = 90
SAMPLES = 10


@check("server", requires=("services-up", "image", "flavor", "network", "security-group"), budget=180.0, creates=True)
def server(region: Region) -> Outcome:
    """A server becomes ACTIVE."""
    made, compute = region.made, region.cloud.compute

    def boot() -> None:
        made["server"] = compute.create_server(
            name=region.name, image_id=made["image"].id, flavor_id=made["flavor"].id,
            networks=[{"uuid": made["network"].id}], security_groups=[{"name": made["security_group"].id}],
        )  # fmt: skip
        ended = measure.until(lambda: _refresh(region).status in ("ACTIVE", "ERROR"), ACTIVE_DEADLINE)
        status = made["server"].status
        if not ended or status != "ACTIVE":
            fault = made["server"].fault or {}
            raise CheckFailedError(f"server {region.name} is {status}: {fault.get('message', 'no reason given')}")

    samples = [measure.seconds(boot)]
    return Outcome(f"on {made['server'].hypervisor_hostname or made['server'].compute_host}", samples)


def _refresh(region: Region) -> Any:
    region.made["server"] = region.cloud.compute.get_server(region.made["server"].id)
    return region.made["server"]


def guest_lines(console: str) -> dict[str, dict[str, str]]:
    """What the guest wrote on its console: word after the marker -> its key=value pairs (the last such line)."""
    found: dict[str, dict[str, str]] = {}
    for line in re.findall(rf"{re.escape(MARKER)} ([^\r\n]*)", console):
        word, *pairs = line.split()
        found[word] = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    return found


def ending(console: str) -> str:
    """The last lines that a guest wrote, on one line."""
    lines = [" ".join(line.split()) for line in console.splitlines()]
    return " | ".join([line for line in lines if line.isprintable() and line][-3:])


@check("console-log", requires=("server",), budget=240.0)
def console_log(region: Region) -> Outcome:
    """The guest got its address by DHCP and its identity from the metadata service."""
    compute, server = region.cloud.compute, region.made["server"]
    seen: dict[str, dict[str, str]] = {}
    console = [""]

    def look() -> bool:
        console[0] = compute.get_server_console_output(server.id)["output"] or ""
        seen.update(guest_lines(console[0]))
        return "ready" in seen

    ready = measure.seconds(lambda: measure.until(look, CONSOLE_DEADLINE, 2))
    if "boot" not in seen:
        raise CheckFailedError(f"server {server.name} wrote nothing on its console in {CONSOLE_DEADLINE} s")
    if "lease" not in seen:
        raise CheckFailedError(f"server {server.name} got no DHCP lease; its console ends: {ending(console[0])}")
    if "metadata" not in seen:
        said = "got a lease, but the metadata service did not answer it"
        raise CheckFailedError(f"server {server.name} {said}; its console ends: {ending(console[0])}")
    port = _port(region)
    fixed = port.fixed_ips[0]["ip_address"]
    if seen["lease"].get("ip") != fixed:
        raise CheckFailedError(f"server {server.name} leased {seen['lease'].get('ip')}, its port has {fixed}")
    if seen["metadata"].get("uuid") != server.id:
        raise CheckFailedError(f"metadata told server {server.id} that it is {seen['metadata'].get('uuid')}")
    mtu = region.cloud.network.get_network(region.made["network"].id).mtu
    if seen["lease"].get("mtu") != str(mtu):
        raise CheckFailedError(f"DHCP said MTU {seen['lease'].get('mtu') or 'nothing'}, the network has {mtu}")
    return Outcome(f"lease {fixed}, MTU {mtu}, metadata after {seen['metadata'].get('uptime')} s of uptime", [ready])


def _port(region: Region) -> Any:
    return next(iter(region.cloud.network.ports(device_id=region.made["server"].id)))


@check("floating-ip", requires=("console-log",), budget=1.0, creates=True)
def floating_ip(region: Region) -> Outcome:
    """The server answers ICMP and TCP on a floating IP, from the manager."""
    network, server = region.cloud.network, region.made["server"]
    ip = network.create_ip(
        floating_network_id=region.made["external"].id, port_id=_port(region).id, description=region.name
    )
    address = region.made["address"] = ip.floating_ip_address
    problem = [f"{address}: no answer"]

    def reached() -> bool:
        try:
            icmp.ping(address)
            ask(address, server.id)
        except OSError as error:
            problem[0] = f"{address}: {error}"
            return False
        return True

    if not measure.until(reached, REACH_DEADLINE):
        raise CheckFailedError(f"floating IP not reached in {REACH_DEADLINE} s: {problem[0]}")
    echoes = [icmp.ping(address, sequence=n) for n in range(SAMPLES)]
    tcp = measure.repeat(SAMPLES, lambda: ask(address, server.id))
    told = f"{address}: ICMP p50 {measure.percentile(echoes, 0.5) * 1000:.1f} ms"
    return Outcome(f"{told}, TCP p50 {measure.percentile(tcp, 0.5) * 1000:.1f} ms", [*echoes, *tcp])


def ask(address: str, expected: str) -> None:
    """Ask the guest for its instance id.

    :raises CheckFailedError: another server answers
    """
    answer = measure.http_get(f"http://{address}:{PORT}/instance-id", timeout=5)
    if answer.body.strip() != expected:
        raise CheckFailedError(f"{address}:{PORT} answers as {answer.body.strip()[:40]!r}, not as server {expected}")


@check("console-url", requires=("server",), budget=5.0)
def console_url(region: Region) -> Outcome:
    """The server's graphical console answers: the page over HTTPS, and VNC through its WebSocket."""
    console = region.cloud.compute.create_console(region.made["server"].id, "novnc", "vnc")
    url = console["url"]
    shown = url.partition("?")[0]  # the rest is a token
    if not url.startswith("https://"):
        raise CheckFailedError(f"{shown}: not https")
    answer = measure.http_get(url, region.ca)
    if answer.status != 200:
        raise CheckFailedError(f"{shown}: HTTP {answer.status}")
    status, greeting = measure.websocket_greeting(url, region.ca, measure.console_path(url))
    if status != 101:
        raise CheckFailedError(f"{shown}: the WebSocket answers HTTP {status}, not 101")
    if not greeting.startswith(b"RFB "):
        raise CheckFailedError(f"{shown}: the WebSocket opens, but no VNC server speaks on it")
    return Outcome(f"{shown}, {greeting.decode(errors='replace').strip()}", [answer.seconds])
