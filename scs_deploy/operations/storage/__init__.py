# SPDX-License-Identifier: Apache-2.0
"""Disks of the region's Ceph: what they hold, and how they come, go and are replaced."""
