# SPDX-License-Identifier: Apache-2.0
"""Runs commands in containers of this node: in running ones, or in one-shot copies of them.

The manager sends this file and `engine` over ssh and calls `answers`, or Ansible does so with the module `execute`.
Standard library only.
"""

from __future__ import annotations

import fcntl
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible_collections.scs.core.plugins.module_utils.engine import Engine, EngineError

LOCK = "/run/scs-engine.lock"
NOT_FOUND, CONFLICT = 404, 409


def run(engine: Engine, command: dict[str, Any]) -> dict[str, Any]:
    """Run one command."""
    try:
        if not command.get("one_shot"):
            code, output = engine.execute(command["container"], command["argv"], timeout=command["timeout"])
            return {"code": code, "output": output, "container": "running"}
        return one_shot(engine, command)
    except EngineError as error:
        answer = {"code": -1, "output": str(error)}
        return answer if command.get("one_shot") else {**answer, "container": state(engine, command, error.status)}


def state(engine: Engine, command: dict[str, Any], status: int) -> str:
    """The state of a container in which a command could not run.

    Source: Docker Engine API, POST /containers/{id}/exec: 404 no such container, 409 not running, paused or restarting.

    :param status: HTTP status of the engine's refusal; 0: it did not answer
    """
    if status != CONFLICT:
        return {0: "unreachable", NOT_FOUND: "absent"}.get(status, "running")
    try:
        container = engine.inspect(command["container"])
    except EngineError:
        return "unreachable"
    if container is None:
        return "absent"
    return "restarting" if container["State"]["Restarting"] else "stopped"


def one_shot(engine: Engine, command: dict[str, Any]) -> dict[str, Any]:
    """Run a command in a temporary container."""
    name = f"execute_{command['container']}"
    engine.remove(name)
    engine.create(name, command["body"])
    try:
        engine.start(name)
        code = engine.wait(name, command["timeout"])
        return {"code": code, "output": engine.logs(name, 2000)}
    finally:
        engine.remove(name)


def answers(commands: list[dict[str, Any]], together: bool = False) -> list[dict[str, Any]]:
    """Run commands while no other module changes this node; returns their answers in the same order.

    :param together: those of different containers at the same time, and one-shot ones beside those in running ones
    """
    engine = Engine()
    found: list[dict[str, Any]] = [{} for _ in commands]

    def run_all(numbers: list[int]) -> None:
        for number in numbers:
            found[number] = run(engine, commands[number])

    lanes: dict[tuple[str, bool], list[int]] = {}
    for number, command in enumerate(commands):
        lane = (command["container"], bool(command.get("one_shot"))) if together else ("", False)
        lanes.setdefault(lane, []).append(number)
    with open(LOCK, "w") as lock, ThreadPoolExecutor(max(len(lanes), 1)) as pool:
        fcntl.flock(lock, fcntl.LOCK_EX)
        list(pool.map(run_all, lanes.values()))
    return found
