# SPDX-License-Identifier: Apache-2.0
"""`ovs-appctl cluster/status` as data. Source: ovsdb-server(1), "Cluster Commands"."""

from __future__ import annotations

import re

from scs_deploy.base.model import Model


class RaftServer(Model):
    """A member of an OVSDB cluster, as one member lists it."""

    id: str
    """four digits"""
    address: str
    """without scheme and port"""
    last: int | None
    """milliseconds since it was heard of; None: itself, or never"""


class Raft(Model):
    """A server's view."""

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
    """None when this is no status."""
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


def stale(status: Raft, address: str, own: str, empty: bool) -> tuple[str, ...]:
    """Ids under which a cluster still lists a host's earlier members.

    :param address: the host's management address
    :param own: the id that the host's member has now; '' when it does not answer
    :param empty: the host has no member at all, so every id of its address is an earlier one's
    """
    if not own and not empty:
        # it may be stopped only: the id is in its file, and once kicked it could not come back
        return ()
    return tuple(s.id for s in status.servers if s.address == address and s.id != own)
