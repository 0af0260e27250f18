# SPDX-License-Identifier: Apache-2.0
"""Create the hosts of a testbed on this machine, and deploy a region on them."""
