# SPDX-License-Identifier: Apache-2.0
"""What hosts share in the region's Ceph: pools, CRUSH rules, erasure code profiles, clients, places of hosts."""
