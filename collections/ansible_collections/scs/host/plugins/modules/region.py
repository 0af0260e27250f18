#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Documentation of the action plugin of this name; nothing runs on the host."""

DOCUMENTATION = r"""
module: region
short_description: What a region says of its hosts
description:
  - Returns values that roles need and that stand in the region's environment.yml, inventory and CA certificate.
  - Runs on the manager. The environment variable SCS_ENVIRONMENT names the region. Holds no secret.
author: SCS deploy contributors
"""
EXAMPLES = r"""
- name: Read the region
  scs.host.region:
  register: region
"""
RETURN = r"""
names:
  description: Address and name of every host and of the API.
  type: list
  returned: success
registries:
  description: Registry (host and port) as key, PEM text of the region CA as value; empty when it is somebody else's.
  type: dict
  returned: success
"""
