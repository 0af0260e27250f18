# SPDX-License-Identifier: Apache-2.0
"""OVN's databases: reads the members, and carries out the steps of a recovery."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from scs_deploy.base.errors import ScsError
from scs_deploy.clusters.base import Recovery, RecoveryStep, await_members, running
from scs_deploy.clusters.raft import recovery
from scs_deploy.clusters.raft.recovery import File, Member, RaftOptions
from scs_deploy.clusters.raft.settings import Settings, control
from scs_deploy.engine.access import Access
from scs_deploy.engine.remote import Answer, Command, ContainerState
from scs_deploy.region.region import Region
from scs_deploy.spec.container import Impact

FILES = """
cd /var/lib/ovn
[ -e "$1" ] || { echo missing; exit; }
ovsdb-tool db-sid "$1"
# exit code 2: the cluster id is not known yet
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


@dataclass
class RaftProcedure:
    """The recovery of OVN's two Raft clusters."""

    options: RaftOptions
    service: str
    settings: Settings
    stamp: str = field(default_factory=lambda: time.strftime("%Y%m%dT%H%M%S", time.gmtime()))
    restarted: tuple[str, ...] = ()
    """other services that were restarted"""

    def read(self, access: Access) -> dict[str, tuple[Member, ...]]:
        """Every member of both databases."""
        hosts, databases = access.hosts(self.service), self.settings.databases
        commands = [c for container in databases for c in (self._status(container), _script(container, FILES))]
        answers = access.run(dict.fromkeys(hosts, commands), together=True)
        addresses = {h: access.region.inventory.hosts[h].management for h in hosts}
        return {
            container: tuple(
                Member(host=h, address=addresses[h], container=ContainerState.UNREACHABLE, why=answers.unreachable[h])
                if h in answers.unreachable
                else member(h, addresses[h], *answers.by_host[h][2 * index : 2 * index + 2])
                for h in hosts
            )
            for index, container in enumerate(databases)
        }

    def settling(self, members: dict[str, tuple[Member, ...]]) -> str:
        """Servers that are starting, joining or electing."""
        return recovery.settling([m for own in members.values() for m in own])

    def decide(self, members: dict[str, tuple[Member, ...]]) -> Recovery:
        """See recovery.decide."""
        found = recovery.decide(members, self.options)
        if self.restarted:
            note = f"{', '.join(self.restarted)} restarted: check with `scs status` that it works again"
            return found.model_copy(update={"warnings": (*found.warnings, note)})
        return found

    def act(self, access: Access, step: RecoveryStep) -> None:
        """Carry out a step."""
        container, hosts = step.container, step.hosts
        if step.action == "stop":
            access.containers("stop", container, hosts)
        elif step.action == "start":
            access.containers("create" if step.create else "restart", container, hosts)
            self._wait(access, container, hosts)
        elif step.action == "kick":
            self._kick(access, step)
        elif step.action == "rejoin":
            if not step.create:
                access.containers("stop", container, hosts)
            access.require({hosts[0]: [_script(container, ASIDE, self.stamp)]})
            access.containers("create" if step.create else "start", container, hosts)
            self._wait(access, container, hosts)
        elif step.action == "rebuild":
            timer = self._timer(access.region, hosts[0])
            access.require({hosts[0]: [_script(container, REBUILD, self.stamp, timer)]})
            access.containers("create" if step.create else "start", container, hosts)
            self._wait(access, container, hosts)
        elif step.action == "reset_clients":
            self._reset_clients(access, container)
            self.options = self.options.model_copy(update={"source": ""})
        else:
            raise ScsError(f"ovn: no such step: {step.action}")

    def put_back(self, access: Access) -> None:
        """Start the members that were stopped."""
        for container in self.settings.databases:
            if hosts := sorted(h for h, c in access.stopped if c == container):
                access.containers("start", container, hosts)

    def _kick(self, access: Access, step: RecoveryStep) -> None:
        """Remove a server, and wait for the removal, since a cluster removes only one at a time."""
        host, container = step.hosts[0], step.container
        access.require({host: [self._cluster(container, "kick", step.target)]})

        def gone() -> str:
            answers = access.require({host: [self._status(container)]})
            server = recovery.parse_status(answers[host][0].output)
            return f"{container}: removing server {step.target}" if server and step.target in server.servers else ""

        access.until(gone, START_SECONDS, f"{container}: server {step.target} is still a member")

    def _reset_clients(self, access: Access, container: str) -> None:
        """Notify clients that have a command for it; restart the services that require this one.

        Clients refuse a database whose log is shorter than the one they have seen, until they are notified.
        Sources: ovn-northd(8), ovn-controller(8), runtime management commands.
        """
        catalog = access.region.catalog
        for relay in self.settings.databases[container].relays:
            access.containers("restart", relay, [h.name for h in access.region.hosts_of(self.service, relay)])
        commands: dict[str, list[Command]] = {}
        for client, word in self.settings.databases[container].clients.items():
            argv = ("ovn-appctl", "--timeout=10", f"--target=/run/ovn/{client.replace('_', '-')}.ctl", word)
            for host in access.region.hosts_of(self.service, client):
                commands.setdefault(host.name, []).append(Command(container=client, argv=argv))
        access.require(commands)
        users = [s for s in catalog.services.values() if self.service in s.requires]
        self.restarted = tuple(sorted(s.name for s in users))
        for service in users:
            for name, spec in service.containers.items():
                if spec.impact is not Impact.DATA_PLANE:
                    own = [h.name for h in access.region.hosts_of(service.name, name)]
                    access.containers("restart", name, own)

    def _timer(self, region: Region, host: str) -> str:
        """The election timer in milliseconds."""
        settings = {**region.catalog.settings, **region.inventory.hosts[host].settings}
        return str(settings[f"{self.service}_election_timer_ms"])

    def _cluster(self, container: str, verb: str, *arguments: str) -> Command:
        schema = self.settings.databases[container].schema_name
        argv = (*control(container, 10), f"cluster/{verb}", schema, *arguments)
        return Command(container=container, argv=argv, timeout=60 if arguments else 30)

    def _status(self, container: str) -> Command:
        return self._cluster(container, "status")

    def _wait(self, access: Access, container: str, hosts: tuple[str, ...]) -> None:
        """Wait until the servers on all hosts are members and know the leader."""

        def missing(answer: Answer) -> str:
            server = recovery.parse_status(answer.output) if answer.code == 0 else None
            if server is None:
                return f"{container} is starting"
            if server.status != "cluster member" or server.leader == "unknown":
                return f"{container} is {server.status}, leader {server.leader}"
            return ""

        status = self._status(container)
        await_members(access, container, hosts, lambda _: status, missing, START_SECONDS, f"{container} has no leader")


def member(host: str, address: str, status: Answer, files: Answer) -> Member:
    """A member from the answers to the two commands."""
    container = running(status)
    if container is ContainerState.UNREACHABLE:
        return Member(host=host, address=address, container=container, why=status.output)
    server = recovery.parse_status(status.output) if status.code == 0 else None
    first, _, rest = files.output.partition("\n")
    if files.code == 0:
        file = File.MISSING if first == "missing" else File.JOINING if rest.strip() == "joining" else File.PRESENT
    elif files.code < 0:
        file = File.UNKNOWN
    elif len(first) != 36:
        file = File.DAMAGED
    else:
        # a working server may be writing to the file
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


def _script(container: str, script: str, *arguments: str) -> Command:
    return Command(
        container=container, argv=("sh", "-ec", script, "recover", _file(container), *arguments), one_shot=True
    )
