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
  together:
    description: Run the commands of different containers at the same time.
    type: bool
    default: false
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

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.scs.core.plugins.module_utils.commands import answers


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        {
            "commands": {"type": "list", "elements": "dict", "required": True},
            "together": {"type": "bool", "default": False},
        }
    )
    module.exit_json(changed=False, answers=answers(module.params["commands"], module.params["together"]))


if __name__ == "__main__":
    main()
