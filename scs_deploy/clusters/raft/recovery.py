# SPDX-License-Identifier: Apache-2.0
"""OVN's northbound and southbound databases: compares the servers in each Raft cluster with the inventory. Pure.

Sources: ovsdb(7) "Clustered Database Service Model", ovsdb-server(1) "Cluster Commands", ovsdb-tool(1)
cluster-to-standalone, create-cluster.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from enum import StrEnum

from pydantic import Field

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import Model
from scs_deploy.clusters.base import Recovery, RecoveryOptions, RecoveryStep, known, names
from scs_deploy.engine.remote import ContainerState

SERVICE = "ovn"


class File(StrEnum):
    """A member's database file."""

    PRESENT = "present"
    MISSING = "missing"
    JOINING = "joining"
    """of a new server that no cluster has accepted yet; it holds no data"""
    TORN = "torn"
    """its end is unreadable; after a power cut, a server may still accept it"""
    DAMAGED = "damaged"
    UNKNOWN = "unknown"


class Server(Model):
    """A running server's view of its cluster: `ovs-appctl cluster/status`."""

    sid: str
    """server id, its first four digits, as in the cluster's list"""
    status: str
    """`cluster member`, `joining cluster`, `left cluster` ..."""
    role: str
    term: int
    leader: str
    """a server id, `self` or `unknown`"""
    log: int
    """index after the last entry of its log"""
    servers: dict[str, str] = Field(default_factory=dict)
    """server id: address of each server that it counts"""


class Member(Model):
    """The observed state of one member of one database."""

    host: str
    address: str
    """of its Raft server: the host's management address"""
    container: ContainerState
    why: str = ""
    server: Server | None = None
    file: File = File.UNKNOWN
    file_sid: str = ""

    @property
    def sid(self) -> str:
        """Its server id, whether it runs or not; '' without a database."""
        return self.server.sid if self.server else self.file_sid

    @property
    def working(self) -> bool:
        """Whether it is a member and knows the leader."""
        return self.server is not None and self.server.status == "cluster member" and self.server.leader != "unknown"


class RaftOptions(RecoveryOptions):
    """Repair OVN's databases: replace a lost member, remove servers of removed hosts, rebuild a lost quorum.

    With --without the cluster forgets that member; without it, an unreachable one stays a member.
    """

    source: str = Field(
        default="",
        description="The quorum is lost for good: make a new cluster of this member's data.",
        json_schema_extra={"option": "--from", "metavar": "HOST"},
    )


def parse_status(text: str) -> Server | None:
    """Parse `cluster/status`; None if the text is not a status."""
    values = dict(re.findall(r"^([A-Z][A-Za-z ]+): (.*)$", text, re.MULTILINE))
    if "Server ID" not in values or "Role" not in values:
        return None
    log = re.findall(r"\d+", values.get("Log", ""))
    return Server(
        sid=values["Server ID"][:4],
        status=values.get("Status", ""),
        role=values["Role"],
        term=int(values.get("Term", 0)),
        leader=values.get("Leader", "unknown"),
        log=int(log[-1]) if log else 0,
        servers=dict(re.findall(r"^ +([0-9a-f]{4}) \([0-9a-f]{4} at ([^)]+)\)", text, re.MULTILINE)),
    )


def host_address(url: str) -> str:
    """`ssl:172.30.2.11:6643`: 172.30.2.11."""
    found = re.fullmatch(r"(?:ssl|tcp):\[?(.+?)\]?:\d+", url)
    return found[1] if found else ""


def settling(members: Collection[Member]) -> str:
    """Servers that may be starting, joining or electing."""
    waiting = [m.host for m in members if m.container is ContainerState.RUNNING and not m.working]
    return f"waiting for OVN's databases on {names(set(waiting))}" if waiting else ""


def decide(databases: dict[str, tuple[Member, ...]], options: RaftOptions) -> Recovery:
    """Decide how to recover both databases.

    :raises RefusedError: too few members for a quorum, and the operator named no member whose data to use
    """
    hosts = {m.host for own in databases.values() for m in own}
    known(SERVICE, hosts, (*options.without, *filter(None, [options.source])))
    parts = [_database(container, own, options) for container, own in sorted(databases.items())]
    if options.source and not any(s.action == "rebuild" for p in parts for s in p.steps):
        raise RefusedError("OVN's databases have a quorum: there is nothing to rebuild", "leave --from out")
    partial = any(p.partial for p in parts)
    return Recovery(
        members=tuple(row(c, m) for c, own in sorted(databases.items()) for m in own),
        steps=tuple(s for p in parts for s in p.steps if p.partial or not partial),
        summary="; ".join(p.summary for p in parts),
        warnings=tuple(dict.fromkeys(w for p in parts for w in p.warnings)),
        partial=partial,
    )


def row(container: str, m: Member) -> dict[str, str]:
    """A line of the table."""
    s = m.server
    return {
        "database": container,
        "host": m.host,
        "container": m.container.value,
        "state": s.status if s else m.why,
        "role": s.role if s else "",
        "leader": s.leader if s else "",
        "term": str(s.term) if s else "",
        "log": str(s.log) if s else "",
        "server": m.sid,
        "file": m.file.value,
        "counts": " ".join(sorted(s.servers)) if s else "",
    }


def _database(container: str, members: Collection[Member], options: RaftOptions) -> Recovery:
    reachable = [m for m in members if m.container is not ContainerState.UNREACHABLE and m.host not in options.without]
    leaders = [m for m in reachable if m.server and m.server.role == "leader" and m.working]
    if leaders:
        leader = max(leaders, key=lambda m: m.server.term if m.server else 0)
        return _with_leader(container, leader, list(members), reachable, options)
    return _without_leader(container, list(members), reachable, options)


def _with_leader(
    container: str, leader: Member, members: list[Member], reachable: list[Member], options: RaftOptions
) -> Recovery:
    """A quorum exists: remove servers that no longer exist, and let lost members rejoin as new servers."""
    assert leader.server
    servers = leader.server.servers
    at = Counter(host_address(url) for url in servers.values())
    summary = f"{container}: {leader.host} is the leader of {len(servers)} servers"
    if leader.file in (File.MISSING, File.DAMAGED):
        step = RecoveryStep(
            action="stop",
            hosts=(leader.host,),
            container=container,
            what=f"stop {container}, which is the leader but has lost its file, so that another member is elected",
        )
        return Recovery(members=(), steps=(step,), summary=summary, partial=True)
    kicks: list[tuple[str, str]] = []
    steps: list[RecoveryStep] = []
    warnings: list[str] = []
    expected = {m.address for m in members}
    kicks += [(sid, url) for sid, url in servers.items() if host_address(url) not in expected]
    for m in members:
        own = [(sid, url) for sid, url in servers.items() if host_address(url) == m.address]
        if m.host in options.without:
            kicks += own
        elif m not in reachable:
            warnings.append(
                f"{m.host} is not reachable ({m.why}) and stays a member; --without {m.host} makes the cluster forget "
                "it"
            )
        elif m.working and m.sid in servers and m.file is File.PRESENT:
            kicks += [(sid, url) for sid, url in own if sid != m.sid]
        elif m.file is File.PRESENT and m.sid in servers and at[m.address] == 1:
            steps.append(_start(container, [m]))
        else:
            kicks += own
            steps.append(_rejoin(container, m))
    removal = [
        RecoveryStep(
            action="kick",
            hosts=(leader.host,),
            container=container,
            target=sid,
            what=f"{container}: remove server {sid} at {url} from the cluster",
        )
        for sid, url in kicks
    ]
    # stop servers before removing them: they would shut themselves down during the removal
    lost = tuple(s.hosts[0] for s in steps if s.action == "rejoin" and not s.create)
    stop = [RecoveryStep(action="stop", hosts=lost, container=container, what=f"stop {container}")] if lost else []
    return Recovery(members=(), steps=(*stop, *removal, *steps), summary=summary, warnings=tuple(warnings))


def _without_leader(container: str, members: list[Member], reachable: list[Member], options: RaftOptions) -> Recovery:
    """No leader: start enough members, or create a new cluster from the data of one."""
    holders = [m for m in reachable if m.file in (File.PRESENT, File.TORN)]
    counted = max((len(m.server.servers) for m in members if m.server), default=0) or len(members)
    quorum = counted // 2 + 1
    found = f"{container}: no leader; {len(holders)} of {counted} servers have their data, a quorum is {quorum}"
    if len(holders) >= quorum:
        if options.source:
            raise RefusedError(f"{found}: there is nothing to rebuild", "leave --from out")
        # once there is a leader, it is known which other servers must be replaced
        partial = len(holders) < len(reachable)
        return Recovery(members=(), steps=(_start(container, holders),), summary=found, partial=partial)
    if not options.source:
        logs = ", ".join(f"{m.host}{f' (log to {m.server.log})' if m.server else ''}" for m in holders)
        raise RefusedError(
            f"{found}: the cluster cannot elect a leader",
            f"bring the others back; or give up their latest changes with --from HOST, one of: {logs}"
            if holders
            else "bring a member back, or restore a backup",
        )
    return _rebuild(container, members, reachable, options.source, found)


def _rebuild(container: str, members: list[Member], reachable: list[Member], source: str, found: str) -> Recovery:
    origin = next((m for m in reachable if m.host == source), None)
    if origin is None or origin.file not in (File.PRESENT, File.TORN):
        raise RefusedError(f"{container}: {source} has no data to rebuild the cluster from", "name another member")
    warnings = [f"{container}: changes that had not reached {source} when the quorum was lost will be lost"]
    warnings += [
        f"{m.host} is not reachable ({m.why}); its server is of the old cluster: run `scs recover ovn` when it is back"
        for m in members
        if m.container is ContainerState.UNREACHABLE
    ]
    ahead = [m for m in reachable if m.server and origin.server and m.server.log > origin.server.log]
    warnings += [f"{container}: {m.host} has a longer log than {source}" for m in ahead]
    existing = tuple(m.host for m in reachable if m.container is not ContainerState.ABSENT)
    steps = [
        RecoveryStep(action="stop", hosts=existing, container=container, what=f"stop {container}"),
        RecoveryStep(
            action="rebuild",
            hosts=(source,),
            container=container,
            create=origin.container is ContainerState.ABSENT,
            what=f"{container}: create a new cluster from its data; the old file is kept",
        ),
        *(_rejoin(container, m) for m in reachable if m is not origin),
        RecoveryStep(
            action="reset_clients",
            hosts=(source,),
            container=container,
            what=f"notify clients of {container} of the new cluster, and restart clients that cannot be notified",
        ),
    ]
    return Recovery(members=(), steps=tuple(steps), warnings=tuple(warnings), summary=found)


def _start(container: str, members: list[Member]) -> RecoveryStep:
    return RecoveryStep(
        action="start",
        hosts=tuple(m.host for m in members),
        container=container,
        create=any(m.container is ContainerState.ABSENT for m in members),
        what=f"start {container} and wait until it has a leader",
    )


def _rejoin(container: str, m: Member) -> RecoveryStep:
    aside = "" if m.file in (File.MISSING, File.JOINING) else "set its file aside, "
    return RecoveryStep(
        action="rejoin",
        hosts=(m.host,),
        container=container,
        create=m.container is ContainerState.ABSENT,
        what=f"{container}: {aside}join the cluster as a new server",
    )
