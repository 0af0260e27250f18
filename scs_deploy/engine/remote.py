# SPDX-License-Identifier: Apache-2.0
"""Runs commands in containers on many hosts at once, and returns their answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from scs_deploy.base.model import Model
from scs_deploy.engine import runner
from scs_deploy.region.region import Region


class Command(Model):
    """A command in a container."""

    container: str
    argv: tuple[str, ...]
    """must not contain secrets, because the host's process list shows it"""
    timeout: int = 60
    """seconds"""
    one_shot: bool = False
    """run in a new container with the image, files, mounts and user of this one, e.g. while this one is stopped"""


class ContainerState(StrEnum):
    """The state of a container according to its host's container engine."""

    RUNNING = "running"
    RESTARTING = "restarting"
    """it exited, and the engine restarts it"""
    STOPPED = "stopped"
    ABSENT = "absent"
    UNREACHABLE = "unreachable"
    """the engine does not respond"""


class Answer(Model):
    """The result of a command."""

    code: int
    """-1: timeout, or the container is not running; `output` says which"""
    output: str
    """standard output and error"""
    container: ContainerState | None = None
    """None for a one-shot command, which has its own container"""


@dataclass(frozen=True)
class Answers:
    """The answers of all hosts."""

    by_host: dict[str, tuple[Answer, ...]] = field(default_factory=dict)
    """in the order of the host's commands"""
    unreachable: dict[str, str] = field(default_factory=dict)
    """host: ssh's message"""


def execute(region: Region, commands: Mapping[str, Sequence[Command]]) -> Answers:
    """Run commands, on all hosts at the same time and in sequence on each host.

    :param commands: by host name
    :raises ScsError: a host's container engine does not respond, or Ansible itself failed
    """
    chosen = {host: [c.model_dump(mode="json") for c in own] for host, own in commands.items() if own}
    if not chosen:
        return Answers()
    task = {"name": "Execute", "scs.core.execute": {"commands": chosen}}
    play = {"name": "Execute", "hosts": ",".join(sorted(chosen)), "gather_facts": False, "tasks": [task]}
    result = runner.run_playbook(region.environment, [play], keep_results=True, variables=region.tolerated)
    result.raise_for(changing=True, but_unreachable=True)
    answers = {
        host: tuple(Answer.model_validate(a) for a in result.results[host]["answers"])
        for host in chosen
        if host in result.results
    }
    return Answers(answers, dict(result.unreachable))
