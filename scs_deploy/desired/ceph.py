# SPDX-License-Identifier: Apache-2.0
"""What a container gets that uses the region's Ceph: ceph.conf and its clients' keyrings. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from scs_deploy.base.model import Model
from scs_deploy.region import ceph
from scs_deploy.region.region import Region
from scs_deploy.spec.container import Container
from scs_deploy.spec.storage import CEPH, FOLDER, CephClient, Pool, key_of

SUBFOLDER = "ceph"
"""Of a container's folder on its host: what is mounted as /etc/ceph."""

CONFIGURATION = f"{SUBFOLDER}/ceph.conf"
"""Programs read it when they connect; those that are connected learn of new monitors from Ceph itself."""

FSID = "ceph_fsid"


class Client(Model):
    """A declared client, for the keyring that Ceph imports."""

    name: str
    key: str
    capabilities: dict[str, str]


class CephScope:
    """`ceph` in templates."""

    def __init__(self, region: Region, service: str) -> None:
        self._region, self._service = region, service

    @cached_property
    def enabled(self) -> bool:
        """Whether the region has Ceph."""
        return ceph.enabled(self._region)

    @cached_property
    def fsid(self) -> str:
        """The cluster's id; empty without Ceph."""
        return self._region.secrets[FSID] if self.enabled else ""

    @cached_property
    def monitors(self) -> tuple[str, ...]:
        """Management addresses of the monitors."""
        return tuple(self._region.inventory.hosts[h].management for h in ceph.monitors(self._region))

    @cached_property
    def mon_host(self) -> str:
        """The monitors as `mon_host` of ceph.conf."""
        return ",".join(f"[v2:{a}:{ceph.MONITOR_PORT}/0]" for a in self.monitors)

    @cached_property
    def pools(self) -> Mapping[str, Pool]:
        """The pools that services declare, by name; empty without Ceph."""
        return ceph.pools(self._region)

    @cached_property
    def clients(self) -> tuple[Client, ...]:
        """All declared clients with their keys, for the service that runs Ceph only."""
        if self._service != CEPH:
            raise KeyError(f"ceph.clients: only service {CEPH} knows all keys, not {self._service}")
        found: dict[str, tuple[str, CephClient]] = ceph.clients(self._region)
        return tuple(
            Client(name=n, key=self._region.secrets[key_of(n)], capabilities=c.capabilities)
            for n, (_, c) in sorted(found.items())
        )


def files(region: Region, spec: Container) -> dict[str, tuple[str, str]]:
    """Files of a container that uses Ceph: name below its folder -> (content, mode). None without Ceph."""
    if not spec.ceph or not ceph.enabled(region):
        return {}
    names = CephScope(region, "")
    result = {CONFIGURATION: (_configuration(names.fsid, names.mon_host), "0644")}
    for client in spec.ceph:
        keyring = f"[client.{client}]\n\tkey = {region.secrets[key_of(client)]}\n"
        result[f"{SUBFOLDER}/ceph.client.{client}.keyring"] = (keyring, "0640")
    return result


def mounted(region: Region, spec: Container, folder: str) -> list[str]:
    """The bind of a container that uses Ceph.

    :param folder: of the container's files on its host
    """
    return [f"{folder}/{SUBFOLDER}:{FOLDER}:ro"] if spec.ceph and ceph.enabled(region) else []


def live(spec: Container) -> tuple[str, ...]:
    """Files that need no restart when they change."""
    return (CONFIGURATION,) if spec.ceph else ()


def _configuration(fsid: str, mon_host: str) -> str:
    """ceph.conf of clients: where the monitors are, and nothing unencrypted.

    Source: https://docs.ceph.com/en/latest/rados/configuration/msgr2/
    """
    return (
        "[global]\n"
        f"fsid = {fsid}\n"
        f"mon_host = {mon_host}\n"
        "auth_cluster_required = cephx\n"
        "auth_service_required = cephx\n"
        "auth_client_required = cephx\n"
        "ms_client_mode = secure\n"
        "ms_mon_client_mode = secure\n"
        "log_to_stderr = false\n"
        "log_file =\n"
    )
