# SPDX-License-Identifier: Apache-2.0
"""Backups of what a region cannot make again: databases, keys, definitions, its description."""
