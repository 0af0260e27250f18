# SPDX-License-Identifier: Apache-2.0
"""Galera: MariaDB servers that each hold all data."""

from __future__ import annotations

from scs_deploy.clusters.galera.driver import Driver

__all__ = ["Driver"]
