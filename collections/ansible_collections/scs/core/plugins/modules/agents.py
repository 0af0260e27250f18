#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Documentation of the action plugin of this name, which does all the work on the manager."""

DOCUMENTATION = r"""
module: agents
short_description: Wait until Nova and Neutron report that processes are alive
description:
  - Polls the APIs until each process has reported since the task started. Fails if one does not within two minutes.
options:
  agents:
    description: Each with C(api) (compute or network), C(binary) and C(host).
    type: list
    elements: dict
    required: true
author: SCS deploy contributors
"""
EXAMPLES = r"""
- name: Alive
  scs.core.agents:
    agents: [{api: compute, binary: nova-compute, host: compute-1}]
"""
RETURN = r"""
"""
