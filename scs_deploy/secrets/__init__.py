# SPDX-License-Identifier: Apache-2.0
"""A region's secrets, certificates and credentials."""
