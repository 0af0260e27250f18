# SPDX-License-Identifier: Apache-2.0
"""Certificates that a test wants."""

from __future__ import annotations

from scs_deploy.secrets.issuing import Wanted


def server(*names: str, client: bool = False) -> Wanted:
    """One of the region's CA, with these names."""
    return Wanted(names=names, client=client)


def member(group: str, name: str) -> Wanted:
    """One of a group's CA, for both sides of a connection."""
    return Wanted(names=(name, "127.0.0.1"), group=group, unit=group, client=True)
