# SPDX-License-Identifier: Apache-2.0
"""Ceph: monitors, managers and OSDs."""

from __future__ import annotations

from scs_deploy.clusters.ceph.driver import Driver

__all__ = ["Driver"]
