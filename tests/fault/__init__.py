# SPDX-License-Identifier: Apache-2.0
"""Fault tests: a prober asks the region of three nodes all the time while one of them is taken away."""
