# SPDX-License-Identifier: Apache-2.0
"""The pools of a region's Ceph as they should be: what services declare, with what storage.yml says. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import Field

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import Model, where
from scs_deploy.environment.storage import FILE, Erasure, PoolSettings, Storage, number_of_bytes
from scs_deploy.inventory.model import Host
from scs_deploy.region import ceph
from scs_deploy.spec.storage import Pool

SIZE, DOMAIN = 3, "host"
"""Of pools about which storage.yml says nothing: three copies, each on another host."""


class Rule(Model):
    """Where copies or parts go. Its name says all of it, because Ceph cannot change a rule that is in use."""

    domain: str
    device_class: str | None = None
    erasure: Erasure | None = None

    @property
    def name(self) -> str:
        """Of the rule, and of the profile of an erasure code."""
        code = f"erasure-{self.erasure.k}-{self.erasure.m}" if self.erasure else "replicated"
        return "-".join(filter(None, ("scs", code, self.domain, self.device_class)))

    @property
    def profile(self) -> dict[str, str]:
        """The profile of an erasure code; empty without one."""
        if self.erasure is None:
            return {}
        found = {"k": str(self.erasure.k), "m": str(self.erasure.m), "crush-failure-domain": self.domain}
        return found | ({"crush-device-class": self.device_class} if self.device_class else {})


class PoolWish(Model):
    """A pool as it should be."""

    name: str
    service: str
    application: str
    rule: Rule
    size: int = Field(description="copies, or parts of an erasure code")
    min_size: int
    autoscale: str = "on"
    placement_groups: int | None = None
    target_ratio: float | None = None
    bulk: bool = False
    max_bytes: int | None = Field(default=None, description="None: as it is")
    max_objects: int | None = Field(default=None, description="None: as it is")

    @property
    def kind(self) -> str:
        """In words."""
        return f"erasure code {self.rule.erasure}" if self.rule.erasure else "replicated"

    @property
    def overwrites(self) -> bool:
        """Whether an erasure coded pool must take partial writes."""
        return self.rule.erasure is not None and self.application in ("rbd", "cephfs")


def declared(region: ceph.Parts, storage: Storage, folder: Path) -> dict[str, PoolWish]:
    """The pools of a region by name; none without Ceph.

    :param folder: the environment's
    :raises RefusedError: storage.yml names a pool that no service declares, or asks for more than the hosts have
    """
    if not ceph.enabled(region):
        return {}
    owners, file = ceph.owners(region), folder / FILE
    if unknown := [n for n in storage.pools if n not in owners]:
        raise RefusedError(
            f"{where(file, ('pools', unknown[0]))}: no service of the region declares this pool",
            f"there are: {', '.join(sorted(owners)) or 'none'}; `keep` names pools that stay without a service",
        )
    pools = ceph.pools(region)
    if wrong := [n for n, s in storage.pools.items() if s.erasure and not pools[n].data_only]:
        at = where(file, ("pools", wrong[0], "erasure"))
        raise RefusedError(f"{at}: the pool holds keys and values, which Ceph keeps as copies only", "set size instead")
    found = {n: wish(n, p, owners[n], storage) for n, p in pools.items()}
    hosts = region.inventory.group(ceph.GROUP)
    for pool in found.values():
        if problem := unfit(pool, hosts):
            own = ("pools", pool.name) if pool.name in storage.pools else ()
            raise RefusedError(f"{where(file, own) if own else file}: {problem[0]}", problem[1])
    return found


def wish(name: str, pool: Pool, service: str, storage: Storage) -> PoolWish:
    """A declared pool with what storage.yml says of it, of all pools, and the defaults."""
    own = storage.pools.get(name, PoolSettings())
    erasure = own.erasure
    size = erasure.k + erasure.m if erasure else own.size or storage.size or SIZE
    least = own.min_size or (None if erasure else storage.min_size)
    default = erasure.k + min(1, erasure.m - 1) if erasure else 2
    rule = Rule(
        domain=own.failure_domain or storage.failure_domain or DOMAIN,
        device_class=own.device_class or storage.device_class,
        erasure=erasure,
    )
    quota = own.quota
    return PoolWish(
        name=name, service=service, application=pool.application, rule=rule, size=size,
        min_size=min(least or default, size), autoscale=own.autoscale, placement_groups=own.placement_groups,
        target_ratio=own.target_ratio, bulk=pool.bulk,
        max_bytes=(number_of_bytes(quota.bytes) if quota.bytes else 0) if quota else None,
        max_objects=(quota.objects or 0) if quota else None,
    )  # fmt: skip


def unfit(pool: PoolWish, hosts: Iterable[Host]) -> tuple[str, str] | None:
    """Why the hosts cannot keep a pool, and what to do; None: they can."""
    hosts = list(hosts)
    wanted, domain = pool.rule.device_class, pool.rule.domain
    fitting = {h.name: [d for d in _disks(h) if wanted in (None, d)] for h in hosts}
    with_disks = [h for h in hosts if fitting[h.name]]
    if domain == "rack" and (lost := [h.name for h in with_disks if not h.rack]):
        return f"pool {pool.name}: failure_domain rack, but host {lost[0]} has no rack", "set rack in the inventory"
    members: Mapping[str, int] = {
        "osd": sum(map(len, fitting.values())),
        "host": len(with_disks),
        "rack": len({h.rack for h in with_disks if h.rack}),
    }
    there = members[domain]
    if there >= pool.size:
        return None
    parts = "parts" if pool.rule.erasure else "copies"
    of_class = f" with disks of class {wanted}" if wanted else ""
    said = (
        f"pool {pool.name} keeps {pool.size} {parts}, each on another {domain}, but group {ceph.GROUP} has "
        f"{there} {domain}{'s' * (there != 1)}{of_class}"
    )
    one = domain == "host" and len(with_disks) == 1
    return said, "set failure_domain: osd, for a region with one host" if one else "add disks, or set a smaller size"


def _disks(host: Host) -> list[str | None]:
    """The classes of a host's disks with objects; None: Ceph finds out."""
    return [d.device_class for d in host.disks_of(("osd",))]
