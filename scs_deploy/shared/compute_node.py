# SPDX-License-Identifier: Apache-2.0
"""The identity of a compute node: nova-compute refuses to start with another identity under a host name known to Nova.

https://docs.openstack.org/nova/2025.1/admin/compute-node-identification.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scs_deploy.region.region import Region

CONTAINER = "nova_compute"
QUERY = "SELECT host, uuid FROM nova.compute_nodes WHERE deleted = 0;"
"""Reads host and identity of all compute nodes from the database."""

FOLDER = "/var/lib/nova"


def tasks(region: Region, nodes: Mapping[str, str]) -> list[dict[str, Any]]:
    """Ansible tasks that restore the identities of the hosts in `nodes`. Other hosts do not change.

    :param nodes: host: UUID
    """
    user = region.users["nova"]
    owner = {"owner": str(user.uid), "group": str(user.gid)}
    known = {"when": "inventory_hostname in nodes", "vars": {"nodes": dict(nodes)}}
    folder = {"path": FOLDER, "state": "directory", "mode": "0755", **owner}
    file = {"dest": f"{FOLDER}/compute_id", "content": "{{ nodes[inventory_hostname] }}", "mode": "0644", **owner}
    return [
        {"name": "Create Nova's folder", "ansible.builtin.file": folder, **known},
        {"name": "Write the compute node's identity", "ansible.builtin.copy": file, **known},
    ]
