# SPDX-License-Identifier: Apache-2.0
"""Runs commands in containers on many hosts at once, and returns their answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from scs_deploy.base.errors import ScsError
from scs_deploy.base.model import Model
from scs_deploy.desired import resolve
from scs_deploy.engine import asking, programs, runner
from scs_deploy.engine.runner import RunResult
from scs_deploy.engine.transport import Reply
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


def execute(region: Region, commands: Mapping[str, Sequence[Command]], together: bool = False) -> Answers:
    """Run commands, on all hosts at the same time and in sequence on each host.

    :param commands: by host name
    :param together: also on each host at the same time, if their containers differ; for commands that only read
    :raises ScsError: a host's container engine does not respond, or Ansible itself failed
    """
    chosen = {host: [c.model_dump(mode="json") for c in own] for host, own in commands.items() if own}
    if not chosen:
        return Answers()
    result = RunResult("successful")

    def program(host: str) -> str:
        return programs.commands(with_bodies(region, host, chosen[host]), together)

    def with_ansible(others: Sequence[str]) -> RunResult:
        return _execute_with_ansible(region, {h: chosen[h] for h in others}, together)

    def take(reply: Reply) -> None:
        result.results[reply.host] = reply.answer

    asking.ask(region, chosen, program, with_ansible, take, result)
    result.raise_for(changing=True, but_unreachable=True)
    answers = {
        host: tuple(Answer.model_validate(a) for a in result.results[host]["answers"])
        for host in chosen
        if host in result.results
    }
    return Answers(answers, dict(result.unreachable))


def runner_in(region: Region) -> Callable[[str, str, tuple[str, ...]], tuple[int, str]]:
    """Runs one command in a container: (host, container, argv) -> (exit code, output)."""

    def run(host: str, container: str, argv: tuple[str, ...]) -> tuple[int, str]:
        try:
            answers = execute(region, {host: [Command(container=container, argv=argv)]})
        except ScsError as error:
            return -1, str(error)
        if host not in answers.by_host:
            return -1, answers.unreachable.get(host, "no answer")
        answer = answers.by_host[host][0]
        return answer.code, answer.output

    return run


def with_bodies(region: Region, host: str, commands: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Commands as the host takes them: one-shot ones with the definition of their own container."""
    found = [dict(c) for c in commands]
    owners = {region.catalog.owner[c["container"]] for c in found if c["one_shot"]}
    containers = resolve.resolve(region, host, owners).containers if owners else {}
    for command in found:
        if command["one_shot"]:
            body = dict(containers[command["container"]].body)
            body.pop("Healthcheck", None)
            host_config = {k: v for k, v in body["HostConfig"].items() if k != "RestartPolicy"}
            command["body"] = {
                **body,
                "Cmd": command["argv"],
                "HostConfig": host_config,
                "Labels": {"scs.execute": command["container"]},
            }
    return found


def _execute_with_ansible(region: Region, chosen: Mapping[str, Any], together: bool) -> RunResult:
    """On hosts that only Ansible can reach."""
    task = {"name": "Execute", "scs.core.execute": {"commands": dict(chosen), "together": together}}
    play = {"name": "Execute", "hosts": ",".join(sorted(chosen)), "gather_facts": False, "tasks": [task]}
    return runner.run_playbook(region.environment, [play], keep_results=True, variables=region.tolerated)
