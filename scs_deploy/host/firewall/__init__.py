# SPDX-License-Identifier: Apache-2.0
"""The packet filter of hosts: `desired.firewall` has the rules, this package sets them."""
