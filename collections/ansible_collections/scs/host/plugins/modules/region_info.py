#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Documentation of the action plugin of this name; nothing runs on the host."""

DOCUMENTATION = r"""
module: region_info
short_description: Read a region's values for its hosts
description:
  - Returns values that roles need from the region's environment.yml, inventory and CA certificate.
  - Runs on the manager. The environment variable SCS_ENVIRONMENT names the region. Returns no secrets.
author: SCS deploy contributors
"""
EXAMPLES = r"""
- name: Read the region
  scs.host.region_info:
  register: bootstrap_region
"""
RETURN = r"""
names:
  description: Address and name of every host and of the API.
  type: list
  returned: success
registries:
  description: Maps the registry (host and port) to the PEM text of the region CA; empty if scs does not manage it.
  type: dict
  returned: success
"""
