#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""nova-compute with libvirt's event loop registered first.

On a host's first start Nova connects to libvirt (to see that a new host has no guests) before it registers the loop:
without this, that process never hears of guests' events, and detaching devices waits for time-outs.
"""

import sys

# Imported first: it applies eventlet's patches.
from nova.cmd import compute  # isort: skip

import libvirt  # isort: skip

if __name__ == "__main__":
    libvirt.virEventRegisterDefaultImpl()
    sys.argv[0] = "nova-compute"
    compute.main()
