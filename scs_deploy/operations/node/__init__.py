# SPDX-License-Identifier: Apache-2.0
"""Hosts of a running region: add, remove, drain, undrain, replace. Planning is pure, effects are thin."""
