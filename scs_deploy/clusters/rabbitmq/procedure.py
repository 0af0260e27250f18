# SPDX-License-Identifier: Apache-2.0
"""RabbitMQ: reads the members, and carries out the steps of a recovery."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from scs_deploy.base.errors import ScsError
from scs_deploy.clusters.base import Recovery, RecoveryStep, await_members, running
from scs_deploy.clusters.rabbitmq import recovery
from scs_deploy.clusters.rabbitmq.recovery import SERVICE, Data, Member, Queues, RabbitmqOptions
from scs_deploy.engine.access import Access
from scs_deploy.engine.remote import Answer, Command, ContainerState

STATUS = Command(
    container=SERVICE,
    argv=("rabbitmqctl", "--quiet", "--timeout", "20", "cluster_status", "--formatter", "json"),
    timeout=60,
)

FILES = """
cd /var/lib/rabbitmq/mnesia 2> /dev/null || exit 0
[ -z "$(ls -A)" ] || echo '== some'
cd "$1" 2> /dev/null || exit 0
for f in cluster_nodes.config nodes_running_at_shutdown schema.DAT; do
  [ ! -s $f ] || { echo "== $f"; [ $f = schema.DAT ] || cat $f; }
done
"""

QUEUES = """
vhosts=$(rabbitmqctl --quiet --timeout 20 list_vhosts --no-table-headers)
printf '%s\\n' "$vhosts" | while read -r vhost; do
  echo "== $vhost"
  rabbitmqctl --quiet --timeout 60 list_queues --vhost "$vhost" --formatter json \
    name type members online leader < /dev/null
done
"""

ASIDE = """
cd /var/lib/rabbitmq
[ -z "$(ls -A mnesia 2> /dev/null)" ] || mv mnesia "mnesia.before-recovery-$1"
ls -d mnesia.before-recovery-* 2> /dev/null | sort -r | tail -n +3 | xargs -r rm -r
"""
"""Within the volume, so that it is a rename and needs no disk space; keeps the newest two."""

START_SECONDS = 600.0
"""A member waits up to five minutes for the others' tables, then starts over."""


@dataclass
class RabbitmqProcedure:
    """RabbitMQ's recovery."""

    options: RabbitmqOptions
    stamp: str = field(default_factory=lambda: time.strftime("%Y%m%dT%H%M%S", time.gmtime()))
    service: str = SERVICE
    new: bool = False
    """whether the recovery created an empty cluster"""
    queues: Queues = field(default_factory=Queues)

    def read(self, access: Access) -> list[Member]:
        """State, view and data of every member, and the cluster's queues."""
        hosts = access.hosts(SERVICE)
        answers = access.run({h: [STATUS, _files(h)] for h in hosts}, together=True)
        members = [
            Member(host=h, container=ContainerState.UNREACHABLE, why=answers.unreachable[h])
            if h in answers.unreachable
            else member(h, *answers.by_host[h])
            for h in hosts
        ]
        self.queues = self._queues(access, members)
        return members

    def settling(self, members: list[Member]) -> str:
        """Brokers that are starting."""
        return recovery.settling(members)

    def decide(self, members: list[Member]) -> Recovery:
        """See recovery.decide."""
        found = recovery.decide(members, self.queues, self.options)
        if self.new:
            note = "the cluster is new: run `scs apply`, to create virtual hosts and accounts again"
            return found.model_copy(update={"warnings": (*found.warnings, note)})
        return found

    def act(self, access: Access, step: RecoveryStep) -> None:
        """Carry out a step."""
        hosts = step.hosts
        if step.action == "stop":
            access.containers("stop", SERVICE, hosts)
        elif step.action == "start":
            access.containers("create" if step.create else "restart", SERVICE, hosts)
            _wait(access, hosts, frozenset(step.target.split(",")))
        elif step.action == "rejoin":
            if not step.create:
                access.containers("stop", SERVICE, hosts)
            access.require({hosts[0]: [_shell(ASIDE, self.stamp, one_shot=True)]})
            access.containers("create" if step.create else "start", SERVICE, hosts)
            _wait(access, hosts, frozenset(step.target.split(",")))
            if step.target == hosts[0]:
                self.new = True
                self.options = self.options.model_copy(update={"reset": False})
        elif step.action == "force_boot":
            access.require({hosts[0]: [_shell("rabbitmqctl --quiet force_boot", one_shot=True)]})
            access.containers("create" if step.create else "start", SERVICE, hosts)
            _wait(access, hosts, frozenset(hosts))
            self.options = self.options.model_copy(update={"force_boot": ""})
        elif step.action == "grow":
            argv = ("rabbitmq-queues", "--quiet", "grow", f"rabbit@{step.target}", "all", "--errors-only")
            access.require({hosts[0]: [Command(container=SERVICE, argv=argv, timeout=600)]})
        else:
            raise ScsError(f"rabbitmq: no such step: {step.action}")

    def put_back(self, access: Access) -> None:
        """Does nothing, because reading stops no member."""

    def _queues(self, access: Access, members: list[Member]) -> Queues:
        up = [m.host for m in members if m.up and m.container is ContainerState.RUNNING]
        if not up:
            return Queues()
        answers = access.run({up[0]: [_shell(QUEUES, timeout=300)]})
        if up[0] not in answers.by_host or answers.by_host[up[0]][0].code:
            return Queues()
        parts = answers.by_host[up[0]][0].output.split("== ")[1:]
        size = len(members) if len(members) % 2 else len(members) - 1
        return recovery.parse_queues([(p.partition("\n")[0], p.partition("\n")[2]) for p in parts], up, size)


def member(host: str, status: Answer, files: Answer) -> Member:
    """A member from the answers to STATUS and FILES."""
    container = running(status)
    if container is ContainerState.UNREACHABLE:
        return Member(host=host, container=container, why=status.output)
    view = recovery.parse_status(status.output) if status.code == 0 else {}
    parts = dict(p.partition("\n")[::2] for p in files.output.split("== ")[1:])
    if files.code:
        data = Data.UNKNOWN
    elif "cluster_nodes.config" in parts and "schema.DAT" in parts:
        data = Data.PRESENT
    else:
        data = Data.DAMAGED if "some" in parts else Data.EMPTY
    seen = recovery.nodes_in(parts.get("nodes_running_at_shutdown", ""))
    values = {"cluster": recovery.nodes_in(parts.get("cluster_nodes.config", "")), **view}
    why = " ".join(files.output.split())[-200:] if files.code else ""
    return Member.model_validate(
        {"host": host, "container": container, "why": why, "data": data, "last_seen": seen, **values}
    )


def _files(host: str) -> Command:
    return _shell(FILES, f"rabbit@{host}", one_shot=True)


def _shell(script: str, *arguments: str, one_shot: bool = False, timeout: int = 60) -> Command:
    argv = ("sh", "-ec", script, "recover", *arguments)
    return Command(container=SERVICE, argv=argv, one_shot=one_shot, timeout=timeout)


def _wait(access: Access, hosts: tuple[str, ...], expected: frozenset[str]) -> None:
    """Wait until the members on all hosts see the expected members running."""

    def missing(answer: Answer) -> str:
        if answer.code:
            return "rabbitmq starts"
        unseen = expected - recovery.sees(answer.output)
        return f"rabbitmq does not see {', '.join(sorted(unseen))}" if unseen else ""

    await_members(access, SERVICE, hosts, lambda _: STATUS, missing, START_SECONDS, "rabbitmq is not in the cluster")
