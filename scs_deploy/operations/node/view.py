# SPDX-License-Identifier: Apache-2.0
"""What was seen of a region's hosts, as far as taking one away or bringing one back goes by it."""

from __future__ import annotations

from pydantic import Field

from scs_deploy.base.model import Model
from scs_deploy.clusters.base import ClusterState, Server

BY_US = "scs node"
"""Begins the reason that these commands give when they disable a compute service."""

DISABLING = ("drain", "replace", "remove", "evacuate")
"""Commands that disable a compute service."""


def disabled_reason(verb: str) -> str:
    """What Nova stores with a compute service that `scs node VERB` disables; `Compute.disabled_by` reads it."""
    return f"{BY_US} {verb}"


class Guest(Model):
    """A server on a compute host."""

    id: str
    name: str
    status: str = Field(description="as Nova words it: ACTIVE, SHUTOFF, ERROR ...")
    task: str = Field(default="", description="what Nova does with it now, e.g. migrating")
    vcpus: int = 0
    memory: int = Field(default=0, description="MiB")
    disk: int = Field(default=0, description="GiB on the compute host; 0 when it boots from a volume")
    zone: str = Field(default="", description="availability zone that it was asked for in; '': any")
    together: str = Field(default="", description="server group with affinity that has more members")
    apart: tuple[str, ...] = Field(default=(), description="hosts where members of its anti-affinity group are")
    own_disk: bool = Field(default=False, description="it has a disk that is no volume: its root, or an ephemeral one")
    volumes: tuple[str, ...] = Field(default=(), description="ids of the volumes that are attached")


class Compute(Model):
    """A compute host as Nova and Placement know it."""

    uuid: str = Field(default="", description="of the compute node, which is the resource provider's too")
    service: str = Field(default="", description="id of the nova-compute service")
    enabled: bool = True
    up: bool = True
    forced_down: bool = Field(default=False, description="Nova takes it as down, whatever it reports")
    reason: str = Field(default="", description="why it is disabled, for people; see disabled_by")
    zone: str = ""
    vcpus: int = Field(default=0, description="free, overcommitment included")
    memory: int = Field(default=0, description="MiB free")
    disk: int = Field(default=0, description="GiB free")

    @property
    def disabled_by(self) -> str:
        """The verb of `scs node` that disabled it; '' if it is enabled, or if an operator or another tool disabled it.

        These commands enable again only what they disabled, possibly on another manager that has no record of it.
        Nova stores nothing with a disabled service except a text, so this text is the marker. It is compared as a
        whole: an operator's own reason may begin with the same words.
        https://docs.openstack.org/api-ref/compute/#update-compute-service
        """
        return "" if self.enabled else next((v for v in DISABLING if self.reason == disabled_reason(v)), "")


class HostView(Model):
    """One host."""

    name: str
    groups: tuple[str, ...]
    unreachable: str = Field(default="", description="what ssh said")
    empty: bool = Field(default=False, description="no container of ours, or no container engine at all")
    marked: bool = Field(default=False, description="it gives API addresses away")
    addresses: tuple[str, ...] = Field(default=(), description="API addresses that it holds")
    gateway: bool = Field(default=False, description="Neutron may put routers' gateways here")
    gateways: tuple[str, ...] = Field(default=(), description="router ports whose traffic passes here now")
    stores: str | None = Field(
        default=None, description="it has copies of data: why it cannot leave for good, '' if it can; None: it has none"
    )
    held: bool = Field(default=False, description="`scs node drain` had Ceph make no copies of its data elsewhere")
    local_disks: bool = Field(default=False, description="disks of guests that are no volumes are its own files")
    fenced: tuple[str, ...] = Field(
        default=(), description="its addresses that the shared storage refuses since `scs node evacuate`"
    )


class View(Model):
    """All hosts, and what they do together."""

    hosts: dict[str, HostView]
    clusters: tuple[ClusterState, ...] = ()
    servers: tuple[Server, ...] = ()
    computes: dict[str, Compute] = Field(default_factory=dict)
    guests: dict[str, tuple[Guest, ...]] = Field(default_factory=dict, description="by compute host")
    balancers: tuple[str, ...] = Field(default=(), description="hosts with a load balancer")
    backends: dict[str, str] = Field(
        default_factory=dict,
        description="backend: drain or maint, how a server leaves it; '' when its data is on one host and it must not",
    )
    used: dict[str, str] = Field(default_factory=dict, description="backend with one member in use: that member")
    no_compute: str = Field(default="", description="why Nova did not answer")
    shared: str | None = Field(
        default=None, description="storage that hosts share: why it cannot be used now, '' if it can; None: none"
    )
    open_disks: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="disk of a guest of the host in question: its addresses that have it open"
    )
    full: str = Field(default="", description="why disks of guests cannot be opened on another host now")
    unknown_disks: str = Field(default="", description="why it is not known which disks are open")

    def evacuated(self, host: str) -> bool:
        """`scs node evacuate` took the host out of use, and nothing returned it yet."""
        compute = self.computes.get(host)
        return bool(self.hosts[host].fenced) or (compute is not None and compute.disabled_by == "evacuate")

    def drained(self, host: str) -> bool:
        """Nothing new comes to the host, as far as its roles go."""
        seen = self.hosts[host]
        compute = self.computes.get(host)
        parts = [not compute.enabled] if compute else []
        if any(s.host == host for s in self.servers):
            parts.append(seen.marked)
        return bool(parts) and all(parts)
