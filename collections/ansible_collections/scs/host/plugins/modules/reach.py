#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Says on which ports a host listens, and to which ports of other hosts it can connect."""

DOCUMENTATION = r"""
module: reach
short_description: Listening ports of a host, and which ports of others it reaches
description:
  - Returns the TCP ports on which processes of the host listen, other than on loopback.
  - With C(probes), connects from addresses and interfaces of the host to ports of other hosts, sends nothing, and
    returns which connections were accepted. Routes that this needs exist for these addresses only, and go afterwards.
options:
  probes:
    description: Where to connect; a list of [own address, own interface or empty, router or empty, address, port].
    type: list
    elements: list
    default: []
  timeout:
    description: Seconds to wait for an answer.
    type: float
    default: 2
author: SCS deploy contributors
"""
EXAMPLES = r"""
- name: Connect to another host's cache
  scs.host.reach:
    probes: [[192.0.2.11, eth0, "", 192.0.2.12, 11211]]
"""
RETURN = r"""
listening:
  description: Address and port of each listening socket.
  type: list
  returned: always
addresses:
  description: Each address of the host, and the interface that has it.
  type: dict
  returned: always
accepted:
  description: Numbers of the probes that were accepted, from 0.
  type: list
  returned: always
"""

import contextlib
import ipaddress
import json
import selectors
import socket
import subprocess
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule

TABLE = 5309
"""Number of the first routing table, and priority of the rules that lead there."""
AT_ONCE = 400


def listening() -> "list[tuple[str, int]]":
    """(address, port) of the listening TCP sockets, but those on loopback. /proc/net/tcp, proc(5)."""
    found = set()
    for name, family in (("/proc/net/tcp", socket.AF_INET), ("/proc/net/tcp6", socket.AF_INET6)):
        try:
            with open(name) as stream:
                lines = stream.read().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            part = line.split()
            if part[3] != "0A":
                continue
            address, port = part[1].split(":")
            raw = bytes.fromhex(address)
            text = socket.inet_ntop(family, b"".join(raw[i : i + 4][::-1] for i in range(0, len(raw), 4)))
            if not ipaddress.ip_address(text).is_loopback:
                found.add((text, int(port, 16)))
    return sorted(found)


def addresses() -> "dict[str, str]":
    """Each address of the host, and the interface that has it."""
    done = subprocess.run(["ip", "-json", "address"], capture_output=True, text=True, check=False)
    links = json.loads(done.stdout or "[]")
    return {entry["local"]: link["ifname"] for link in links for entry in link.get("addr_info", ()) if "local" in entry}


def ip(*arguments: str) -> bool:
    """Whether an ip command succeeds."""
    return subprocess.run(["ip", *arguments], capture_output=True, check=False).returncode == 0


@contextlib.contextmanager
def routes(probes: "list[list[Any]]") -> Any:
    """Routes through another host, for the probes that name one."""
    wanted = sorted({(p[1], p[2], p[3]) for p in probes if p[2]})
    # a table for each router: several lead to the same address
    tables = {router: TABLE + i for i, router in enumerate(sorted({w[1] for w in wanted}))}
    try:
        for device, router, address in wanted:
            family, table = "-6" if ":" in address else "-4", str(tables[router])
            ip(family, "route", "replace", address, "via", router, "dev", device, "onlink", "table", table)
        yield tables
    finally:
        for number in tables.values():
            for family in ("-4", "-6"):
                ip(family, "route", "flush", "table", str(number))


@contextlib.contextmanager
def marked(tables: "dict[str, int]") -> Any:
    """Rules that lead marked packets, and no others, to those routes."""
    made = []
    try:
        for table in tables.values():
            for family in ("-4", "-6"):
                rule = ("fwmark", hex(table), "lookup", str(table), "priority", str(TABLE))
                if ip(family, "rule", "add", *rule):
                    made.append((family, rule))
        yield
    finally:
        for family, rule in made:
            ip(family, "rule", "del", *rule)


def connect(probes: "list[list[Any]]", timeout: float) -> "list[int]":
    """Numbers of the probes that were accepted."""
    accepted: list[int] = []
    with routes(probes) as tables, marked(tables):
        for start in range(0, len(probes), AT_ONCE):
            accepted += some(probes, range(start, min(start + AT_ONCE, len(probes))), tables, timeout)
    return accepted


def some(probes: "list[list[Any]]", numbers: range, tables: "dict[str, int]", timeout: float) -> "list[int]":
    """Connect to some of the probes at the same time."""
    accepted = []
    with selectors.DefaultSelector() as selector:
        for number in numbers:
            own, device, router, address, port = probes[number]
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            probe = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            try:
                if router:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, tables[router])
                elif device:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
                probe.bind((own, 0))
                probe.connect_ex((address, int(port)))
            except OSError:
                probe.close()
                continue
            selector.register(probe, selectors.EVENT_WRITE, number)
        end = time.monotonic() + timeout
        while selector.get_map() and time.monotonic() < end:
            for key, _ in selector.select(max(0.0, end - time.monotonic())):
                probe = key.fileobj  # type: ignore[assignment]
                if not probe.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    accepted.append(int(key.data))
                selector.unregister(probe)
                probe.close()
        for key in list(selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
    return accepted


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        {
            "probes": {"type": "list", "elements": "list", "default": []},
            "timeout": {"type": "float", "default": 2.0},
        },
        supports_check_mode=True,
    )
    probes = module.params["probes"] if not module.check_mode else []
    module.exit_json(
        changed=False, listening=listening(), addresses=addresses(),
        accepted=sorted(connect(probes, module.params["timeout"])),
    )  # fmt: skip


if __name__ == "__main__":
    main()
