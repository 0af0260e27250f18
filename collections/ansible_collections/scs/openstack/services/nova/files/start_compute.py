#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""nova-compute with libvirt's event loop registered first.

On a host's first start, Nova connects to libvirt (to check that a new host has no guests) before it registers the loop.
That process would then get no events of guests, and detaching devices would wait for timeouts.
"""

import sys

# Imported first: it applies eventlet's patches.
from nova.cmd import compute  # isort: skip

import libvirt  # isort: skip

if __name__ == "__main__":
    libvirt.virEventRegisterDefaultImpl()
    sys.argv[0] = "nova-compute"
    compute.main()
