# SPDX-License-Identifier: Apache-2.0
"""OVN's chassis: which hosts may have router gateways, and which do."""

from __future__ import annotations

import json

from scs_deploy.clusters.base import Answers
from scs_deploy.engine.remote import Command

SOUTHBOUND = "ovn_sb"
GATEWAY = "enable-chassis-as-gw"


def southbound(*arguments: str) -> Command:
    """`ovn-sbctl` on the host's own member, which need not be the leader."""
    argv = ("ovn-sbctl", "--db=unix:/run/ovn/ovnsb_db.sock", "--no-leader-only", "--timeout=10", *arguments)
    return Command(container=SOUTHBOUND, argv=argv, timeout=20)


PORTS = southbound("--format=json", "--columns=logical_port,chassis", "find", "Port_Binding", "type=chassisredirect")
CHASSIS = southbound("--format=json", "--columns=_uuid,name", "list", "Chassis")


def options(container: str) -> Command:
    """Read the chassis options."""
    argv = ("ovs-vsctl", "--timeout=10", "--if-exists", "get", "Open_vSwitch", ".", "external_ids:ovn-cms-options")
    return Command(container=container, argv=argv, timeout=20)


def change(container: str, *arguments: str) -> Command:
    """`ovs-vsctl` on a chassis."""
    return Command(container=container, argv=("ovs-vsctl", "--timeout=10", "--no-wait", *arguments), timeout=20)


def leave(container: str) -> Command:
    """Remove the gateway option: Neutron unschedules all routers from the chassis, and OVN moves their bindings."""
    away = ("remove", "Open_vSwitch", ".", "external_ids", "ovn-cms-options")
    return change(container, "set", "Open_vSwitch", ".", "external_ids:scs-drained=true", "--", *away)


def offer(container: str) -> Command:
    """Set the gateway option, so that Neutron may schedule routers there again."""
    back = ("set", "Open_vSwitch", ".", f"external_ids:ovn-cms-options={GATEWAY}")
    return change(container, "remove", "Open_vSwitch", ".", "external_ids", "scs-drained", "--", *back)


def deletions(host: str) -> tuple[Command, ...]:
    """Commands that delete a chassis from the southbound database."""
    return (
        southbound("--if-exists", "chassis-del", host),
        southbound("--if-exists", "destroy", "Chassis_Private", host),
    )


def ports(answers: Answers) -> dict[str, tuple[str, ...]]:
    """Router gateway ports by host, from the first member that responds, since all have the same data."""
    for own in answers.values():
        found, chassis = own.get("ports"), own.get("chassis")
        if found and chassis and found.code == chassis.code == 0:
            return bindings(found.output, chassis.output)
    return {}


def bindings(ports: str, chassis: str) -> dict[str, tuple[str, ...]]:
    """Router gateway ports by chassis.

    :param ports: `ovn-sbctl --format=json --columns=logical_port,chassis find Port_Binding type=chassisredirect`
    :param chassis: `ovn-sbctl --format=json --columns=_uuid,name list Chassis`
    """
    try:
        names = {row[0][1]: row[1] for row in json.loads(chassis)["data"]}
        rows = json.loads(ports)["data"]
    except (ValueError, KeyError, IndexError):
        return {}
    result: dict[str, list[str]] = {}
    for port, at in rows:
        # an optional reference is ["uuid", id], or ["set", []] if unset
        if at[0] == "uuid" and at[1] in names:
            result.setdefault(names[at[1]], []).append(port)
    return {name: tuple(sorted(own)) for name, own in result.items()}
