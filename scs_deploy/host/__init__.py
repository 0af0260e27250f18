# SPDX-License-Identifier: Apache-2.0
"""Host configuration below the containers."""
