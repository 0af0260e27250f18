# SPDX-License-Identifier: Apache-2.0
"""What the region's programs print, as data. Formats: the manual pages of each, versions as in the release."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from scs_deploy.base.model import Model

GALERA = (
    "SELECT VARIABLE_NAME, VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME IN "
    "('WSREP_LOCAL_STATE', 'WSREP_CLUSTER_STATUS', 'WSREP_CLUSTER_SIZE', 'WSREP_READY')"
)


class RaftServer(Model):
    """A member of an OVSDB cluster, as one member lists it."""

    id: str
    """four digits"""
    address: str
    """without scheme and port"""
    last: int | None
    """milliseconds since it was heard of; None: itself, or never"""


class Raft(Model):
    """`ovs-appctl cluster/status`."""

    id: str
    status: str
    role: str
    leader: str
    """server id; '' when unknown"""
    servers: tuple[RaftServer, ...]

    @property
    def member(self) -> bool:
        """It takes part, and knows the leader."""
        return self.status == "cluster member" and bool(self.leader)


_SERVER = re.compile(
    r"^\s+(?P<id>[0-9a-f]{4}) \(\S+ at \w+:\[?(?P<address>[^\]\s]+?)\]?:\d+\)(?P<self> \(self\))?"
    r".*?(?:last msg (?P<last>\d+) ms ago)?$"
)


def raft(text: str) -> Raft | None:
    """None when this is no status.

    Source: ovsdb-server(1), cluster/status
    """
    fields = dict(re.findall(r"^(Server ID|Status|Role|Leader): (\S.*)$", text, re.MULTILINE))
    if not {"Server ID", "Status"} <= fields.keys():
        return None
    own = fields["Server ID"].split()[0]
    servers = tuple(
        RaftServer(id=m["id"], address=m["address"], last=int(m["last"]) if m["last"] else None)
        for line in text.splitlines()
        if (m := _SERVER.match(line))
    )
    leader = fields.get("Leader", "unknown").split()[0]
    return Raft(
        id=own,
        status=fields["Status"],
        role=fields.get("Role", ""),
        leader={"self": own, "unknown": ""}.get(leader, leader),
        servers=servers,
    )


def galera(text: str) -> Mapping[str, str]:
    """The answer to GALERA: variable in capitals: value; empty when the server did not answer."""
    pairs = [line.split("\t") for line in text.splitlines() if line.startswith("WSREP_") and "\t" in line]
    return {p[0].upper(): p[1] for p in pairs}


def galera_works(values: Mapping[str, str]) -> bool:
    """A member of the primary component that takes reads and writes: synced, or giving its data to a new member."""
    return (
        values.get("WSREP_CLUSTER_STATUS") == "Primary"
        and values.get("WSREP_READY") == "ON"
        and values.get("WSREP_LOCAL_STATE") in ("2", "4")
    )


def addresses(text: str) -> frozenset[str]:
    """Of `ip -json address`."""
    try:
        found = json.loads(text)
    except ValueError:
        return frozenset()
    return frozenset(a["local"] for link in found for a in link.get("addr_info", ()) if "local" in a)


def servers(text: str) -> list[dict[str, Any]]:
    """Of HAProxy's `show servers state`: backend, name, up, state (ready, drain or maint).

    Source: HAProxy management guide, 9.3, "show servers state"
    """
    lines = [line for line in text.splitlines() if line]
    if len(lines) < 2 or not lines[1].startswith("# be_id"):
        return []
    names = lines[1].lstrip("# ").split()
    result = []
    for line in lines[2:]:
        row = dict(zip(names, line.split(), strict=False))
        bits = int(row["srv_admin_state"])
        state = "maint" if bits & 1 else "drain" if bits & 8 else "ready"
        result.append(
            {"backend": row["be_name"], "name": row["srv_name"], "up": row["srv_op_state"] == "2", "state": state}
        )
    return result


def bindings(ports: str, chassis: str) -> dict[str, tuple[str, ...]]:
    """Router gateway ports by chassis.

    :param ports: `ovn-sbctl --format=json --columns=logical_port,chassis find Port_Binding type=chassisredirect`
    :param chassis: `ovn-sbctl --format=json --columns=_uuid,name list Chassis`
    """
    try:
        names = {row[0][1]: row[1] for row in json.loads(chassis)["data"]}
        rows = json.loads(ports)["data"]
    except (ValueError, KeyError, IndexError):
        return {}
    result: dict[str, list[str]] = {}
    for port, at in rows:
        # an optional reference is ["uuid", id], or ["set", []] when there is none
        if at[0] == "uuid" and at[1] in names:
            result.setdefault(names[at[1]], []).append(port)
    return {name: tuple(sorted(own)) for name, own in result.items()}
