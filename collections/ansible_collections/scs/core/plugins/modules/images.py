#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Pulls images by digest."""

DOCUMENTATION = r"""
module: images
short_description: Pull images by digest
description:
  - Pulls each image that the node's Docker engine does not hold yet.
  - While it unpacks them, the engine gets only what the node's containers leave of the processors.
options:
  pull:
    description: References C(registry/repository@digest).
    type: list
    elements: str
    required: true
author: SCS deploy contributors
"""
EXAMPLES = r"""
- name: Pull
  scs.core.images:
    pull: [registry.example:5000/scs/keystone@sha256:...]
"""
RETURN = r"""
pulled:
  description: References that were pulled.
  type: list
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.scs.core.plugins.module_utils import share
from ansible_collections.scs.core.plugins.module_utils.engine import Engine, EngineError


def main() -> None:
    """Entry point."""
    module = AnsibleModule({"pull": {"type": "list", "elements": "str", "required": True}}, supports_check_mode=True)
    engine, pulled = Engine(), []
    try:
        missing = [r for r in module.params["pull"] if not engine.has_image(r)]
        container = next((engine.pid(name) for name in engine.running()), 0) if missing else 0
        with share.idle(engine.own_pid(), container):
            for reference in missing:
                if not module.check_mode:
                    engine.pull(reference)
                pulled.append(reference)
    except EngineError as error:
        module.fail_json(msg=f"pull: {error}", pulled=pulled)
    module.exit_json(changed=bool(pulled), pulled=pulled)


if __name__ == "__main__":
    main()
