# SPDX-License-Identifier: Apache-2.0
"""Pools and clients of Ceph in service specs: what is refused, and where the error points."""

from __future__ import annotations

from pathlib import Path

import pytest

from scs_deploy.base.errors import RefusedError
from scs_deploy.spec.service import Rotate
from tests.support.storage_region import CEPH, SAMPLE, load


def refused(folder: Path, *replacements: tuple[str, str], **others: str) -> str:
    spec = SAMPLE
    for old, new in replacements:
        assert old in spec
        spec = spec.replace(old, new)
    with pytest.raises(RefusedError) as error:
        load(folder, {"ceph": CEPH, "sample": spec, **others})
    return f"{error.value.message} ({error.value.hint})"


def test_a_client_has_a_key_among_the_services_secrets(tmp_path: Path) -> None:
    service = load(tmp_path, {"ceph": CEPH, "sample": SAMPLE}).services["sample"]
    assert service.all_secrets == ("ceph_sample_key",)
    assert service.how_to_rotate("ceph_sample_key") is Rotate.BY_HAND
    assert service.ceph_clients["sample"].pools == ("volumes",)


def test_pools_need_ceph(tmp_path: Path) -> None:
    said = refused(tmp_path, ("requires: [ceph]", "requires: []"))
    assert "service.yml:3: requires: lacks 'ceph'" in said


def test_capabilities_name_declared_pools_only(tmp_path: Path) -> None:
    said = refused(tmp_path, ("osd: profile rbd pool=volumes", "osd: profile rbd pool=volume"))
    assert "service.yml:7: ceph_clients.sample: no service declares the pool 'volume' (there are: volumes)" in said


def test_capabilities_may_name_pools_of_another_service(tmp_path: Path) -> None:
    other = SAMPLE.replace("volumes: {", "images: {").replace("sample", "other")
    other = other.replace("osd: profile rbd pool=volumes", "osd: 'profile rbd pool=images, profile rbd pool=volumes'")
    found = load(tmp_path, {"ceph": CEPH, "sample": SAMPLE, "other": other})
    assert found.services["other"].ceph_clients["other"].pools == ("images", "volumes")


@pytest.mark.parametrize(
    ("capability", "reason"),
    [
        ("osd: allow *", "gives the rights of Ceph's operator"),
        ("osd: 'profile rbd pool=volumes, allow *'", "gives the rights of Ceph's operator"),
        ("osd: profile rbd", "reaches every pool"),
        ("osd: 'profile rbd pool=volumes, allow rwx'", "reaches every pool"),
    ],
)
def test_a_client_has_no_more_than_it_needs(tmp_path: Path, capability: str, reason: str) -> None:
    assert reason in refused(tmp_path, ("osd: profile rbd pool=volumes", capability))


def test_a_client_does_not_become_a_daemon(tmp_path: Path) -> None:
    assert "gives the rights" in refused(tmp_path, ("mon: profile rbd", "mon: profile bootstrap-osd"))


def test_grants_by_tag_and_of_volatile_prefixes_are_accepted(tmp_path: Path) -> None:
    spec = SAMPLE.replace("osd: profile rbd pool=volumes", "osd: 'allow rwx tag rgw *=*, allow r object_prefix x'")
    assert load(tmp_path, {"ceph": CEPH, "sample": spec}).services["sample"].ceph_clients["sample"].pools == (
        "volumes",
    )


def test_a_container_uses_clients_of_its_service_and_those_that_it_requires(tmp_path: Path) -> None:
    said = refused(tmp_path, ("ceph: [sample]", "ceph: [glance]"))
    assert "no Ceph client 'glance' (there are, in this service and those that it requires: sample)" in said
    user = "description: x\nhosts: control\nrequires: [sample]\ncontainers: {user: {command: x, ceph: [sample]}}\n"
    assert load(tmp_path, {"ceph": CEPH, "sample": SAMPLE, "user": user}).services["user"].containers["user"].ceph


def test_two_services_cannot_have_the_same_pool(tmp_path: Path) -> None:
    other = SAMPLE.replace("sample", "other")
    assert "service other has this pool too" in refused(tmp_path, other=other)


@pytest.mark.parametrize("name", ["admin", "bootstrap_osd", "Sample", "a.b"])
def test_names_of_clients(tmp_path: Path, name: str) -> None:
    said = refused(tmp_path, ("  sample: {mon", f"  {name}: {{mon"), ("ceph: [sample]", f"ceph: [{name}]"))
    assert f"'{name}' cannot be the name of a client" in said


def test_a_pool_with_a_wrong_name(tmp_path: Path) -> None:
    said = refused(tmp_path, ("volumes: {", "Volumes: {"), ("pool=volumes,", "pool=Volumes,"))
    assert "'Volumes' cannot be the name of a pool" in said
