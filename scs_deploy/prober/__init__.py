# SPDX-License-Identifier: Apache-2.0
"""Measure a region from outside while a run changes it. The run's record keeps the sums."""
