# SPDX-License-Identifier: Apache-2.0
"""Asks which hosts can be reached, with one command that changes nothing and needs nothing on them."""

from __future__ import annotations

from collections.abc import Collection

from scs_deploy.engine import runner
from scs_deploy.region.region import Region


def unreachable(region: Region, hosts: Collection[str]) -> dict[str, str]:
    """The hosts that cannot be reached, and what ssh said.

    :raises ScsError: Ansible itself failed
    """
    if not hosts:
        return {}
    task = {"name": "Reach", "ansible.builtin.raw": "true", "changed_when": False}
    play = {"name": "Reach", "hosts": ",".join(sorted(hosts)), "gather_facts": False, "tasks": [task]}
    result = runner.run_playbook(region.environment, [play])
    result.raise_for("reaching", but_unreachable=True)
    return dict(sorted(result.unreachable.items()))
