# SPDX-License-Identifier: Apache-2.0
"""What changes a region: one module for each operation."""
