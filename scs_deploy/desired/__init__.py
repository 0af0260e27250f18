# SPDX-License-Identifier: Apache-2.0
"""The desired state of each host, with all defaults explicit."""
