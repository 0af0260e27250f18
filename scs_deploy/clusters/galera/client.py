# SPDX-License-Identifier: Apache-2.0
"""How a member is asked for its status."""

from __future__ import annotations

from typing import Final

ASK: Final = """
if [ -e "${0%/*}/monitor.sh" ]; then
  . "${0%/*}/monitor.sh"
  monitor '' "$1"
else
  exec mariadb --defaults-file="${0%/*}/monitor.cnf" --batch --skip-column-names --execute "$1"
fi
"""
"""Over its reserved connections, which a region lacks until the first apply of this scs."""


def monitor(query: str) -> tuple[str, ...]:
    """The command that runs a query as `monitor` in a member's container."""
    return ("sh", "-c", ASK, "/etc/mysql/status", query)
