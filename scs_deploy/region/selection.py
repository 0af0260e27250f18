# SPDX-License-Identifier: Apache-2.0
"""The part of a region that a command is about."""

from __future__ import annotations

from dataclasses import dataclass

from scs_deploy.spec.container import Impact


@dataclass(frozen=True)
class Selection:
    """What of a region a run may change; empty: everything."""

    services: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    allow: tuple[Impact, ...] = ()
