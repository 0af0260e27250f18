# SPDX-License-Identifier: Apache-2.0
"""Somebody whom the region does not know, on one of its networks: a namespace of this machine."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Network
from xml.etree import ElementTree

from scs_deploy.base import docker_engine
from scs_deploy.region.region import Region

Open = set[tuple[str, int]]
"""Addresses and TCP ports that accept a connection."""
NAMESPACE = "scs-stranger"
DEVICE = "scs-stranger0"


def run(*command: str) -> str:
    """Run a command on this machine; returns its output."""
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=1800).stdout


@contextmanager
def on_network(inputs: Region, network: str, routes: IPv4Network | None = None, via: str = "") -> Iterator[None]:
    """A namespace with an interface on a network of the testbed.

    :param routes: network that it reaches through the host address `via`
    """
    settings = inputs.environment.settings
    cidr = settings.networks[network].cidr
    assert isinstance(cidr, IPv4Network)
    taken = {str(n.address) for h in inputs.inventory.hosts.values() for n in h.networks.values()}
    taken |= {str(settings.api.internal.address), str(settings.api.external.address)}
    address = next(a for a in map(str, (cidr[i] for i in range(100, 120))) if a not in taken)
    name = f"scs-{inputs.environment.name}-{network}"
    bridge = f"br-{str(docker_engine.connect().networks.list(names=[name])[0].id)[:12]}"
    inside = ("ip", "netns", "exec", NAMESPACE)
    run("ip", "netns", "add", NAMESPACE)
    try:
        run("ip", "link", "add", DEVICE, "type", "veth", "peer", "name", "eth0", "netns", NAMESPACE)
        run("ip", "link", "set", DEVICE, "master", bridge, "up")
        run(*inside, "ip", "address", "add", f"{address}/{cidr.prefixlen}", "dev", "eth0")
        run(*inside, "ip", "link", "set", "eth0", "up")
        if routes:
            run(*inside, "ip", "route", "add", str(routes), "via", via)
        yield
    finally:
        run("ip", "netns", "delete", NAMESPACE)


def scan(addresses: Iterable[str]) -> Open:
    """All open TCP ports of these addresses, as nmap sees them from the namespace."""
    report = run(
        "ip", "netns", "exec", NAMESPACE, "nmap", "-n", "-Pn", "-sS", "-p-", "--open", "--min-rate", "8000",
        "--max-retries", "1", "-oX", "-", *addresses,
    )  # fmt: skip
    found: Open = set()
    for host in ElementTree.fromstring(report).iter("host"):
        address = next(a.attrib["addr"] for a in host.iter("address") if a.attrib["addrtype"] == "ipv4")
        found |= {
            (address, int(port.attrib["portid"]))
            for port in host.iter("port")
            if port.find("state[@state='open']") is not None
        }
    return found
