#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Documentation of the action plugin of this name, which does all the work on the manager."""

DOCUMENTATION = r"""
module: shared
short_description: Change what the hosts of a region share
description: Creates and repairs schemas, broker accounts, Keystone accounts and catalogue entries that a plan names.
options:
  kind:
    description: Kind of the subjects, for readers of the playbook.
    type: str
    choices: [database, account, catalogue]
    required: true
  servers:
    description: Services whose servers have the subjects, for example C(mariadb).
    type: list
    elements: str
    required: true
  subjects:
    description: Subjects of the plan's changes, for example C(mariadb schema nova).
    type: list
    elements: str
    required: true
author: SCS deploy contributors
"""
EXAMPLES = r"""
- name: Databases
  scs.core.shared:
    kind: database
    servers: [mariadb]
    subjects: [mariadb schema keystone]
"""
RETURN = r"""
done:
  description: Subjects that were changed.
  type: list
  returned: always
"""
