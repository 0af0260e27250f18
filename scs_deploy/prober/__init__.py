# SPDX-License-Identifier: Apache-2.0
"""Measures a region from outside while a run changes it: the run's record keeps the sums."""
