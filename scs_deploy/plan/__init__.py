# SPDX-License-Identifier: Apache-2.0
"""Differences between desired and observed, in order."""
