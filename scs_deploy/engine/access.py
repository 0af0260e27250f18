# SPDX-License-Identifier: Apache-2.0
"""Access to a region's containers: run commands in them, start and stop them, and run tasks on hosts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scs_deploy.base.errors import ScsError
from scs_deploy.desired import resolve
from scs_deploy.desired.model import RunContainer
from scs_deploy.engine import remote, runner, stream
from scs_deploy.engine.events import Event, Note, Stage, TaskDone, TaskStarted, Watch
from scs_deploy.engine.remote import Answer, Answers, Command
from scs_deploy.region.region import Region

Say = Callable[[str, str], None]
"""Called with a kind (`step`, `done`, `now` or `note`) and a text."""

INTERVAL = 3.0
"""Seconds between two checks of a member that is expected to change."""


def silent(_kind: str, _text: str) -> None:
    """Discard all messages."""


def saying(watch: Watch) -> Say:
    """Emit messages as events."""
    events: dict[str, Callable[[str], Event]] = {"now": Stage, "step": TaskStarted, "done": TaskDone, "note": Note}
    return lambda kind, text: watch(events[kind](text))


@dataclass
class Access:
    """Queries and changes the containers of a region."""

    region: Region
    say: Say = silent
    stopped: set[tuple[str, str]] = field(default_factory=set)
    """(host, container) stopped through this object and not started again"""

    def hosts(self, service: str) -> tuple[str, ...]:
        """The hosts of a service's members, sorted."""
        return tuple(h.name for h in self.region.hosts_of(service))

    def run(self, commands: Mapping[str, Sequence[Command]], together: bool = False) -> Answers:
        """Run commands and return their answers, including those of failed commands.

        :param together: see remote.execute
        :raises ScsError: a host's container engine does not respond, or Ansible itself failed
        """
        return remote.execute(self.region, commands, together)

    def require(self, commands: Mapping[str, Sequence[Command]]) -> dict[str, tuple[Answer, ...]]:
        """Run commands that must all succeed.

        :raises ScsError: a host is unreachable, or a command failed; quotes the end of its output
        """
        answers = self.run(commands)
        if answers.unreachable:
            raise ScsError(runner.summary(answers.unreachable, verb="became unreachable"))
        for host, own in answers.by_host.items():
            for command, answer in zip(commands[host], own, strict=True):
                if answer.code:
                    said = " ".join(answer.output.split())[-400:] or "no output"
                    raise ScsError(f"host {host}: {command.container}: {command.argv[0]} failed: {said}")
        return answers.by_host

    def execute(self, host: str, command: Command) -> Answer:
        """Run one command on one host and return its answer, even if it failed.

        :raises ScsError: the host is unreachable
        """
        answers = self.run({host: [command]})
        if host in answers.unreachable:
            raise ScsError(f"host {host} is unreachable: {answers.unreachable[host]}")
        return answers.by_host[host][0]

    def output(self, host: str, command: Command) -> str:
        """Run one command that must succeed; returns its output.

        :raises ScsError: the host is unreachable, or the command failed
        """
        answer = self.execute(host, command)
        if answer.code:
            said = " ".join(answer.output.split())[:300]
            raise ScsError(f"host {host}: {command.container}: {' '.join(command.argv)}: {said}")
        return answer.output

    def containers(self, action: str, container: str, hosts: Sequence[str], wait: bool = False) -> None:
        """Start, stop, restart or create a container on hosts, at the same time.

        :param wait: wait until it is healthy
        :raises ScsError: the action failed
        """
        task = {
            "name": f"{action.capitalize()} {container}",
            "scs.core.containers": {"actions": [{"action": action, "container": container, "wait": wait}]},
        }
        self.task(task, hosts)
        done = {(host, container) for host in hosts}
        self.stopped = self.stopped | done if action == "stop" else self.stopped - done

    def companions(self, service: str, create: bool, hosts: Sequence[str]) -> None:
        """Start a service's containers except the one with its name, since `scs stop` stopped those too.

        :param create: create them if they do not exist
        :raises ScsError: a container did not start
        """
        for name in self.region.catalog.services[service].containers:
            if name != service:
                self.containers("create" if create else "start", name, hosts)

    def pipe(self, source: tuple[str, str, Sequence[str]], target: tuple[str, str, Sequence[str]]) -> None:
        """What a command prints is the input of another one; each is a host, a container, and what runs beside it.

        :raises ScsError: one of the commands failed
        """

        def place(host: str, container: str, argv: Sequence[str]) -> tuple[str, RunContainer, Sequence[str]]:
            owner = self.region.catalog.owner[container]
            return host, resolve.resolve(self.region, host, {owner}).containers[container], argv

        stream.pipe(self.region, place(*source), place(*target))

    def task(self, task: Mapping[str, Any], hosts: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Run one Ansible task on hosts; returns the result of each host.

        :raises ScsError: a host is unreachable, or the task failed there
        """
        if not hosts:
            return {}
        play = {"name": task["name"], "hosts": ",".join(hosts), "gather_facts": False, "tasks": [dict(task)]}
        result = runner.run_playbook(self.region.environment, [play], keep_results=True)
        result.raise_for(changing=True)
        return result.results

    def until(self, ready: Callable[[], str], seconds: float, otherwise: str) -> None:
        """Poll `ready` until it returns '', and show what it returns.

        :param ready: returns '' or what is still missing; may raise ScsError if waiting is pointless
        :param otherwise: begins the message of a timeout
        :raises ScsError: not ready after `seconds`
        """
        if missing := self.wait(ready, seconds, INTERVAL):
            raise ScsError(f"{otherwise} after {seconds:.0f} s: {missing}")

    def wait(self, left: Callable[[], str], seconds: float, interval: float = 1.0, show: bool = True) -> str:
        """Poll `left` until it returns ''; returns what remains after `seconds`.

        :param show: whether to show what remains
        """
        deadline = time.monotonic() + seconds
        while now := left():
            if time.monotonic() > deadline:
                return now
            if show:
                self.say("now", now)
            time.sleep(interval)
        return ""
