#!/usr/bin/python3 -S
# SPDX-License-Identifier: Apache-2.0
"""Metrics of OVN and Open vSwitch on this host, from their UNIX sockets.

Takes the port to show them at, and what the host is: `control`, `chassis` or both. What does not answer is 0, so that
its absence can be told from that of the exporter.

Sources: ovs-appctl(8) for the protocol (JSON-RPC), ovsdb-server(1) "Cluster Commands", ovn-northd(8) and
ovn-controller(8) "Runtime Management Commands", RFC 7047
"""

import json
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from exposition import Sample, serve, text

OVN, OVS = Path("/run/ovn"), Path("/run/openvswitch")
DATABASES = {"OVN_Northbound": "ovnnb_db.ctl", "OVN_Southbound": "ovnsb_db.ctl"}
PATIENCE = 10
"""Seconds."""

HELP = {
    "ovn_raft_has_leader": "1 if this member of a database's cluster knows a leader",
    "ovn_raft_leader": "1 if this member is the leader",
    "ovn_raft_term": "elections since the cluster was created",
    "ovn_raft_log_index": "end of the log of this member",
    "ovn_raft_servers": "members of the cluster",
    "ovn_raft_connected": "members that this one is connected to, itself included",
    "ovn_raft_uncommitted": "entries of the log that no majority has yet",
    "ovn_northd_active": "1 if this northd is the one that works",
    "ovn_northd_connected": "1 if northd is connected to the database",
    "ovn_controller_connected": "1 if ovn-controller is connected to the southbound database",
    "ovs_up": "1 if the process of Open vSwitch answers",
    "ovs_bridges": "bridges",
    "ovs_ports": "ports of all bridges",
    "ovs_interfaces_failed": "interfaces that Open vSwitch could not set up",
}


def call(path: Path, method: str, params: list[Any]) -> Any:
    """The result of a JSON-RPC call over a UNIX socket.

    :raises OSError: nobody answers
    :raises ValueError: the answer is an error
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(str(path))
        connection.sendall(json.dumps({"id": 0, "method": method, "params": params}).encode())
        said = ""
        while part := connection.recv(65536):
            said += part.decode(errors="replace")
            try:
                answer = json.loads(said)
            except ValueError:
                continue
            if answer.get("error"):
                raise ValueError(f"{path.name} {method}: {answer['error']}")
            return answer["result"]
    raise OSError(f"{path.name}: connection ended")


def asked(path: Path, method: str, *params: Any) -> Any:
    """As `call`; None instead of an error, which is told."""
    try:
        return call(path, method, list(params))
    except (OSError, ValueError, KeyError) as error:
        print(f"{path.name} {method}: {error}", file=sys.stderr, flush=True)
        return None


def raft(database: str, status: str | None) -> Iterator[Sample]:
    """What `cluster/status` says of a member."""
    labels = {"database": database}

    def field(pattern: str) -> str:
        found = re.search(pattern, status or "", re.MULTILINE)
        return found.group(1) if found else ""

    member = field(r"^Status: (.+)$") == "cluster member"
    yield "ovn_raft_has_leader", labels, member and field(r"^Leader: (\S+)$") not in ("", "unknown")
    yield "ovn_raft_leader", labels, member and field(r"^Role: (\S+)$") == "leader"
    if not status:
        return
    for name, pattern in (
        ("ovn_raft_term", r"^Term: (\d+)$"),
        ("ovn_raft_log_index", r"^Log: \[\d+, (\d+)\]$"),
        ("ovn_raft_uncommitted", r"^Entries not yet committed: (\d+)$"),
    ):
        if number := field(pattern):
            yield name, labels, float(number)
    # a connection that is not there is in brackets; each of two members may have opened one
    connected = set(re.findall(r"[<-][->]([0-9a-f]{4})(?![0-9a-f)])", field(r"^Connections:(.*)$")))
    yield "ovn_raft_connected", labels, len(connected) + 1
    yield "ovn_raft_servers", labels, len(re.findall(r"^    [0-9a-f]{4} \(", status, re.MULTILINE))


def control() -> Iterator[Sample]:
    """The databases and northd."""
    for database, socket_name in DATABASES.items():
        yield from raft(database, asked(OVN / socket_name, "cluster/status", database))
    northd = OVN / "ovn-northd.ctl"
    yield "ovn_northd_active", {}, (asked(northd, "status") or "").strip() == "Status: active"
    for database, method in (("OVN_Northbound", "nb-connection-status"), ("OVN_Southbound", "sb-connection-status")):
        yield "ovn_northd_connected", {"database": database}, (asked(northd, method) or "").strip() == "connected"


def chassis() -> Iterator[Sample]:
    """The controller and the switch."""
    said = asked(OVN / "ovn-controller.ctl", "connection-status")
    yield "ovn_controller_connected", {}, (said or "").strip() == "connected"
    yield "ovs_up", {"process": "ovs-vswitchd"}, asked(OVS / "ovs-vswitchd.ctl", "version") is not None
    select = {"op": "select", "where": []}
    tables = asked(
        OVS / "db.sock", "transact", "Open_vSwitch",
        {**select, "table": "Bridge", "columns": ["name"]},
        {**select, "table": "Port", "columns": ["name"]},
        {**select, "table": "Interface", "where": [["error", "!=", ["set", []]]], "columns": ["name"]},
    )  # fmt: skip
    yield "ovs_up", {"process": "ovsdb-server"}, tables is not None
    for name, table in zip(("ovs_bridges", "ovs_ports", "ovs_interfaces_failed"), tables or (), strict=False):
        yield name, {}, len(table["rows"])


def samples(roles: list[str]) -> Iterator[Sample]:
    """Of all that the host is."""
    if "control" in roles:
        yield from control()
    if "chassis" in roles:
        yield from chassis()


if __name__ == "__main__":
    serve(int(sys.argv[1]), lambda: text(samples(sys.argv[2:]), HELP))
