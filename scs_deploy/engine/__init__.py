# SPDX-License-Identifier: Apache-2.0
"""How the manager looks at hosts and changes them, through Ansible."""
