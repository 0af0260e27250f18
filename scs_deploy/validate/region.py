# SPDX-License-Identifier: Apache-2.0
"""The state that checks share: the connection and the resources created so far. Also the cleanup."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from scs_deploy.environment.environment import Environment
from scs_deploy.secrets import clouds

PREFIX = "scs-validate-"
"""Prefix of all names and tags of a validation. Reserved for validations in a region."""

REMOVE_TIMEOUT = 120


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

    @cached_property
    def cloud(self) -> Any:
        """An openstacksdk connection as the region's administrator.

        :raises RefusedError: this region has no clouds.yaml
        """
        return clouds.connect(self.environment)


def clean(cloud: Any, prefix: str = PREFIX) -> tuple[list[str], list[str]]:
    """Remove all resources whose name, description or tag starts with `prefix`. Continues after errors.

    :returns: removed resources, and those that could not be listed or removed, with the reason
    """
    network, compute = cloud.network, cloud.compute
    # in removal order: each kind after the kinds that use it
    kinds: tuple[tuple[str, Callable[[], Iterable[Any]], Callable[[Any], Any]], ...] = (
        ("server", compute.servers, partial(_remove_server, cloud)),
        ("floating IP", network.ips, network.delete_ip),
        ("router", network.routers, partial(_remove_router, cloud)),
        ("network", network.networks, network.delete_network),
        ("security group", network.security_groups, network.delete_security_group),
        ("flavor", compute.flavors, compute.delete_flavor),
        ("image", cloud.image.images, cloud.image.delete_image),
    )
    removed: list[str] = []
    failed: list[str] = []
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


def _is_own(resource: Any, prefix: str) -> bool:
    names = (resource.name, getattr(resource, "description", None), *(getattr(resource, "tags", None) or ()))
    return any(name.startswith(prefix) for name in names if name)


def _say(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _remove_server(cloud: Any, server: Any) -> None:
    cloud.compute.delete_server(server)
    cloud.compute.wait_for_delete(server, interval=1, wait=REMOVE_TIMEOUT)


def _remove_router(cloud: Any, router: Any) -> None:
    for port in cloud.network.ports(device_id=router.id):
        if port.device_owner.startswith("network:router_interface"):
            cloud.network.remove_interface_from_router(router, None, port.id)
    cloud.network.delete_router(router)
