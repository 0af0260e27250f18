# SPDX-License-Identifier: Apache-2.0
"""Types of volumes: what differs from cloud.yml, and that a second look finds nothing after it was applied."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import pytest

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.environment import cloud
from scs_deploy.environment.cloud import VolumeType
from scs_deploy.inventory.model import grouped
from scs_deploy.region.region import Region, check
from scs_deploy.shared.cinder import Cinder
from scs_deploy.shared.keystone import Keystone
from scs_deploy.shared.volume_types import diff

Answer = tuple[int, dict[str, Any]]
Query = dict[str, list[str]]


class FakeCinder:
    """As much of Cinder's API as concerns types, in the place of a session of Keystone."""

    def __init__(self) -> None:
        self.types: dict[str, dict[str, Any]] = {}
        self.qos: dict[str, dict[str, Any]] = {}
        self.encryption: dict[str, dict[str, Any]] = {}
        self.in_use = False

    def __enter__(self) -> FakeCinder:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to close."""

    def send(self, method: str, url: str, body: dict[str, Any] | None) -> Any:
        parts = urlsplit(url)
        kind, *words = parts.path.removeprefix("/v3/").split("/")
        answering = {"types": self._types, "qos-specs": self._qos}[kind]
        status, answer = answering(method, words, parse_qs(parts.query), body or {})
        text = json.dumps(answer)
        return SimpleNamespace(status_code=status, content=text, json=lambda: json.loads(text))

    def _qos(self, method: str, words: list[str], query: Query, body: dict[str, Any]) -> Answer:
        if not words and method == "GET":
            return 200, {"qos_specs": list(self.qos.values())}
        if not words:
            specs = {k: v for k, v in body["qos_specs"].items() if k not in ("name", "consumer")}
            made = {"id": f"q{len(self.qos)}", "name": body["qos_specs"]["name"], "specs": specs}
            self.qos[made["id"]] = made
            return 200, {"qos_specs": made}
        key, *action = words
        if action in (["associate"], ["disassociate"]):
            self.types[query["vol_type_id"][0]]["qos_specs_id"] = key if action == ["associate"] else None
        elif action == ["delete_keys"]:
            for name in body["keys"]:
                del self.qos[key]["specs"][name]
        else:
            self.qos[key]["specs"].update(body["qos_specs"])
        return 202, {}

    def _types(self, method: str, words: list[str], _: Query, body: dict[str, Any]) -> Answer:
        if not words and method == "GET":
            return 200, {"volume_types": list(self.types.values())}
        if not words:
            public = body["volume_type"].pop("os-volume-type-access:is_public")
            made = {"id": f"t{len(self.types)}", "is_public": public, "extra_specs": {}, **body["volume_type"]}
            self.types[made["id"]] = made
            return 200, {"volume_type": made}
        key, *part = words
        if not part:
            self.types[key].update(body["volume_type"])
        elif part[0] == "encryption":
            return self._encryption(method, key, body)
        elif method == "POST":
            self.types[key]["extra_specs"].update(body["extra_specs"])
        else:
            del self.types[key]["extra_specs"][part[1]]
        return 200, {}

    def _encryption(self, method: str, key: str, body: dict[str, Any]) -> Answer:
        if method == "GET":
            return 200, self.encryption.get(key, {})
        if self.in_use:
            return 400, {"badRequest": {"code": 400, "message": "Volume type in use."}}
        if method == "POST":
            self.encryption[key] = body["encryption"]
        else:
            del self.encryption[key]
        return 200, {}


@pytest.fixture
def fake() -> FakeCinder:
    return FakeCinder()


def applied(fake: FakeCinder, **wanted: dict[str, Any]) -> dict[str, str]:
    """Name: reason, of what was changed; nothing is left."""
    desired = {name: VolumeType(**kept) for name, kept in wanted.items()}
    with Cinder(cast(Keystone, fake), "https://cinder.example/v3") as session:
        changes = diff(desired, session.read(desired))
        session.apply(desired, changes)
        assert diff(desired, session.read(desired)) == ()
    return {c.subject: c.reason for c in changes}


def test_types_are_made_and_changed(fake: FakeCinder) -> None:
    first = applied(
        fake,
        standard={"description": "a", "qos": {"total_iops_sec": 100, "read_iops_sec": 5}},
        shared={"extra_specs": {"multiattach": "<is> True"}},
    )
    assert first == {"volume type standard": "missing", "volume type shared": "missing"}
    assert applied(
        fake,
        standard={"description": "b", "qos": {"total_iops_sec": 200}, "public": False},
        shared={"extra_specs": {"a": "b"}},
    ) == {
        "volume type standard": "description 'a' -> 'b'; is public; limit read_iops_sec: 5 -> none; "
        "limit total_iops_sec: 100 -> 200",
        "volume type shared": "extra spec a: none -> b; extra spec multiattach: <is> True -> none",
    }
    assert applied(fake, standard={"description": "b", "public": False}) == {
        "volume type standard": "limit total_iops_sec: 200 -> none"
    }
    # a type that is not named stays, and its limits are used again
    assert {t["name"] for t in fake.types.values()} == {"standard", "shared"}
    applied(fake, standard={"qos": {"total_iops_sec": 7}})
    assert [q["name"] for q in fake.qos.values()] == ["scs-standard"]


def test_types_are_encrypted(fake: FakeCinder) -> None:
    applied(fake, secret={"encrypted": True})
    assert [e["provider"] for e in fake.encryption.values()] == ["luks"]
    assert applied(fake, secret={}) == {"volume type secret": "is encrypted"}


def test_a_refusal_of_cinder_is_named(fake: FakeCinder) -> None:
    applied(fake, secret={})
    fake.in_use = True
    with pytest.raises(ScsError, match="POST /types/t0/encryption: 400 Volume type in use"):
        applied(fake, secret={"encrypted": True})


def test_a_region_that_is_new_gets_all_types() -> None:
    (change,) = diff({"standard": VolumeType()}, None)
    assert (change.subject, change.reason, change.creates) == ("volume type standard", "not created yet", True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("volume_type: {}\n", "cloud.yml:1: volume_type: unknown key"),
        ("volume_types:\n  a: {default: true}\n  b: {default: true}\n", "a and b are both the default; keep one"),
        ("volume_types:\n  a: {default: true, public: false}\n", "cloud.yml:2: volume_types.a: default: a type that"),
        (
            'volume_types:\n  a: {encrypted: true, extra_specs: {multiattach: "<is> True"}}\n',
            "cloud.yml:2: volume_types.a: encrypted: Cinder refuses such volumes for several servers",
        ),
        ("volume_types:\n  a: {qos: {iops: 1}}\n", "cloud.yml:2: volume_types.a.qos"),
        ("volume_types:\n  a: {qos: {total_iops_sec: 0}}\n", "cloud.yml:2: volume_types.a.qos.total_iops_sec"),
        ("volume_types:\n  __DEFAULT__: {}\n", "__DEFAULT__ is Cinder's own; choose another name"),
        ("volume_types:\n  'a ': {}\n", "cloud.yml:2: volume_types"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "cloud.yml").write_text(text, encoding="utf-8")
    with pytest.raises(RefusedError) as error:
        cloud.load(tmp_path)
    assert message in error.value.message


def region_with(region: Region, folder: Path, text: str) -> Region:
    (folder / "cloud.yml").write_text(text, encoding="utf-8")
    return dataclasses.replace(region, environment=region.environment.model_copy(update={"path": folder}))


def test_types_need_volumes(testbed: Region, tmp_path: Path) -> None:
    region = region_with(testbed, tmp_path, "volume_types:\n  a: {}\n")
    (tmp_path / "storage.yml").write_text("failure_domain: osd\n", encoding="utf-8")
    check(region)
    hosts = testbed.inventory.hosts.values()
    bare = grouped(
        {
            h.name: h.model_copy(
                update={
                    "groups": tuple(g for g in h.groups if g != "storage"),
                    "settings": {k: v for k, v in h.settings.items() if v != "rbd"},
                }
            )
            for h in hosts
        }
    )
    (tmp_path / "storage.yml").unlink()
    with pytest.raises(RefusedError, match=r"cloud.yml:1: volume_types: this region has no volumes"):
        check(dataclasses.replace(region, inventory=bare))


def test_encrypted_types_need_a_key_manager(testbed: Region, tmp_path: Path) -> None:
    region = region_with(testbed, tmp_path, "volume_types:\n  a: {encrypted: true}\n")
    (tmp_path / "storage.yml").write_text("failure_domain: osd\n", encoding="utf-8")
    services = {n: s for n, s in region.catalog.services.items() if n != "barbican"}
    catalog = region.catalog.model_copy(update={"services": services})
    with pytest.raises(RefusedError, match=r"cloud.yml:2: volume_types.a.encrypted: this region has no key manager"):
        check(dataclasses.replace(region, catalog=catalog))
