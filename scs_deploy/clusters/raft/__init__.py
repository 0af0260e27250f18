# SPDX-License-Identifier: Apache-2.0
"""OVSDB's Raft clusters, as used by OVN: databases in which a majority of the servers must agree."""

from __future__ import annotations

from scs_deploy.clusters.raft.driver import Driver

__all__ = ["Driver"]
