# SPDX-License-Identifier: Apache-2.0
"""Compute hosts and guests over OpenStack's APIs. https://docs.openstack.org/api-ref/compute/"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from scs_deploy.base.errors import ScsError
from scs_deploy.environment.environment import Environment
from scs_deploy.operations.node.view import Compute, Guest
from scs_deploy.secrets import clouds

EVACUATE, FORCE_DOWN = "2.94", "2.53"
"""Microversions. From 2.95 on, Nova leaves a guest stopped that was running, and whoever starts it must know that.

https://docs.openstack.org/nova/latest/reference/api-microversion-history.html
"""


class Cloud:
    """The region's administrator's view.

    :raises RefusedError: there is no clouds file for this region
    """

    def __init__(self, environment: Environment) -> None:
        self.api = clouds.connect(environment)

    def computes(self) -> dict[str, Compute]:
        """Every compute host by name, with what Placement has free there.

        :raises ScsError: an API does not answer
        """
        with _errors("the compute and placement APIs"):
            services = {s.host: s for s in self.api.compute.services(binary="nova-compute")}
            nodes = {h.name: h.id for h in self.api.compute.hypervisors(details=True)}
            return {host: self._compute(service, nodes.get(host, "")) for host, service in services.items()}

    def _compute(self, service: Any, node: str) -> Compute:
        free = self._free(node) if node else {}
        return Compute(
            uuid=node,
            service=service.id,
            enabled=service.status == "enabled",
            up=service.state == "up",
            forced_down=bool(service.is_forced_down),
            reason=service.disabled_reason or "",
            zone=service.availability_zone or "",
            vcpus=free.get("VCPU", 0),
            memory=free.get("MEMORY_MB", 0),
            disk=free.get("DISK_GB", 0),
        )

    def _free(self, node: str) -> dict[str, int]:
        base = f"/resource_providers/{node}"
        inventories, usages = self.api.placement.get(f"{base}/inventories"), self.api.placement.get(f"{base}/usages")
        if inventories.status_code == 404:
            # a compute node that has not reported yet
            return {}
        return free(inventories.json()["inventories"], usages.json()["usages"])

    def guests(self, hosts: Iterable[str]) -> dict[str, tuple[Guest, ...]]:
        """Servers of all projects on these hosts.

        :raises ScsError: the compute API does not answer
        """
        with _errors("the compute API"):
            groups = list(self.api.compute.server_groups(all_projects=True))
            servers = {h: list(self.api.compute.servers(all_projects=True, compute_host=h)) for h in hosts}
            known = {s.id: h for h, own in servers.items() for s in own}
            return {h: tuple(self._guest(s, groups, known) for s in own) for h, own in servers.items()}

    def _guest(self, server: Any, groups: list[Any], known: dict[str, str]) -> Guest:
        flavor = server.flavor or {}
        local = flavor.get("ephemeral") or 0
        if server.image and server.image.get("id"):
            local += flavor.get("disk") or 0
        # a flavor with a disk of 0 GiB gets one as large as the image
        own_disk = bool(local) or bool(server.image and server.image.get("id"))
        together, apart = "", set()
        for group in groups:
            others = [m for m in group.member_ids or () if m != server.id]
            if server.id not in (group.member_ids or ()):
                continue
            if group.policy == "affinity" and others:
                together = group.name
            elif group.policy == "anti-affinity":
                apart = {known.get(m) or self._host_of(m) for m in others} - {""}
        return Guest(
            id=server.id,
            name=server.name,
            status=server.status,
            task=server.task_state or "",
            vcpus=flavor.get("vcpus") or 0,
            memory=flavor.get("ram") or 0,
            disk=local,
            zone=server.pinned_availability_zone or "",
            together=together,
            apart=tuple(sorted(apart)),
            own_disk=own_disk,
            volumes=tuple(v["id"] for v in server.attached_volumes or ()),
        )

    def _host_of(self, server: str) -> str:
        found = self.api.compute.find_server(server, all_projects=True)
        return (found and found.compute_host) or ""

    def where(self, guest: str) -> tuple[str, str, str]:
        """(host, status, task) of a guest; host '' when it is gone.

        :raises ScsError: the compute API does not answer
        """
        from openstack.exceptions import NotFoundException

        with _errors("the compute API"):
            try:
                server = self.api.compute.get_server(guest)
            except NotFoundException:
                return "", "DELETED", ""
            return server.compute_host or "", server.status, server.task_state or ""

    def migrate(self, guest: str) -> str:
        """Begin a live migration to a host of the scheduler's choice; its disk goes too when it is local.

        :returns: why Nova refuses; '' when it began
        """
        from openstack.exceptions import HttpException

        try:
            self.api.compute.live_migrate_server(guest, block_migration="auto")
        except HttpException as error:
            return str(error.details or error)
        return ""

    def evacuate(self, guest: str, host: str = "") -> str:
        """Begin to rebuild a guest with its disks on this host, if the scheduler agrees, or on one of its choice.

        :returns: why Nova refuses; '' when it began
        """
        from openstack.exceptions import HttpException, raise_from_response

        body = {"evacuate": {"host": host} if host else {}}
        try:
            raise_from_response(self.api.compute.post(f"/servers/{guest}/action", json=body, microversion=EVACUATE))
        except HttpException as error:
            return str(error.details or error)
        return ""

    def fault(self, guest: str) -> str:
        """Why the latest action on a guest failed; '' if Nova does not say.

        :raises ScsError: the compute API does not answer
        """
        with _errors("the compute API"):
            found = self.api.compute.get_server(guest).fault or {}
            # a guest that stays as it was, e.g. for lack of room on the host that was chosen, has no fault
            return " ".join(str(found.get("message") or self._failed_action(guest)).split())

    def _failed_action(self, guest: str) -> str:
        latest = max(self.api.compute.server_actions(guest), key=lambda a: str(a.start_time), default=None)
        if latest is None:
            return ""
        events = self.api.compute.get_server_action(latest.request_id, guest).events or ()
        said = [e.details or (e.traceback or "").strip().rpartition("\n")[2] for e in events if e.result == "Error"]
        return said[-1] if said else ""

    def force_down(self, host: str, down: bool) -> None:
        """Have Nova take a compute service as down whatever it reports, or by its reports again.

        :raises ScsError: no such service, the API does not answer, or refuses
        """
        from openstack.exceptions import raise_from_response

        with _errors("the compute API"):
            path = f"/os-services/{self._service(host)}"
            raise_from_response(self.api.compute.put(path, json={"forced_down": down}, microversion=FORCE_DOWN))

    def left_behind(self, host: str) -> int:
        """How many evacuations from a host its nova-compute has not cleaned up after.

        :raises ScsError: the compute API does not answer
        """
        with _errors("the compute API"):
            found = self.api.compute.migrations(source_compute=host, migration_type="evacuation", status="done")
            return sum(1 for _ in found)

    def last_migration(self, guest: str) -> str:
        """State of the latest migration, e.g. running, completed, error; '' when there was none."""
        with _errors("the compute API"):
            found = sorted(self.api.compute.migrations(instance_uuid=guest), key=lambda m: str(m.created_at))
            return str(found[-1].status) if found else ""

    def disable(self, host: str, reason: str) -> None:
        """The scheduler puts nothing there any more.

        :raises ScsError: no such service, or the API does not answer
        """
        with _errors("the compute API"):
            self.api.compute.disable_service(self._service(host), disabled_reason=reason)

    def enable(self, host: str) -> None:
        """The scheduler may use it again.

        :raises ScsError: no such service, or the API does not answer
        """
        with _errors("the compute API"):
            self.api.compute.enable_service(self._service(host))

    def delete_service(self, host: str) -> bool:
        """Delete the compute service, and with it compute node and resource provider; returns whether there was one.

        :raises ScsError: it still has guests, or the API does not answer
        """
        with _errors("the compute API"):
            found = list(self.api.compute.services(binary="nova-compute", host=host))
            for service in found:
                self.api.compute.delete_service(service.id)
            return bool(found)

    def delete_agents(self, host: str) -> int:
        """Delete the network agents of a host; returns how many there were.

        :raises ScsError: the network API does not answer
        """
        with _errors("the network API"):
            found = list(self.api.network.agents(host=host))
            for agent in found:
                self.api.network.delete_agent(agent.id, ignore_missing=True)
            return len(found)

    def _service(self, host: str) -> str:
        for service in self.api.compute.services(binary="nova-compute", host=host):
            return str(service.id)
        raise ScsError(f"{host}: Nova has no compute service of this name", "scs status nova")


def free(inventories: Mapping[str, Mapping[str, Any]], usages: Mapping[str, int]) -> dict[str, int]:
    """What a resource provider has left, by resource class.

    Source: Placement API reference, "capacity" = (total - reserved) * allocation_ratio
    """
    return {
        name: int((i["total"] - i.get("reserved", 0)) * i.get("allocation_ratio", 1.0)) - usages.get(name, 0)
        for name, i in inventories.items()
    }


class _errors:  # noqa: N801 - reads as a statement
    """Turns what openstacksdk raises into one line."""

    def __init__(self, what: str) -> None:
        self.what = what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        from keystoneauth1.exceptions import ClientException
        from openstack.exceptions import SDKException

        if isinstance(error, ClientException | SDKException):
            said = " ".join(str(error).split())
            raise ScsError(f"{self.what}: {said[:300]}", "scs status") from None
