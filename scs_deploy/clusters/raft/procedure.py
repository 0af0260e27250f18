# SPDX-License-Identifier: Apache-2.0
"""OVN's databases: reads the members, and carries out the steps of a recovery."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from scs_deploy.base.errors import ScsError
from scs_deploy.engine.remote import Answer, Command
from scs_deploy.operations.recover import ovn
from scs_deploy.operations.recover.model import Recovery, Running, Step, running
from scs_deploy.operations.recover.ovn import SCHEMAS, SERVICE, File, Member, Options
from scs_deploy.operations.recover.session import Session
from scs_deploy.spec.container import Impact

FILES = """
cd /var/lib/ovn
[ -e "$1" ] || { echo missing; exit; }
ovsdb-tool db-sid "$1"
# exit code 2: the cluster's id is not known yet
ovsdb-tool db-cid "$1" > /dev/null 2>&1 || { [ $? != 2 ] || { echo joining; exit; }; }
ovsdb-tool check-cluster "$1"
"""

ASIDE = """
cd /var/lib/ovn
[ ! -e "$1" ] || mv "$1" "$1.before-recovery-$2"
rm -f "$1.new"
ls "$1".before-recovery-* 2> /dev/null | sort -r | tail -n +3 | xargs -r rm
"""
"""Within the volume; the newest two stay."""

REBUILD = """
cd /var/lib/ovn
file=$1 timer=$3
address=$(ovsdb-tool db-local-address "$file")
rm -f "$file.standalone" "$file.new"
ovsdb-tool cluster-to-standalone "$file.standalone" "$file"
ovsdb-tool --election-timer="$timer" create-cluster "$file.new" "$file.standalone" "$address"
rm "$file.standalone"
mv "$file" "$file.before-recovery-$2"
mv "$file.new" "$file"
sync -f "$file"
"""

START_SECONDS = 180.0

ATTEMPTS = 6

RESETS = {
    "ovn_nb": {"ovn_northd": "nb-cluster-state-reset"},
    "ovn_sb": {"ovn_northd": "sb-cluster-state-reset", "ovn_controller": "sb-cluster-state-reset"},
}
"""Clients refuse a database whose log is shorter than what they have seen, until they are told.

Sources: ovn-northd(8), ovn-controller(8), runtime management commands.
"""


@dataclass
class Procedure:
    """The recovery of OVN's two raft clusters."""

    options: Options
    stamp: str = field(default_factory=lambda: time.strftime("%Y%m%dT%H%M%S", time.gmtime()))
    service: str = SERVICE
    restarted: tuple[str, ...] = ()
    """services beside OVN that were restarted"""

    def read(self, session: Session) -> dict[str, tuple[Member, ...]]:
        """Every member of both databases."""
        hosts = session.hosts(SERVICE)
        commands = [c for container in SCHEMAS for c in (_status(container), _script(container, FILES))]
        answers = session.ask(dict.fromkeys(hosts, commands))
        addresses = {h: session.region.inventory.hosts[h].management for h in hosts}
        return {
            container: tuple(
                Member(host=h, address=addresses[h], container=Running.UNREACHABLE, why=answers.unreachable[h])
                if h in answers.unreachable
                else member(h, addresses[h], *answers.by_host[h][2 * index : 2 * index + 2])
                for h in hosts
            )
            for index, container in enumerate(SCHEMAS)
        }

    def settling(self, members: dict[str, tuple[Member, ...]]) -> str:
        """Servers that start, join or elect."""
        return ovn.settling([m for own in members.values() for m in own])

    def decide(self, members: dict[str, tuple[Member, ...]]) -> Recovery:
        """See ovn.decide."""
        found = ovn.decide(members, self.options)
        if self.restarted:
            note = f"{', '.join(self.restarted)} was restarted: `scs status` tells when it works again"
            return found.model_copy(update={"warnings": (*found.warnings, note)})
        return found

    def act(self, session: Session, step: Step) -> None:
        """One step."""
        container, hosts = step.container, step.hosts
        if step.action == "stop":
            session.containers("stop", container, hosts)
        elif step.action == "start":
            session.containers("create" if step.create else "restart", container, hosts)
            _wait(session, container, hosts)
        elif step.action == "kick":
            self._kick(session, step)
        elif step.action == "rejoin":
            if not step.create:
                session.containers("stop", container, hosts)
            session.require({hosts[0]: [_script(container, ASIDE, self.stamp)]})
            session.containers("create" if step.create else "start", container, hosts)
            _wait(session, container, hosts)
        elif step.action == "rebuild":
            region = session.region
            timer = {**region.catalog.settings, **region.inventory.hosts[hosts[0]].settings}["ovn_election_timer_ms"]
            session.require({hosts[0]: [_script(container, REBUILD, self.stamp, str(timer))]})
            session.containers("create" if step.create else "start", container, hosts)
            _wait(session, container, hosts)
        elif step.action == "reset_clients":
            self._reset_clients(session, container)
            self.options = self.options.model_copy(update={"source": ""})
        else:
            raise ScsError(f"ovn: no such step: {step.action}")

    def put_back(self, session: Session) -> None:
        """Start what was stopped."""
        for container in SCHEMAS:
            if hosts := sorted(h for h, c in session.stopped if c == container):
                session.containers("start", container, hosts)

    def _kick(self, session: Session, step: Step) -> None:
        """Remove a server; a cluster removes one at a time, so wait until it is gone."""
        host, container = step.hosts[0], step.container
        argv = (*_appctl(container), "cluster/kick", SCHEMAS[container], step.target)
        session.require({host: [Command(container=container, argv=argv)]})

        def gone() -> str:
            answers = session.require({host: [_status(container)]})
            server = ovn.parse_status(answers[host][0].output)
            return f"{container}: server {step.target} leaves" if server and step.target in server.servers else ""

        session.until(gone, START_SECONDS, f"{container}: server {step.target} is still a member")

    def _reset_clients(self, session: Session, container: str) -> None:
        """Who has a command for it is told; services beside OVN are restarted."""
        catalog, inventory = session.region.catalog, session.region.inventory
        commands: dict[str, list[Command]] = {}
        for client, word in RESETS[container].items():
            argv = ("ovn-appctl", "--timeout=10", f"--target=/run/ovn/{client.replace('_', '-')}.ctl", word)
            for host in inventory.group(session.region.group_of(SERVICE, client)):
                commands.setdefault(host.name, []).append(Command(container=client, argv=argv))
        session.require(commands)
        users = [s for s in catalog.services.values() if SERVICE in s.requires]
        self.restarted = tuple(sorted(s.name for s in users))
        for service in users:
            for name, spec in service.containers.items():
                if spec.impact is not Impact.DATA_PLANE:
                    own = [h.name for h in inventory.group(session.region.group_of(service.name, name))]
                    session.containers("restart", name, own)


def member(host: str, address: str, status: Answer, files: Answer) -> Member:
    """A member from the answers to the two commands."""
    container = running(status)
    if container is Running.UNREACHABLE:
        return Member(host=host, address=address, container=container, why=status.output)
    server = ovn.parse_status(status.output) if status.code == 0 else None
    first, _, rest = files.output.partition("\n")
    if files.code == 0:
        file = File.MISSING if first == "missing" else File.JOINING if rest.strip() == "joining" else File.PRESENT
    elif files.code < 0:
        file = File.UNKNOWN
    elif len(first) != 36:
        file = File.DAMAGED
    else:
        # a server that works may be writing just now
        file = File.PRESENT if server else File.TORN
    return Member(
        host=host,
        address=address,
        container=container,
        why=" ".join((rest or first).split())[-160:] if files.code else "",
        server=server,
        file=file,
        file_sid=first[:4] if file in (File.PRESENT, File.TORN) else "",
    )


def _file(container: str) -> str:
    return f"{container.replace('_', '')}_db.db"


def _appctl(container: str) -> tuple[str, ...]:
    return ("ovs-appctl", "--timeout=10", f"--target=/run/ovn/{container.replace('_', '')}_db.ctl")


def _status(container: str) -> Command:
    return Command(container=container, argv=(*_appctl(container), "cluster/status", SCHEMAS[container]), timeout=30)


def _script(container: str, script: str, *arguments: str) -> Command:
    return Command(
        container=container, argv=("sh", "-ec", script, "recover", _file(container), *arguments), one_shot=True
    )


def _wait(session: Session, container: str, hosts: tuple[str, ...]) -> None:
    """Until every one of the hosts' servers is a member that knows its leader."""
    ended = dict.fromkeys(hosts, 0)

    def ready() -> str:
        answers = session.ask({h: [_status(container)] for h in hosts})
        if answers.unreachable:
            raise ScsError(f"host {min(answers.unreachable)} became unreachable")
        for host in hosts:
            answer = answers.by_host[host][0]
            if running(answer) is not Running.RUNNING:
                ended[host] += 1
                if ended[host] >= ATTEMPTS:
                    raise ScsError(
                        f"host {host}: {container} ends again and again", f"scs logs {container} --host {host}"
                    )
            server = ovn.parse_status(answer.output) if answer.code == 0 else None
            if server is None:
                return f"{host}: {container} starts"
            if server.status != "cluster member" or server.leader == "unknown":
                return f"{host}: {container} is {server.status}, leader {server.leader}"
        return ""

    session.until(ready, START_SECONDS, f"{', '.join(hosts)}: {container} follows no leader")
