# SPDX-License-Identifier: Apache-2.0
"""Check that a server boots, is reachable over the network, and has working consoles."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from scs_deploy.base import icmp
from scs_deploy.validate import disks, measure
from scs_deploy.validate.checks.storage import expect_writes
from scs_deploy.validate.console import ending, guest_lines
from scs_deploy.validate.guest_image import PORT
from scs_deploy.validate.region import Region
from scs_deploy.validate.registry import CheckFailedError, Outcome, check

ACTIVE_DEADLINE = 300
CONSOLE_DEADLINE = 240
REACH_DEADLINE = 90
SAMPLES = 10


@check("server", requires=("services-up", "image", "flavor", "network", "security-group"), budget=180.0, creates=True)
def server(region: Region) -> Outcome:
    """A server becomes ACTIVE."""
    expect_writes(region, "nova_images")
    made, compute = region.made, region.cloud.compute

    def boot() -> None:
        made["server"] = compute.create_server(
            name=region.name, image_id=made["image"].id, flavor_id=made["flavor"].id,
            networks=[{"uuid": made["network"].id}], security_groups=[{"name": made["security_group"].id}],
            user_data=disks.user_data(region.name),
        )  # fmt: skip
        ended = measure.until(lambda: _refresh(region).status in ("ACTIVE", "ERROR"), ACTIVE_DEADLINE)
        status = made["server"].status
        if not ended or status != "ACTIVE":
            fault = made["server"].fault or {}
            raise CheckFailedError(f"server {region.name} is {status}: {fault.get('message', 'no fault message')}")

    samples = [measure.seconds(boot)]
    return Outcome(f"on {made['server'].hypervisor_hostname or made['server'].compute_host}", samples)


def _refresh(region: Region) -> Any:
    region.made["server"] = region.cloud.compute.get_server(region.made["server"].id)
    return region.made["server"]


@check("console-log", requires=("server",), budget=240.0)
def console_log(region: Region) -> Outcome:
    """The guest gets its address by DHCP and its identity from the metadata service."""
    compute, server = region.cloud.compute, region.made["server"]
    seen: dict[str, dict[str, str]] = {}
    console = [""]

    def look() -> bool:
        console[0] = compute.get_server_console_output(server.id)["output"] or ""
        seen.update(guest_lines(console[0]))
        return "ready" in seen

    ready = measure.seconds(lambda: measure.until(look, CONSOLE_DEADLINE, 2))
    if "boot" not in seen:
        raise CheckFailedError(f"server {server.name} wrote nothing to its console within {CONSOLE_DEADLINE} s")
    if "lease" not in seen:
        raise CheckFailedError(f"server {server.name} got no DHCP lease; its console ends: {ending(console[0])}")
    if "metadata" not in seen:
        problem = "got a lease, but no response from the metadata service"
        raise CheckFailedError(f"server {server.name} {problem}; its console ends: {ending(console[0])}")
    port = _port(region)
    fixed = port.fixed_ips[0]["ip_address"]
    if seen["lease"].get("ip") != fixed:
        raise CheckFailedError(f"server {server.name} leased {seen['lease'].get('ip')}, but its port has {fixed}")
    if seen["metadata"].get("uuid") != server.id:
        raise CheckFailedError(f"the metadata service gave server {server.id} the ID {seen['metadata'].get('uuid')}")
    mtu = region.cloud.network.get_network(region.made["network"].id).mtu
    if seen["lease"].get("mtu") != str(mtu):
        raise CheckFailedError(f"DHCP sent MTU {seen['lease'].get('mtu') or 'none'}, but the network has {mtu}")
    return Outcome(f"lease {fixed}, MTU {mtu}, metadata after {seen['metadata'].get('uptime')} s of uptime", [ready])


@check("name-resolution", requires=("console-log",), budget=1.0)
def name_resolution(region: Region) -> Outcome:
    """The guest's DNS servers can be asked from a guest, and its own name resolves to its address."""
    server = region.made["server"]
    console = region.cloud.compute.get_server_console_output(server.id)["output"] or ""
    seen = guest_lines(console).get("dns", {})
    servers = [s for s in seen.get("servers", "").split(",") if s]
    if not servers:
        raise CheckFailedError(f"server {server.name} got no DNS servers with its lease")
    if away := [s for s in servers if ip_address(s).is_loopback]:
        raise CheckFailedError(f"server {server.name} got {', '.join(away)} as DNS server, which is the guest itself")
    fixed = _port(region).fixed_ips[0]["ip_address"]
    if seen.get("address") != fixed:
        found = seen.get("address") or "nothing"
        raise CheckFailedError(f"server {server.name}: the name {seen.get('name')} resolves to {found}, not to {fixed}")
    return Outcome(f"{seen['name']} is {fixed}; DNS servers {', '.join(servers)}")


def _port(region: Region) -> Any:
    return next(iter(region.cloud.network.ports(device_id=region.made["server"].id)))


@check("floating-ip", requires=("console-log",), budget=1.0, creates=True)
def floating_ip(region: Region) -> Outcome:
    """The manager reaches the server on a floating IP with ICMP and TCP."""
    network, server = region.cloud.network, region.made["server"]
    ip = network.create_ip(
        floating_network_id=region.made["external"].id, port_id=_port(region).id, description=region.name
    )
    address = region.made["address"] = ip.floating_ip_address
    problem = [f"{address}: no response"]

    def reached() -> bool:
        try:
            icmp.ping(address)
            check_identity(address, server.id)
        except OSError as error:
            problem[0] = f"{address}: {error}"
            return False
        return True

    if not measure.until(reached, REACH_DEADLINE):
        raise CheckFailedError(f"floating IP not reachable within {REACH_DEADLINE} s: {problem[0]}")
    echoes = [icmp.ping(address, sequence=n) for n in range(SAMPLES)]
    tcp = measure.repeat(SAMPLES, lambda: check_identity(address, server.id))
    icmp_text = f"{address}: ICMP p50 {measure.percentile(echoes, 0.5) * 1000:.1f} ms"
    return Outcome(f"{icmp_text}, TCP p50 {measure.percentile(tcp, 0.5) * 1000:.1f} ms", [*echoes, *tcp])


def check_identity(address: str, expected: str) -> None:
    """Check the instance ID that the guest at an address serves.

    :raises CheckFailedError: another server responded
    """
    answer = measure.http_get(f"http://{address}:{PORT}/instance-id", timeout=5)
    if answer.body.strip() != expected:
        raise CheckFailedError(f"{address}:{PORT} is server {answer.body.strip()[:40]!r}, expected {expected}")


@check("console-url", requires=("server",), budget=5.0)
def console_url(region: Region) -> Outcome:
    """The server's graphical console works: its page over HTTPS, and VNC over its WebSocket."""
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
        raise CheckFailedError(f"{shown}: the WebSocket returned HTTP {status}, not 101")
    if not greeting.startswith(b"RFB "):
        raise CheckFailedError(f"{shown}: the WebSocket opened, but sent no VNC greeting")
    return Outcome(f"{shown}, {greeting.decode(errors='replace').strip()}", [answer.seconds])
