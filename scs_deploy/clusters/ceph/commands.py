# SPDX-License-Identifier: Apache-2.0
"""Commands in the containers of Ceph."""

from __future__ import annotations

from scs_deploy.engine.remote import Command
from scs_deploy.region.ceph import MONITOR

VIEW = Command(container=MONITOR, argv=("/etc/ceph/ceph_view.py",), timeout=60)
"""Everything that the quorum and the manager know."""


def ceph(*words: str, timeout: int = 60) -> Command:
    """`ceph` as the operator."""
    return Command(container=MONITOR, argv=("ceph", "--connect-timeout=15", *words), timeout=timeout)


def mon_status(host: str) -> Command:
    """What a monitor says of itself over its socket, with or without a quorum."""
    return Command(container=MONITOR, argv=("ceph", "daemon", f"mon.{host}", "mon_status"), timeout=20)
