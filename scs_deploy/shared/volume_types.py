# SPDX-License-Identifier: Apache-2.0
"""Types of volumes, as (desired, observed) -> changes. Pure.

What the file does not name is not touched. A type that it no longer has stays: volumes may have it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from scs_deploy.base.model import Model
from scs_deploy.environment.cloud import VolumeType
from scs_deploy.plan.change import REGION, Change, Kind, Shared, SharedObject
from scs_deploy.spec.container import Impact
from scs_deploy.spec.job import Phase

CINDER = "cinder"
PREFIX = "scs-"
"""Of the QoS specification of a type, whose name is the type's."""
ENCRYPTION = {
    "provider": "luks", "cipher": "aes-xts-plain64", "key_size": 256, "control_location": "front-end",
}  # fmt: skip
"""https://docs.openstack.org/cinder/latest/configuration/block-storage/volume-encryption.html"""

Types = Mapping[str, VolumeType]


class Limits(Model):
    """A QoS specification in Cinder."""

    id: str
    name: str
    specs: dict[str, str]


class Seen(Model):
    """A type in Cinder."""

    id: str
    description: str
    public: bool
    extra_specs: dict[str, str]
    limits: Limits | None = Field(description="those that it is associated with")
    encrypted: bool


class Observed(Model):
    """The relevant part of Cinder's state."""

    types: dict[str, Seen]
    limits: dict[str, Limits] = Field(description="QoS specifications by name")


def parse(
    types: Sequence[Mapping[str, Any]], limits: Sequence[Mapping[str, Any]], encrypted: Mapping[str, bool]
) -> Observed:
    """Parse Cinder's lists.

    :param encrypted: id of a type: whether it has an encryption
    """
    known = {q["id"]: Limits(id=q["id"], name=q["name"], specs=q.get("specs") or {}) for q in limits}
    return Observed(
        types={
            t["name"]: Seen(
                id=t["id"],
                description=t.get("description") or "",
                public=t["is_public"],
                extra_specs=t.get("extra_specs") or {},
                limits=known.get(t.get("qos_specs_id") or ""),
                encrypted=encrypted.get(t["id"], False),
            )
            for t in types
        },
        limits={q.name: q for q in known.values()},
    )


def wanted_limits(wanted: VolumeType) -> dict[str, str]:
    """The limits of a type as Cinder has them."""
    return {k: str(v) for k, v in sorted(wanted.qos.items())}


def reasons(wanted: VolumeType, seen: Seen) -> list[str]:
    """The differences of a type that exists."""
    found = []
    if seen.description != wanted.description:
        found.append(f"description '{seen.description}' -> '{wanted.description}'")
    if seen.public != wanted.public:
        found.append("is public" if seen.public else "is not public")
    found += _differences("extra spec", seen.extra_specs, wanted.extra_specs)
    found += _differences("limit", seen.limits.specs if seen.limits else {}, wanted_limits(wanted))
    if seen.encrypted != wanted.encrypted:
        found.append("is encrypted" if seen.encrypted else "is not encrypted")
    return found


def _differences(what: str, now: Mapping[str, str], wanted: Mapping[str, str]) -> list[str]:
    return [
        f"{what} {key}: {now.get(key, 'none')} -> {wanted.get(key, 'none')}"
        for key in sorted(now.keys() | wanted.keys())
        if now.get(key) != wanted.get(key)
    ]


def diff(desired: Types, observed: Observed | None) -> tuple[Change, ...]:
    """The necessary changes. If `observed` is None (Cinder is not deployed yet), everything is made."""
    changes = []
    for name, wanted in desired.items():
        seen = observed.types.get(name) if observed else None
        why = "; ".join(reasons(wanted, seen)) if seen else "missing" if observed else "not created yet"
        if why:
            shared = SharedObject(server=CINDER, kind=Shared.VOLUME_TYPE, name=name)
            changes.append(
                Change(
                    kind=Kind.CLOUD, service=CINDER, host=REGION, subject=str(shared), reason=why,
                    phase=Phase.FINISH, impact=Impact.NONE, creates=seen is None, shared=shared,
                )
            )  # fmt: skip
    return tuple(changes)
