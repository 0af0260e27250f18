# SPDX-License-Identifier: Apache-2.0
"""HAProxy's driver: which servers its members send requests to. Members are independent of each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from scs_deploy.clusters.base import Answers, Balancer, ClusterDriver, Seen, Server
from scs_deploy.desired.endpoints import endpoints
from scs_deploy.engine.access import Access
from scs_deploy.engine.remote import Command
from scs_deploy.region.region import Region

CONTAINER = "haproxy"
ADMIN = "/run/scs/haproxy/admin.sock"


UNCHECKED = "_unchecked"
"""Ends the name of a backend with another one's servers, which says nothing of their health (haproxy.cfg)."""


def tell(*commands: str) -> Command:
    """Send commands to the admin socket."""
    script = f'printf "%s\\n" "{"; ".join(commands)}" | nc -N -U -w 5 {ADMIN}'
    return Command(container=CONTAINER, argv=("sh", "-c", script), timeout=20)


SERVERS = tell("show servers state")


class Driver(ClusterDriver, Balancer):
    """Load balancers with identical configuration."""

    def questions(self, host: str) -> dict[str, Command]:
        """States of all servers, and the active server of each backend with a single active member."""
        if not self.here(host, CONTAINER):
            return {}
        return {"servers": SERVERS, **{name: tell(f"show table {name}") for name in singles(self.region)}}

    def parse(self, answers: Answers) -> Seen:
        """The servers in every load balancer."""
        found = tuple(s for h, a in answers.items() if "servers" in a for s in parse(h, a["servers"].output))
        tables = {
            name: [a[name].output for a in answers.values() if name in a]
            for name in singles(self.region)
        }  # fmt: skip
        used = {name: in_use(found, name, texts) for name, texts in tables.items()}
        return Seen(servers=found, balancers=self.hosts, used={name: host for name, host in used.items() if host})

    def move(
        self, access: Access, balancers: Iterable[str], server: str, states: Mapping[str, str], wait: int = 0
    ) -> dict[str, dict[str, int]]:
        """Use scs.core.balancer, which waits for sessions to end."""
        return self._balance(access, tuple(balancers), server, states=dict(states), wait=wait)

    def mark(self, access: Access, host: str, drained: bool) -> None:
        """Write a file next to the sockets, which keepalived checks."""
        self._balance(access, (host,), host, mark=drained)

    def down(self, access: Access, balancers: Iterable[str], server: str) -> str:
        """`<backend> at <balancer>` for each server that is not up and ready."""
        answers = access.run({b: [SERVERS] for b in balancers}).by_host
        found = (s for b, a in answers.items() for s in parse(b, a[0].output))
        down = (s for s in found if s.host == server and not (s.up and s.state == "ready"))
        return ", ".join(sorted(f"{s.backend} at {s.balancer}" for s in down))

    def _balance(
        self, access: Access, hosts: tuple[str, ...], server: str, **arguments: Any
    ) -> dict[str, dict[str, int]]:
        task = {"name": "Balance", "scs.core.balancer": {"server": server, **arguments}}
        return {h: r.get("sessions") or {} for h, r in access.task(task, hosts).items()}


def singles(region: Region) -> list[str]:
    """Backends with a single active member."""
    return [e.name for e in endpoints(region) if e.balance == "single" and len(e.backends) > 1]


def in_use(servers: Iterable[Server], backend: str, tables: Iterable[str]) -> str:
    """The host of a backend's active server; '' if none works.

    :param tables: the backend's stick table in every load balancer
    """
    found = [word.partition("=")[2] for text in tables for word in text.split() if word.startswith("server_key=")]
    working = sorted(s.host for s in servers if s.backend == backend and s.up and s.state == "ready")
    # an entry outlives its server until the next connection
    return next((h for h in found if h in working), working[0]) if working else ""


def parse(balancer: str, text: str) -> list[Server]:
    """Parse `show servers state`.

    Source: HAProxy management guide, 9.3, "show servers state"
    """
    lines = [line for line in text.splitlines() if line]
    if len(lines) < 2 or not lines[1].startswith("# be_id"):
        return []
    names = lines[1].lstrip("# ").split()
    result = []
    for row in (dict(zip(names, line.split(), strict=False)) for line in lines[2:]):
        if row["be_name"].endswith(UNCHECKED):
            continue
        bits = int(row["srv_admin_state"])
        state = "maint" if bits & 1 else "drain" if bits & 8 else "ready"
        up = row["srv_op_state"] == "2"
        result.append(Server(balancer=balancer, backend=row["be_name"], host=row["srv_name"], up=up, state=state))
    return result
