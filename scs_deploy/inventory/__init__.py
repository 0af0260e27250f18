# SPDX-License-Identifier: Apache-2.0
"""The region's hosts, from NetBox, an Ansible inventory or a synced file."""
