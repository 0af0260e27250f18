#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Runs commands in containers of this node: in running ones, or in one-shot copies of them."""

DOCUMENTATION = r"""
module: execute
short_description: Run commands in containers
description:
  - Runs each command in a running container or, with C(one_shot), in a new container with the image, files, mounts and
    user of a stopped one.
  - A failed command does not fail the task; the module returns its exit code.
options:
  commands:
    description: Each with C(container), C(argv), C(timeout) in seconds, C(one_shot); the action plugin adds more.
    type: list
    elements: dict
    required: true
author: SCS deploy contributors
"""
EXAMPLES = r"""
- name: Ask
  scs.core.execute:
    commands:
      - {container: rabbitmq, argv: [rabbitmqctl, cluster_status], timeout: 60, one_shot: false}
"""
RETURN = r"""
answers:
  description:
    - C(code) and C(output) of each command. Code -1 means a timeout, or that the container is not running.
    - C(container) is the state of the container, one of running, restarting, stopped, absent, unreachable (the engine
      does not answer). One-shot commands do not have it, because they run in their own container.
  type: list
  returned: always
"""

import fcntl
from typing import Any

from ansible.module_utils.basic import AnsibleModule
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


def main() -> None:
    """Entry point."""
    module = AnsibleModule({"commands": {"type": "list", "elements": "dict", "required": True}})
    with open(LOCK, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        engine = Engine()
        answers = [run(engine, command) for command in module.params["commands"]]
    module.exit_json(changed=False, answers=answers)


if __name__ == "__main__":
    main()
