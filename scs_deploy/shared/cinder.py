# SPDX-License-Identifier: Apache-2.0
"""A session with Cinder's v3 API as the region's administrator: reads types of volumes, and changes them.

Plain REST, as with Keystone. https://docs.openstack.org/api-ref/block-storage/v3/
"""

from __future__ import annotations

from collections.abc import Iterable

from scs_deploy.environment.cloud import VolumeType
from scs_deploy.plan.change import Change, shared_objects
from scs_deploy.shared import volume_types
from scs_deploy.shared.rest import Service
from scs_deploy.shared.volume_types import ENCRYPTION, PREFIX, Observed, Seen, Types


class Cinder(Service):
    """Its URL is the one of the volume API, with /v3."""

    NAME, CONTAINER = "cinder", "cinder_api"

    def read(self, desired: Types) -> Observed:
        """Read everything that is compared with `desired`.

        :raises ScsError: Cinder cannot be read
        """
        types = self._ask("GET", "/types?is_public=none&limit=1000")["volume_types"]
        ids = [t["id"] for t in types if t["name"] in desired]
        encrypted = {i: bool(self._ask("GET", f"/types/{i}/encryption").get("provider")) for i in ids}
        return volume_types.parse(types, self._ask("GET", "/qos-specs")["qos_specs"], encrypted)

    def apply(self, desired: Types, changes: Iterable[Change]) -> None:
        """Apply changes from `diff`. Each is idempotent.

        :raises ScsError: Cinder rejects a change, e.g. the encryption of a type that volumes have
        """
        observed = self.read(desired)
        for shared in shared_objects(changes):
            self._type(shared.name, desired[shared.name], observed)

    def _type(self, name: str, wanted: VolumeType, observed: Observed) -> None:
        seen = observed.types.get(name)
        if seen is None:
            body = {"name": name, "description": wanted.description, "os-volume-type-access:is_public": wanted.public}
            made = self._ask("POST", "/types", {"volume_type": body})["volume_type"]
            seen = volume_types.parse([made | {"is_public": wanted.public}], [], {}).types[name]
        elif seen.description != wanted.description or seen.public != wanted.public:
            body = {"description": wanted.description, "is_public": wanted.public}
            self._ask("PUT", f"/types/{seen.id}", {"volume_type": body})
        self._extra_specs(seen, wanted)
        self._limits(name, seen, wanted, observed)
        if wanted.encrypted and not seen.encrypted:
            self._ask("POST", f"/types/{seen.id}/encryption", {"encryption": ENCRYPTION})
        elif seen.encrypted and not wanted.encrypted:
            self._ask("DELETE", f"/types/{seen.id}/encryption/provider")

    def _extra_specs(self, seen: Seen, wanted: VolumeType) -> None:
        own = f"/types/{seen.id}/extra_specs"
        if new := {k: v for k, v in wanted.extra_specs.items() if seen.extra_specs.get(k) != v}:
            self._ask("POST", own, {"extra_specs": new})
        for key in seen.extra_specs.keys() - wanted.extra_specs.keys():
            self._ask("DELETE", f"{own}/{key}")

    def _limits(self, name: str, seen: Seen, wanted: VolumeType, observed: Observed) -> None:
        """Limits belong to an object of their own, which is associated with the type."""
        specs = volume_types.wanted_limits(wanted)
        now = seen.limits
        if specs == (now.specs if now else {}):
            return
        if now and (not specs or now.name != PREFIX + name):
            self._ask("GET", f"/qos-specs/{now.id}/disassociate?vol_type_id={seen.id}")
            now = None
        if not specs:
            return
        limits = observed.limits.get(PREFIX + name)
        if limits is None:
            body = {"name": PREFIX + name, "consumer": "front-end", **specs}
            key = self._ask("POST", "/qos-specs", {"qos_specs": body})["qos_specs"]["id"]
        else:
            key = limits.id
            self._ask("PUT", f"/qos-specs/{key}", {"qos_specs": specs})
            if gone := sorted(limits.specs.keys() - specs.keys()):
                self._ask("PUT", f"/qos-specs/{key}/delete_keys", {"keys": gone})
        if now is None:
            self._ask("GET", f"/qos-specs/{key}/associate?vol_type_id={seen.id}")
