# SPDX-License-Identifier: Apache-2.0
"""Backups of volumes below the list of backups: what Cinder says of them, and a region that does not answer."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from scs_deploy.environment.environment import Environment
from scs_deploy.operations.backup import volumes
from scs_deploy.operations.backup.volumes import VolumeBackups
from scs_deploy.secrets import clouds, vault
from tests.support.fake_openstack import FakeOpenStack
from tests.unit.secrets.test_secrets import region as made_environment


def backup(number: int, volume: str = "v1", status: str = "available", day: int = 1, size: int = 10) -> dict[str, Any]:
    """As Cinder 2025.1 lists one."""
    at = f"2026-11-{day:02}T04:30:00.000000"
    return {
        "id": f"b{number}", "name": None, "status": status, "size": size, "object_count": 0, "fail_reason": None,
        "description": None, "volume_id": volume, "container": "backups", "created_at": at,
        "updated_at": None, "availability_zone": "nova", "is_incremental": number > 1, "has_dependent_backups": False,
        "data_timestamp": at, "snapshot_id": None, "links": [],
    }  # fmt: skip


def test_newest_and_size_are_of_backups_that_can_be_restored() -> None:
    found = volumes.summary([
        backup(1), backup(2, day=2), backup(3, "v2", day=3, size=40), backup(4, "v3", "error", day=9),
        backup(5, "v1", "creating", day=10), backup(6, "v4", "error_deleting"),
    ])  # fmt: skip
    assert found == VolumeBackups(count=6, volumes=2, newest=datetime(2026, 11, 3, 4, 30, tzinfo=UTC), gib=60, failed=2)


def test_a_region_without_backups_of_volumes_says_so() -> None:
    assert volumes.summary([]) == VolumeBackups()


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[FakeOpenStack]:
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=fake -addext subjectAltName=IP:127.0.0.1"
    subprocess.run([*command.split(), "-keyout", key, "-out", cert], check=True, capture_output=True)
    found = FakeOpenStack(cert, key)
    yield found
    found.http.shutdown()
    found.http.server_close()


@pytest.fixture
def environment(tmp_path: Path, cloud: FakeOpenStack, monkeypatch: pytest.MonkeyPatch) -> Environment:
    made = made_environment(tmp_path / "region")
    made.path.mkdir()
    vault.create_password(made)
    vault.save(made, made.secrets_file, f"{clouds.PASSWORD}: x\n")
    plain = clouds.clouds

    def there(of: Environment) -> dict[str, Any]:
        found = plain(of)
        own = found["clouds"][clouds.name(of)]
        own["region_name"] = "R"
        own["auth"]["auth_url"], own["cacert"] = f"{cloud.url}/identity/v3", str(tmp_path / "cert.pem")
        return found

    monkeypatch.setattr(clouds, "clouds", there)
    clouds.write(made)
    return made


def test_cinder_is_asked_for_backups_of_all_projects(environment: Environment, cloud: FakeOpenStack) -> None:
    cloud.with_volumes()
    cloud.things["backups"] = {b["id"]: b for b in (backup(1), backup(2, day=2), backup(3, "v2", "error"))}
    assert volumes.read(environment) == VolumeBackups(
        count=3, volumes=1, newest=datetime(2026, 11, 2, 4, 30, tzinfo=UTC), gib=20, failed=1
    )
    asked = [path.partition("/backups/detail?")[2] for path in cloud.asked if "/backups/" in path]
    assert asked
    assert all("all_tenants=True" in query for query in asked)


def test_a_region_that_does_not_answer_is_no_error(environment: Environment, cloud: FakeOpenStack) -> None:
    cloud.http.shutdown()
    cloud.http.server_close()
    found = volumes.read(environment)
    assert "127.0.0.1" in found.unknown
    assert (found.count, found.newest) == (0, None)
    clouds.secure_file(environment).unlink()
    assert "no such file" in volumes.read(environment).unknown
