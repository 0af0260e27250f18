# SPDX-License-Identifier: Apache-2.0
"""The part of a region that a command acts on."""

from __future__ import annotations

from dataclasses import dataclass

from scs_deploy.spec.container import Impact


@dataclass(frozen=True)
class Selection:
    """The part of a region that a run may change; everything if empty."""

    services: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    allow: tuple[Impact, ...] = ()
    data_loss: tuple[str, ...] = ()
    """pools whose data may be lost"""
