# SPDX-License-Identifier: Apache-2.0
"""`cluster.settings` of a service with raft databases, and the commands that follow from them."""

from __future__ import annotations

from pydantic import Field

from scs_deploy.base.model import Model
from scs_deploy.engine.remote import Command


class Database(Model):
    """One database: a cluster of its own."""

    name: str = Field(description="for people, e.g. OVN northbound")
    schema_name: str = Field(alias="schema", description="e.g. OVN_Northbound")
    clients: dict[str, str] = Field(
        default_factory=dict, description="container: its command (ovn-appctl) that says that the cluster is new"
    )


class Settings(Model):
    """The databases of a service."""

    databases: dict[str, Database] = Field(description="by container")
    chassis: str = Field(default="", description="container that binds routers' gateways to its host, if any")


def control_socket(container: str) -> str:
    """Where a database's server takes commands, e.g. that of `ovn_nb` at ovnnb_db.ctl."""
    return f"/run/ovn/{container.replace('_', '')}_db.ctl"


def control(container: str, timeout: int) -> tuple[str, ...]:
    """`ovs-appctl` of a database's own server."""
    return ("ovs-appctl", f"--timeout={timeout}", f"--target={control_socket(container)}")


def cluster_command(container: str, database: Database, verb: str, *arguments: str) -> Command:
    """`cluster/<verb>` of a database's own server."""
    argv = (*control(container, 30), f"cluster/{verb}", database.schema_name, *arguments)
    return Command(container=container, argv=argv, timeout=40)
