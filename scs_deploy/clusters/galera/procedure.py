# SPDX-License-Identifier: Apache-2.0
"""Galera: reads the members, and carries out the steps of a recovery."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from scs_deploy.base.errors import ScsError
from scs_deploy.clusters.base import Recovery, RecoveryStep, running
from scs_deploy.clusters.galera import client, recovery
from scs_deploy.clusters.galera.recovery import SERVICE, Data, GaleraOptions, Member
from scs_deploy.engine.access import Access
from scs_deploy.engine.remote import Answer, Command, ContainerState

STATUS = Command(
    container=SERVICE,
    argv=client.monitor(
        "SHOW GLOBAL STATUS WHERE Variable_name IN ('wsrep_cluster_status', 'wsrep_local_state_comment', "
        "'wsrep_cluster_state_uuid', 'wsrep_last_committed', 'wsrep_cluster_size')",
    ),
    timeout=30,
)

FILES = Command(
    container=SERVICE,
    argv=(
        "sh",
        "-c",
        'cd /var/lib/mysql && for f in grastate.dat gvwstate.dat; do echo "== $f"; cat $f 2> /dev/null; done; '
        "[ ! -e ibdata1 ] || echo '== data'",
    ),
    one_shot=True,
)

POSITION = Command(
    container=SERVICE,
    argv=("mariadbd", "--defaults-file=/etc/mysql/server.cnf", "--wsrep-recover"),
    one_shot=True,
    timeout=1800,
)
"""Applies InnoDB's own log, as a start would; the server must be stopped."""

MARK = """
cd /var/lib/mysql
# with a saved view, the server would first look for the members of that view
rm -f gvwstate.dat
if [ -n "$1" ]; then
  # a server that knows its position keeps its history, so the others need only what they lack
  printf '%s\\n' '# GALERA saved state' 'version: 2.1' "uuid:    ${1%%:*}" "seqno:   ${1##*:}" 'safe_to_bootstrap: 1' \
    > grastate.dat.new
  mv grastate.dat.new grastate.dat
elif [ -e grastate.dat ]; then
  sed -i 's/^safe_to_bootstrap:.*/safe_to_bootstrap: 1/' grastate.dat
fi
touch scs_bootstrap
sync -f .
"""

REMADE = ("galera.cache", "ibtmp1")
"""Files of the data directory that Galera and InnoDB recreate: a ring of write sets, temporary tables."""

START_SECONDS, JOIN_SECONDS = 1800.0, 4 * 3600.0
"""Crash recovery of a large database takes minutes; a full copy to a joining member can take hours."""

ATTEMPTS = 4
"""How often a server may be found stopped before the wait is given up."""


@dataclass
class GaleraProcedure:
    """Galera's recovery."""

    options: GaleraOptions
    stamp: str = field(default_factory=lambda: time.strftime("%Y%m%dT%H%M%S", time.gmtime()))
    service: str = SERVICE

    def read(self, access: Access) -> list[Member]:
        """State, files and position of every member."""
        hosts = access.hosts(SERVICE)
        answers = access.run({h: [STATUS, FILES] for h in hosts}, together=True)
        members = [
            Member(host=h, container=ContainerState.UNREACHABLE, why=answers.unreachable[h])
            if h in answers.unreachable
            else member(h, *answers.by_host[h])
            for h in hosts
        ]
        members = _with_positions(access, members)
        return self._with_room(access, members)

    def settling(self, members: list[Member]) -> str:
        """Servers that are starting."""
        return recovery.settling(members)

    def decide(self, members: list[Member]) -> Recovery:
        """See recovery.decide."""
        return recovery.decide(members, self.options)

    def act(self, access: Access, step: RecoveryStep) -> None:
        """Carry out a step."""
        host = step.hosts[0]
        if step.action == "stop":
            access.containers("stop", SERVICE, step.hosts)
        elif step.action == "copy":
            task = {"volume": SERVICE, "name": self.stamp, "exclude": list(REMADE)}
            access.task({"name": "Copy", "scs.core.volume_copy": task}, step.hosts)
        elif step.action == "bootstrap":
            argv = ("sh", "-ec", MARK, "mark", step.target)
            access.require({host: [Command(container=SERVICE, argv=argv, one_shot=True)]})
            access.containers("create" if step.create else "start", SERVICE, step.hosts)
            wait_synced(access, host, START_SECONDS)
            access.companions(SERVICE, step.create, step.hosts)
            # the explicit choice is carried out; from here on, this is an ordinary cluster
            self.options = self.options.model_copy(update={"bootstrap_from": ""})
        elif step.action == "join":
            access.containers("create" if step.create else "start", SERVICE, step.hosts)
            wait_synced(access, host, JOIN_SECONDS)
            access.companions(SERVICE, step.create, step.hosts)
        elif step.action == "wait":
            wait_synced(access, host, JOIN_SECONDS)
        else:
            raise ScsError(f"mariadb: no such step: {step.action}")

    def put_back(self, access: Access) -> None:
        """Start the members that were stopped for inspection."""
        if hosts := sorted(h for h, _ in access.stopped):
            access.containers("start", SERVICE, hosts)

    def _with_room(self, access: Access, members: list[Member]) -> list[Member]:
        """Add the sizes of members that may be copied."""
        hosts = [m.host for m in members if m.data is Data.PRESENT and not m.primary] if self.options.copies else []
        if not hosts:
            return members
        task = {"volume": SERVICE, "exclude": list(REMADE)}
        room = access.task({"name": "Measure", "scs.core.volume_copy": task}, hosts)
        return [
            m.model_copy(update={"size_bytes": room[m.host]["size"], "free_bytes": room[m.host]["free"]})
            if m.host in room
            else m
            for m in members
        ]


def member(host: str, status: Answer, files: Answer) -> Member:
    """A member from the answers to STATUS and FILES."""
    container = running(status)
    if container is ContainerState.UNREACHABLE:
        return Member(host=host, container=container, why=status.output)
    values = recovery.parse_status(status.output) if status.code == 0 else {}
    parts = dict(p.partition("\n")[::2] for p in files.output.split("== ")[1:])
    uuid, seqno, safe = recovery.parse_grastate(parts.get("grastate.dat", ""))
    source = "grastate.dat"
    if values.get("wsrep_cluster_status"):
        uuid, seqno = values.get("wsrep_cluster_state_uuid", ""), int(values.get("wsrep_last_committed", -1))
        source = "status"
    data = Data.PRESENT if "data" in parts or uuid else Data.EMPTY
    return Member(
        host=host,
        container=container,
        why=" ".join(files.output.split())[-200:] if files.code else "",
        status=values.get("wsrep_cluster_status", ""),
        state=values.get("wsrep_local_state_comment", ""),
        size=int(values.get("wsrep_cluster_size", 0)),
        data=Data.UNKNOWN if files.code else data,
        uuid=uuid,
        seqno=seqno if seqno >= 0 else None,
        source=source if uuid else "",
        safe=safe,
        view=recovery.parse_view(parts.get("gvwstate.dat", "")),
    )


def _with_positions(access: Access, members: list[Member]) -> list[Member]:
    """Recover the position from InnoDB for stopped members whose grastate.dat has none because they crashed."""
    asked = [
        m.host
        for m in members
        if m.container in (ContainerState.STOPPED, ContainerState.ABSENT) and m.data is Data.PRESENT and m.seqno is None
    ]
    if not asked or any(m.primary for m in members):
        return members
    access.say("now", f"recovering the position of {', '.join(asked)}")
    answers = access.run({h: [POSITION] for h in asked})
    result = []
    for m in members:
        if m.host in answers.by_host:
            answer = answers.by_host[m.host][0]
            position = recovery.parse_position(answer.output)
            if position and position[1] >= 0:
                uuid, seqno = position
                m = m.model_copy(update={"uuid": uuid, "seqno": seqno, "source": "recovered from InnoDB"})
            else:
                said = "" if position else " ".join(answer.output.split())[-200:]
                m = m.model_copy(update={"why": said or "InnoDB reports no position"})
        elif m.host in answers.unreachable:
            m = Member(host=m.host, container=ContainerState.UNREACHABLE, why=answers.unreachable[m.host])
        result.append(m)
    return result


def wait_synced(access: Access, host: str, seconds: float) -> None:
    """Wait until a server is in the primary component and in sync."""
    ended = 0

    def ready() -> str:
        nonlocal ended
        answers = access.run({host: [STATUS]})
        if host in answers.unreachable:
            raise ScsError(f"host {host} became unreachable: {answers.unreachable[host]}")
        answer = answers.by_host[host][0]
        if running(answer) is not ContainerState.RUNNING:
            ended += 1
            if ended >= ATTEMPTS:
                raise ScsError(f"host {host}: mariadb keeps crashing", f"scs logs mariadb --host {host}")
        values = recovery.parse_status(answer.output) if answer.code == 0 else {}
        status, state = values.get("wsrep_cluster_status", ""), values.get("wsrep_local_state_comment", "")
        if status == "Primary" and state in ("Synced", "Donor/Desynced"):
            return ""
        return f"{host}: mariadb is {state or running(answer).value}{', ' + status if status else ''}"

    access.until(ready, seconds, f"host {host}: mariadb is not in sync")
