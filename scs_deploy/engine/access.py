# SPDX-License-Identifier: Apache-2.0
"""Access to the containers of a region: commands run in them, containers started and stopped, tasks run on hosts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scs_deploy.base.errors import ScsError
from scs_deploy.engine import remote, runner
from scs_deploy.engine.events import Event, Note, Stage, TaskDone, TaskStarted, Watch
from scs_deploy.engine.remote import Answer, Answers, Command
from scs_deploy.region.region import Region

Say = Callable[[str, str], None]
"""Called with (`step`, `done`, `now` or `note`; what)."""

INTERVAL = 3.0
"""Seconds between two looks at a member that is expected to change."""


def silent(_kind: str, _text: str) -> None:
    """The view of a caller that shows nothing."""


def saying(watch: Watch) -> Say:
    """Words as events."""
    events: dict[str, Callable[[str], Event]] = {"now": Stage, "step": TaskStarted, "done": TaskDone, "note": Note}
    return lambda kind, text: watch(events[kind](text))


@dataclass
class Access:
    """A region whose containers are asked and changed."""

    region: Region
    say: Say = silent
    stopped: set[tuple[str, str]] = field(default_factory=set)
    """(host, container) that were stopped through this object and have not been started again"""

    def hosts(self, service: str) -> tuple[str, ...]:
        """The hosts of a service's members, sorted."""
        return tuple(h.name for h in self.region.inventory.group(self.region.group_of(service)))

    def run(self, commands: Mapping[str, Sequence[Command]]) -> Answers:
        """Run commands and return what each said; failed ones are answers too.

        :raises ScsError: Ansible itself failed
        """
        return remote.execute(self.region, commands)

    def require(self, commands: Mapping[str, Sequence[Command]]) -> dict[str, tuple[Answer, ...]]:
        """Run commands that must all succeed.

        :raises ScsError: a host is unreachable, or a command failed; with its last words
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
        """Run one command on one host; a failed one is an answer too.

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

        :param wait: until it is healthy
        :raises ScsError: it did not follow
        """
        task = {
            "name": f"{action.capitalize()} {container}",
            "scs.core.containers": {"actions": [{"action": action, "container": container, "wait": wait}]},
        }
        self.task(task, hosts)
        done = {(host, container) for host in hosts}
        self.stopped = self.stopped | done if action == "stop" else self.stopped - done

    def companions(self, service: str, create: bool, hosts: Sequence[str]) -> None:
        """Start the containers of a service other than the one named like it: `scs stop` stopped those too.

        :param create: they may not exist
        :raises ScsError: one did not follow
        """
        for name in self.region.catalog.services[service].containers:
            if name != service:
                self.containers("create" if create else "start", name, hosts)

    def task(self, task: Mapping[str, Any], hosts: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Run one Ansible task on hosts; returns each one's result.

        :raises ScsError: a host is unreachable, or the task failed there
        """
        if not hosts:
            return {}
        play = {"name": task["name"], "hosts": ",".join(hosts), "gather_facts": False, "tasks": [dict(task)]}
        result = runner.run_playbook(self.region.environment, [play], keep_results=True)
        result.raise_for(changing=True)
        return result.results

    def until(self, ready: Callable[[], str], seconds: float, otherwise: str) -> None:
        """Look again and again until `ready` returns ''; what it returns meanwhile is shown.

        :param ready: '' or what is still missing; may raise ScsError when waiting is in vain
        :raises ScsError: `seconds` are over
        """
        if missing := self.wait(ready, seconds, INTERVAL):
            raise ScsError(f"{otherwise} after {seconds:.0f} s: {missing}")

    def wait(self, left: Callable[[], str], seconds: float, interval: float = 1.0, show: bool = True) -> str:
        """Ask until nothing is left; returns what is left after `seconds`.

        :param show: what is left meanwhile
        """
        deadline = time.monotonic() + seconds
        while now := left():
            if time.monotonic() > deadline:
                return now
            if show:
                self.say("now", now)
            time.sleep(interval)
        return ""
