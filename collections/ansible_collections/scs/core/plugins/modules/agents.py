#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Documentation of the action plugin of this name, which does all the work on the manager."""

DOCUMENTATION = r"""
module: agents
short_description: Wait until Nova and Neutron know that processes work
description:
  - Asks the APIs until each process has reported since the task began, and fails when one does not within two minutes.
options:
  agents:
    description: Each with C(api), which is compute or network, C(binary) and C(host).
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
