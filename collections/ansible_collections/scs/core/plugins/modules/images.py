#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Pulls images by digest, and removes images that no container uses any more."""

DOCUMENTATION = r"""
module: images
short_description: Pull images by digest
description:
  - Pulls each image that the node's Docker engine does not have yet.
  - First removes images that earlier runs pulled, except those that a container uses and those in C(keep). Images in
    use stay, so that a rollback needs no pull; a node has two generations of an image.
  - While unpacking, the engine gets only CPU time that the node's containers do not use.
options:
  pull:
    description: References C(registry/repository@digest).
    type: list
    elements: str
    required: true
  keep:
    description: References C(registry/repository@digest) of the region's current images.
    type: list
    elements: str
    default: []
author: SCS deploy contributors
"""
EXAMPLES = r"""
- name: Pull
  scs.core.images:
    pull: [registry.example:5000/scs/keystone@sha256:...]
    keep: [registry.example:5000/scs/keystone@sha256:..., registry.example:5000/scs/nova@sha256:...]
"""
RETURN = r"""
pulled:
  description: References that were pulled.
  type: list
  returned: always
removed:
  description: References that were removed.
  type: list
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.scs.core.plugins.module_utils import share
from ansible_collections.scs.core.plugins.module_utils.engine import Engine, EngineError


def absent(engine: Engine, pull: list[str]) -> list[str]:
    """The images that the engine lacks."""
    return [r for r in pull if not engine.has_image(r)]


def unneeded(engine: Engine, keep: list[str]) -> list[str]:
    """The images in the repositories of `keep` that are not in `keep`."""
    own = {reference.partition("@")[0] for reference in keep}
    return [r for r in engine.references() if r.partition("@")[0] in own and r not in keep]


def bring(engine: Engine, pull: list[str], keep: list[str], pulled: list[str], removed: list[str]) -> None:
    """Remove unused images and pull missing ones. Fills both lists on the way, so that errors can report them."""
    missing = absent(engine, pull)
    if not missing:
        return
    container = next((engine.pid(name) for name in engine.running()), 0)
    with share.idle(engine.own_pid(), container):
        removed += [r for r in unneeded(engine, keep) if engine.remove_image(r)]
        for reference in missing:
            engine.pull(reference)
            pulled.append(reference)


def main() -> None:
    """Entry point."""
    names = {"type": "list", "elements": "str"}
    module = AnsibleModule(
        {"pull": names | {"required": True}, "keep": names | {"default": []}}, supports_check_mode=True
    )
    engine = Engine()
    pulled: list[str] = []
    removed: list[str] = []
    try:
        if module.check_mode:
            pulled += absent(engine, module.params["pull"])
        else:
            bring(engine, module.params["pull"], module.params["keep"], pulled, removed)
    except EngineError as error:
        module.fail_json(msg=f"pull: {error}", pulled=pulled, removed=removed)
    module.exit_json(changed=bool(pulled), pulled=pulled, removed=removed)


if __name__ == "__main__":
    main()
