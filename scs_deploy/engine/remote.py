# SPDX-License-Identifier: Apache-2.0
"""Runs commands in the containers of many hosts at once, and returns what each said."""

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
    """never holds a secret: it is shown by the host's process list"""
    timeout: int = 60
    """seconds"""
    one_shot: bool = False
    """in a new container with this one's image, files, mounts and user, e.g. while it is stopped"""


class ContainerState(StrEnum):
    """What a container does, as its host's engine says."""

    RUNNING = "running"
    RESTARTING = "restarting"
    """it ends, and the engine starts it again"""
    STOPPED = "stopped"
    ABSENT = "absent"
    UNREACHABLE = "unreachable"
    """the engine does not answer"""


class Answer(Model):
    """How a command ended."""

    code: int
    """-1: no answer in time, or the container does not run; `output` says which"""
    output: str
    """standard output and error"""
    container: ContainerState | None = None
    """None: it was a one-shot command, in a container of its own"""


@dataclass(frozen=True)
class Answers:
    """What all hosts said."""

    by_host: dict[str, tuple[Answer, ...]] = field(default_factory=dict)
    """in the order of the host's commands"""
    unreachable: dict[str, str] = field(default_factory=dict)
    """host: what ssh said"""


def execute(region: Region, commands: Mapping[str, Sequence[Command]]) -> Answers:
    """Run each host's commands, one after the other on a host, the hosts at the same time.

    :param commands: by host name
    :raises ScsError: a host's engine does not answer, or Ansible itself failed
    """
    chosen = {host: [c.model_dump(mode="json") for c in own] for host, own in commands.items() if own}
    if not chosen:
        return Answers()
    task = {"name": "Execute", "scs.core.execute": {"commands": chosen}}
    play = {"name": "Execute", "hosts": ",".join(sorted(chosen)), "gather_facts": False, "tasks": [task]}
    result = runner.run_playbook(region.environment, [play], keep_results=True)
    result.raise_for(changing=True, but_unreachable=True)
    answers = {
        host: tuple(Answer.model_validate(a) for a in result.results[host]["answers"])
        for host in chosen
        if host in result.results
    }
    return Answers(answers, dict(result.unreachable))
