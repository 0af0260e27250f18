# SPDX-License-Identifier: Apache-2.0
"""`cluster.settings` of a service with Raft databases, and the commands derived from them."""

from __future__ import annotations

from pydantic import Field

from scs_deploy.base.model import Model
from scs_deploy.engine.remote import Command


class Database(Model):
    """One database: a cluster of its own."""

    name: str = Field(description="display name, e.g. OVN northbound")
    schema_name: str = Field(alias="schema", description="e.g. OVN_Northbound")
    clients: dict[str, str] = Field(
        default_factory=dict, description="container: its ovn-appctl command that announces a new cluster"
    )
    relays: tuple[str, ...] = Field(
        default=(), description="containers that pass it on; they restart for a new cluster"
    )


class Settings(Model):
    """The databases of a service."""

    databases: dict[str, Database] = Field(description="by container")
    chassis: str = Field(default="", description="container that binds router gateways to its host, if any")


def control_socket(container: str) -> str:
    """Control socket of a database's server, e.g. ovnnb_db.ctl for `ovn_nb`."""
    return f"/run/ovn/{container.replace('_', '')}_db.ctl"


def control(container: str, timeout: int) -> tuple[str, ...]:
    """`ovs-appctl` for the local server of a database."""
    return ("ovs-appctl", f"--timeout={timeout}", f"--target={control_socket(container)}")


def cluster_command(container: str, database: Database, verb: str, *arguments: str) -> Command:
    """`cluster/<verb>` for the local server of a database."""
    argv = (*control(container, 30), f"cluster/{verb}", database.schema_name, *arguments)
    return Command(container=container, argv=argv, timeout=40)
