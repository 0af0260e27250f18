# SPDX-License-Identifier: Apache-2.0
"""Everything of a region's Ceph that is declared: pools, rules, clients, places of hosts. Pure."""

from __future__ import annotations

import hashlib

from pydantic import Field

from scs_deploy.base.model import Model
from scs_deploy.environment.storage import Ratios
from scs_deploy.region import ceph, pools
from scs_deploy.region.pools import PoolWish, Rule
from scs_deploy.region.region import Region
from scs_deploy.spec.storage import key_of


class ClientWish(Model):
    """A client as it should be."""

    name: str
    service: str
    key_hash: str = Field(repr=False, description="SHA-256 of its key")
    capabilities: dict[str, str]

    @property
    def entity(self) -> str:
        """As Ceph calls it."""
        return f"client.{self.name}"


class Desired(Model):
    """Everything of a region's Ceph that is declared."""

    pools: dict[str, PoolWish]
    clients: dict[str, ClientWish]
    racks: dict[str, str] = Field(default={}, description="host: its rack, if a rule needs racks")
    keep: tuple[str, ...] = ()
    ratios: Ratios | None = None
    placement_groups_per_osd: int | None = None

    @property
    def rules(self) -> dict[str, Rule]:
        """The rules that pools use, by name."""
        return {r.name: r for r in sorted({p.rule.name: p.rule for p in self.pools.values()}.values(), key=_name)}


def _name(rule: Rule) -> str:
    return rule.name


def build(region: Region) -> Desired:
    """What the region declares; nothing without Ceph.

    :raises RefusedError: storage.yml names a pool that no service declares, or asks for more than the hosts have
    """
    storage = region.storage
    found = pools.declared(region, storage, region.environment.path)
    clients = {
        n: ClientWish(name=n, service=s, key_hash=hashed(region.secrets[key_of(n)]), capabilities=c.capabilities)
        for n, (s, c) in ceph.clients(region).items()
    }
    hosts = region.inventory.group(ceph.GROUP)
    used = {p.rule.domain for p in found.values()}
    return Desired(
        pools=found,
        clients=clients,
        racks={h.name: h.rack for h in hosts if h.rack} if "rack" in used else {},
        keep=storage.keep,
        ratios=storage.ratios,
        placement_groups_per_osd=storage.placement_groups_per_osd,
    )


def hashed(key: str) -> str:
    """A key's digest, as `ask.py` gives it."""
    return hashlib.sha256(key.encode()).hexdigest()
