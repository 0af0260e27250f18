# SPDX-License-Identifier: Apache-2.0
"""The effects of a recovery: commands in containers, containers started and stopped, each step recorded."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scs_deploy.base.errors import ScsError
from scs_deploy.engine import remote, runner
from scs_deploy.engine.remote import Answer, Answers, Command
from scs_deploy.operations.recover.model import Step
from scs_deploy.region.region import Region
from scs_deploy.state.runs import RunRecord, Status

Say = Callable[[str, str], None]
"""Called with (`step`, `done` or `now`; what)."""

INTERVAL = 3.0
"""Seconds between two looks at a member that shall become something."""


def _silent(_kind: str, _text: str) -> None:
    """Nobody watches."""


@dataclass
class Session:
    """A region that is looked at, or, with a record, changed."""

    region: Region
    say: Say = _silent
    still_ours: Callable[[], None] | None = None
    """asked before each step; raises when another run has taken the region meanwhile"""
    record: RunRecord | None = None
    stopped: set[tuple[str, str]] = field(default_factory=set)
    """(host, container) that this recovery stopped and did not start again"""

    def hosts(self, service: str) -> tuple[str, ...]:
        """The hosts of a service's members, sorted."""
        return tuple(h.name for h in self.region.inventory.group(self.region.group_of(service)))

    def ask(self, commands: Mapping[str, Sequence[Command]]) -> Answers:
        """Run commands and return what each said; failed ones are answers too.

        :raises ScsError: Ansible itself failed
        """
        return remote.execute(self.region, commands)

    def require(self, commands: Mapping[str, Sequence[Command]]) -> dict[str, tuple[Answer, ...]]:
        """Run commands that must all succeed.

        :raises ScsError: a host is unreachable, or a command failed; with its last words
        """
        answers = self.ask(commands)
        if answers.unreachable:
            raise ScsError(runner.summary(answers.unreachable, verb="became unreachable"))
        for host, own in answers.by_host.items():
            for command, answer in zip(commands[host], own, strict=True):
                if answer.code:
                    said = " ".join(answer.output.split())[-400:] or "no output"
                    raise ScsError(f"host {host}: {command.container}: {command.argv[0]} failed: {said}")
        return answers.by_host

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
        """Start what a service has beside the container that is named like it: `scs stop` stopped that too.

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
        play = {"name": task["name"], "hosts": ",".join(hosts), "gather_facts": False, "tasks": [dict(task)]}
        result = runner.run_playbook(self.region.environment, [play], keep_results=True)
        result.raise_for(changing=True)
        return result.results

    def until(self, ready: Callable[[], str], seconds: float, otherwise: str) -> None:
        """Look again and again until `ready` returns ''; what it returns meanwhile is shown.

        :param ready: '' or what is still missing; may raise ScsError when waiting is in vain
        :raises ScsError: `seconds` are over
        """
        deadline = time.monotonic() + seconds
        while missing := ready():
            if time.monotonic() > deadline:
                raise ScsError(f"{otherwise} after {seconds:.0f} s: {missing}")
            self.say("now", missing)
            time.sleep(INTERVAL)

    def carry_out(self, step: Step, act: Callable[[Session, Step], None]) -> None:
        """One step, with its record."""
        if self.still_ours:
            self.still_ours()
        self.say("step", f"{names_of(step)}: {step.what}")
        record = self.record
        if record is None:
            raise ScsError(f"{step.what}: a step without a record")
        numbers = [
            record.step_started(step.what, phase="recover", host=host, subject=step.container) for host in step.hosts
        ]
        try:
            act(self, step)
        except ScsError as error:
            for number in numbers:
                record.step_finished(number, Status.FAILED, str(error))
            raise
        for index, number in enumerate(numbers):
            record.step_finished(number, Status.DONE, changes_done=0 if index else 1)
        self.say("done", f"{names_of(step)}: {step.what}")


def names_of(step: Step) -> str:
    """A step's hosts, for people."""
    return ", ".join(step.hosts)
