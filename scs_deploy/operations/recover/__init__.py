# SPDX-License-Identifier: Apache-2.0
"""Brings back clusters that have lost their quorum or a member, as their drivers say."""
