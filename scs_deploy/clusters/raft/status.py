# SPDX-License-Identifier: Apache-2.0
"""Parser for `ovs-appctl cluster/status`. Source: ovsdb-server(1), "Cluster Commands"."""

from __future__ import annotations

import re

from scs_deploy.base.model import Model


class RaftServer(Model):
    """A member of an OVSDB cluster, as listed by one of its servers."""

    id: str
    """four hexadecimal digits"""
    address: str
    """without scheme and port"""
    last: int | None
    """milliseconds since its last message; None for the server itself, or if there was none"""


class Raft(Model):
    """A server's view of its cluster."""

    id: str
    status: str
    role: str
    leader: str
    """server id; '' if unknown"""
    servers: tuple[RaftServer, ...]

    @property
    def member(self) -> bool:
        """Whether it is a member and knows the leader."""
        return self.status == "cluster member" and bool(self.leader)


_SERVER = re.compile(
    r"^\s+(?P<id>[0-9a-f]{4}) \(\S+ at \w+:\[?(?P<address>[^\]\s]+?)\]?:\d+\)(?P<self> \(self\))?"
    r".*?(?:last msg (?P<last>\d+) ms ago)?$"
)


def raft(text: str) -> Raft | None:
    """Parse a status; None if the text is not one."""
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
    """Ids of a host's earlier members that a cluster still lists.

    :param address: the host's management address
    :param own: the current id of the host's member; '' if it does not respond
    :param empty: the host has no member now, so every id at its address belongs to an earlier one
    """
    if not own and not empty:
        # it may only be stopped: its file still has the id, and it could not rejoin after a kick
        return ()
    return tuple(s.id for s in status.servers if s.address == address and s.id != own)
