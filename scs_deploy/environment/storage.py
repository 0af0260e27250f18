# SPDX-License-Identifier: Apache-2.0
"""storage.yml of an environment: how the region's Ceph keeps the pools that services declare."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from scs_deploy.base.model import Written, load_model

FILE = "storage.yml"

Domain = Literal["host", "rack", "osd"]
"""What may fail as a whole without loss of data."""

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15}
_SIZE = re.compile(r"([1-9][0-9]*)([KMGTP]?)(i?)(B?)")


def number_of_bytes(text: str) -> int:
    """`500G` or `500GB` as powers of 1000, `2TiB` as powers of 1024.

    :raises ValueError: it is no size
    """
    found = _SIZE.fullmatch(text)
    if not found or (found[3] and not found[2]):
        raise ValueError("expected a size such as 500G or 2TiB")
    count, unit = int(found[1]), found[2]
    return count * (1024 ** "KMGTP".index(unit) * 1024 if found[3] else _UNITS[unit])


def _size(value: str) -> str:
    number_of_bytes(value)
    return value


Size = Annotated[str, AfterValidator(_size)]


class Erasure(Written):
    """An erasure code: each object is cut into `k` parts, and `m` more are computed, any of which may be lost."""

    k: int = Field(ge=2, le=16, description="parts of an object")
    m: int = Field(ge=1, le=8, description="parts that may be lost")

    def __str__(self) -> str:
        return f"{self.k}+{self.m}"


class Quota(Written):
    """What a pool may hold. Writes beyond it are refused."""

    bytes: Size | None = Field(default=None, description="e.g. 500G or 2TiB; absent: not limited")
    objects: int | None = Field(default=None, ge=1, description="absent: not limited")


class Kept(Written):
    """How data is kept."""

    size: int | None = Field(default=None, ge=2, le=10, description="copies; default: 3")
    min_size: int | None = Field(
        default=None, ge=1, le=24,
        description="copies, or parts of an erasure code, that must be there for reads and writes; default: 2, and of "
        "an erasure code one more than `k`, or `k` if only one part may be lost",
    )  # fmt: skip
    failure_domain: Domain | None = Field(
        default=None,
        description="each copy or part is on another `host`, `rack` or `osd`; default: host. `osd` loses data with a "
        "host, and is for regions with one",
    )
    device_class: str | None = Field(
        default=None,
        pattern="^[a-z0-9_-]{1,16}$",
        description="only on OSDs of this class: hdd, ssd, nvme; default: any",
    )


class PoolSettings(Kept):
    """How one pool is kept, where that differs from all others."""

    erasure: Erasure | None = Field(default=None, description="an erasure code instead of copies")
    autoscale: Literal["on", "warn", "off"] = Field(
        default="on", description="whether Ceph chooses the number of placement groups"
    )
    placement_groups: int | None = Field(
        default=None, ge=1, le=32768, description="their number, with `autoscale: off` or `warn`"
    )
    target_ratio: float | None = Field(
        default=None, gt=0, le=1, description="expected share of the cluster, from which Ceph derives their number"
    )
    quota: Quota | None = Field(default=None, description="absent: as it is in the cluster")

    @model_validator(mode="after")
    def _consistent(self) -> PoolSettings:
        if self.erasure and self.size is not None:
            raise ValueError("size: an erasure coded pool has k + m parts; leave out size")
        if self.placement_groups is not None and self.autoscale == "on":
            raise ValueError("placement_groups: Ceph chooses it; set autoscale: off")
        parts = self.erasure.k + self.erasure.m if self.erasure else self.size
        if self.min_size is not None:
            if parts is not None and self.min_size > parts:
                raise ValueError(f"min_size: {self.min_size} of {parts} can never be there")
            if self.erasure and self.min_size < self.erasure.k:
                raise ValueError(f"min_size: an object needs {self.erasure.k} of its parts")
        return self


class Ratios(Written):
    """How full OSDs may become."""

    nearfull: float = Field(default=0.85, gt=0, lt=1, description="Ceph warns, and scs refuses what needs more room")
    backfillfull: float = Field(default=0.9, gt=0, lt=1, description="no data is moved to such an OSD")
    full: float = Field(default=0.95, gt=0, lt=1, description="writes are refused")

    @model_validator(mode="after")
    def _ordered(self) -> Ratios:
        if not self.nearfull < self.backfillfull < self.full:
            raise ValueError("expected nearfull < backfillfull < full")
        return self


class Storage(Kept):
    """storage.yml: of all pools, and of single ones."""

    pools: dict[str, PoolSettings] = Field(
        default_factory=dict, description="by name: pools that a service of the region declares"
    )
    keep: tuple[str, ...] = Field(default=(), description="pools of services that are gone, which stay with their data")
    ratios: Ratios | None = Field(default=None, description="absent: as they are in the cluster")
    placement_groups_per_osd: int | None = Field(
        default=None, ge=30, le=1000,
        description="placement groups that an OSD may have (mon_max_pg_per_osd); absent: as it is in the cluster",
    )  # fmt: skip


def load(folder: Path) -> Storage:
    """The file of an environment's folder; defaults if there is none.

    :raises RefusedError: names file, line and key of the first error
    """
    file = folder / FILE
    return load_model(Storage, file) if file.is_file() else Storage()
