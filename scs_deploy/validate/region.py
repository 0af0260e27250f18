# SPDX-License-Identifier: Apache-2.0
"""The state that checks share: the connection and the resources created so far. Also the cleanup."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from scs_deploy.engine import remote
from scs_deploy.environment.environment import Environment
from scs_deploy.region import ceph
from scs_deploy.region.region import Region as Description
from scs_deploy.secrets import clouds
from scs_deploy.shared.ceph import status
from scs_deploy.shared.ceph.session import Ceph
from scs_deploy.shared.ceph.status import Status
from scs_deploy.validate import objects

PREFIX = "scs-validate-"
"""Prefix of all names and tags of a validation. Reserved for validations in a region."""

VOLUMES = "block-storage"
"""Type of the volume API in Keystone's catalogue."""

REMOVE_TIMEOUT = 120

Kinds = tuple[tuple[str, Callable[[], Iterable[Any]], Callable[[Any], Any]], ...]
"""Name of a kind of resource, how to list all of it, how to remove one"""


class Region:
    """One validation's view of a region.

    :param environment: the region
    :param run: the validation's ID
    :param guest: returns the path of the guest image; called only if a check needs it
    """

    def __init__(self, environment: Environment, run: str, guest: Callable[[], Path]) -> None:
        self.environment = environment
        self.run = run
        self.guest = guest
        self.made: dict[str, Any] = {}

    @property
    def name(self) -> str:
        """Name and tag of all resources of this validation."""
        return f"{PREFIX}{self.run}"

    @property
    def ca(self) -> Path:
        """The region's CA file."""
        return self.environment.ca_file

    @property
    def has_volumes(self) -> bool:
        """Whether the region's catalogue has the volume API."""
        return has_volumes(self.cloud)

    @cached_property
    def description(self) -> Description:
        """What the region's files say, without secrets."""
        return Description.load(self.environment.name, reading=True)

    @cached_property
    def storage(self) -> Status | None:
        """The health of its Ceph, asked once; None: it has none.

        :raises ScsError: no monitor answers
        """
        if not ceph.enabled(self.description):
            return None
        monitors = Ceph(self.description, remote.runner_in(self.description))
        return Status.parse(monitors.ask(status.QUESTIONS))

    @cached_property
    def cloud(self) -> Any:
        """An openstacksdk connection as the region's administrator.

        :raises RefusedError: this region has no clouds.yaml
        """
        return clouds.connect(self.environment)


def has_volumes(cloud: Any) -> bool:
    """Whether the catalogue has the volume API: only a region with Ceph has."""
    session = cloud.session
    return any(e["type"] == VOLUMES for e in session.auth.get_access(session).service_catalog.catalog)


def clean(cloud: Any, prefix: str = PREFIX) -> tuple[list[str], list[str]]:
    """Remove all resources whose name, description or tag starts with `prefix`. Continues after errors.

    :returns: removed resources, and those that could not be listed or removed, with the reason
    """
    network, compute, identity = cloud.network, cloud.compute, cloud.identity
    removed: list[str] = []
    failed: list[str] = []
    volumes: Kinds = ()
    try:
        volumes = _volumes(cloud) if has_volumes(cloud) else ()
    except Exception as error:  # noqa: BLE001 - a failed removal must not stop the others
        failed.append(f"volumes: {_say(error)}")
    # in removal order: each kind after the kinds that use it
    kinds: Kinds = (
        ("server", compute.servers, partial(_remove_server, cloud)),
        *volumes,
        ("floating IP", network.ips, network.delete_ip),
        ("router", network.routers, partial(_remove_router, cloud)),
        ("network", network.networks, network.delete_network),
        ("security group", network.security_groups, network.delete_security_group),
        ("flavor", compute.flavors, compute.delete_flavor),
        ("image", cloud.image.images, cloud.image.delete_image),
        ("key of object storage", partial(objects.keys, cloud, prefix), partial(_remove_key, cloud, prefix)),
        ("user", identity.users, identity.delete_user),
        ("project", identity.projects, identity.delete_project),
    )
    for kind, listing, remove in kinds:
        try:
            resources = [resource for resource in listing() if _is_own(resource, prefix)]
        except Exception as error:  # noqa: BLE001 - a failed removal must not stop the others
            failed.append(f"{kind}s: {_say(error)}")
            continue
        for resource in resources:
            name = f"{kind} {resource.name or resource.id}"
            try:
                remove(resource)
            except Exception as error:  # noqa: BLE001 - as above
                failed.append(f"{name}: {_say(error)}")
            else:
                removed.append(name)
    return removed, failed


def _volumes(cloud: Any) -> Kinds:
    api = cloud.block_storage

    def removing(delete: Callable[..., Any], get: Callable[..., Any], **how: Any) -> Callable[[Any], Any]:
        def remove(resource: Any) -> None:
            delete(resource, **how)
            wait_until_gone(get, resource.id)

        return remove

    return (
        ("volume backup", api.backups, removing(api.delete_backup, api.get_backup)),
        ("volume snapshot", api.snapshots, removing(api.delete_snapshot, api.get_snapshot)),
        ("volume", api.volumes, removing(api.delete_volume, api.get_volume)),
    )


def wait_until_gone(get: Callable[..., Any], key: str) -> None:
    """Wait until a volume, snapshot or backup is deleted: the API answers before it is.

    :raises RuntimeError: it is still there
    """
    from openstack.exceptions import NotFoundException

    end = time.monotonic() + REMOVE_TIMEOUT
    while True:
        try:
            status = get(key).status
        except NotFoundException:
            return
        if "error" in status or time.monotonic() > end:
            raise RuntimeError(f"is {status}, not deleted")
        time.sleep(1)


def _is_own(resource: Any, prefix: str) -> bool:
    names = (resource.name, getattr(resource, "description", None), *(getattr(resource, "tags", None) or ()))
    return any(name.startswith(prefix) for name in names if name)


def _say(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _remove_server(cloud: Any, server: Any) -> None:
    cloud.compute.delete_server(server)
    cloud.compute.wait_for_delete(server, interval=1, wait=REMOVE_TIMEOUT)


def _remove_key(cloud: Any, prefix: str, key: objects.Key) -> None:
    objects.remove_key(cloud, key, prefix)


def _remove_router(cloud: Any, router: Any) -> None:
    for port in cloud.network.ports(device_id=router.id):
        if port.device_owner.startswith("network:router_interface"):
            cloud.network.remove_interface_from_router(router, None, port.id)
    cloud.network.delete_router(router)
