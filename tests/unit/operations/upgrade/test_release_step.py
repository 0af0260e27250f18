# SPDX-License-Identifier: Apache-2.0
"""What is refused before a region goes to another release, and what the operator is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from scs_deploy.base.errors import RefusedError
from scs_deploy.operations.upgrade import path as release_step
from scs_deploy.plan.change import Change, Kind
from scs_deploy.spec.container import Impact
from scs_deploy.spec.job import Phase
from scs_deploy.spec.release import ImageSpec, Lock, LockedImage, Release, Suite
from tests.conftest import dummy_region


def release(name: str, *upgrades_from: str, openstack: str = "") -> Release:
    return Release(
        name=name, description="", openstack=openstack or name, slurp=name.endswith(".1"), distribution="trixie",
        suites=(Suite(suite="trixie"),), images={"nova": ImageSpec(), "keystone": ImageSpec()},
        upgrades_from=upgrades_from,
    )  # fmt: skip


OLD, MIDDLE, NEW = release("2025.1"), release("2025.2", "2025.1"), release("2026.1", "2025.1", "2025.2")
NEWER = release("2027.1", "2026.1")
KNOWN = (OLD, MIDDLE, NEW, NEWER)


@pytest.mark.parametrize(("current", "target"), [(OLD, NEW), (OLD, MIDDLE), (MIDDLE, NEW), (NEW, NEWER)])
def test_steps_that_upstream_supports(current: Release, target: Release) -> None:
    release_step.check_step(current, target, KNOWN)


@pytest.mark.parametrize(
    ("current", "target", "says", "hint"),
    [
        (NEW, OLD, "not later than 2026.1", "scs rollback"),
        (OLD, release("again", openstack="2025.1"), "not later than 2025.1", "scs rollback"),
        (OLD, NEWER, "cannot be reached directly from 2025.1", "scs upgrade release 2026.1"),
        # from a release that is no SLURP, over a SLURP
        (MIDDLE, NEWER, "cannot be reached directly from 2025.2", "scs upgrade release 2026.1"),
        (OLD, release("2030.1", "2029.1"), "cannot be reached from 2025.1", "upgrades_from: 2029.1"),
        (OLD, release("2026.2"), "cannot be reached from 2025.1", "upgrades_from: none"),
    ],
)
def test_steps_that_are_refused(current: Release, target: Release, says: str, hint: str) -> None:
    with pytest.raises(RefusedError, match=says) as error:
        release_step.check_step(current, target, KNOWN)
    assert hint in error.value.hint


def test_versions_count_as_numbers() -> None:
    with pytest.raises(RefusedError, match="not later"):
        release_step.check_step(release("b", openstack="2030.10"), release("a", openstack="2030.9"))


def lock(**packages: str) -> Lock:
    """Of images whose package has a version."""
    of = {"mariadb": "mariadb-server", "rabbitmq": "rabbitmq-server", "ovn": "ovn-central"}
    return Lock(
        release="x",
        images={
            i: LockedImage(reference=f"scs/{i}", digest=f"sha256:{'a' * 64}", size=1, packages={of.get(i, i): v})
            for i, v in packages.items()
        },
    )


@pytest.mark.parametrize(
    ("known", "absent", "says"),
    [
        (None, (), "2 of 2 images are not built: keystone, nova"),
        (lock(nova="1"), (), "1 of 2 images are not built: keystone"),
        (lock(nova="1", keystone="1"), ("nova",), "1 of 2 images are not built: nova"),
    ],
)
def test_images_that_are_missing(known: Lock | None, absent: tuple[str, ...], says: str) -> None:
    with pytest.raises(RefusedError, match=says) as error:
        release_step.check_images(NEW, known, absent)
    assert "scs images build --release 2026.1" in error.value.hint
    release_step.check_images(NEW, lock(nova="1", keystone="1"))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        # the same series, with another packaging
        ({"mariadb": "1:11.8.3-0+deb13u1"}, {"mariadb": "1:11.8.6-0+deb13u1"}, ""),
        ({"rabbitmq": "4.0.5-8"}, {"rabbitmq": "4.2.1-1"}, ""),
        ({"rabbitmq": "3.12.1-1"}, {"rabbitmq": "4.0.5-8"}, "rabbitmq 3.12 -> 4.0: 3.12 can be upgraded to 3.13"),
        ({"rabbitmq": "4.2.1-1"}, {"rabbitmq": "4.0.5-8"}, "rabbitmq 4.2 -> 4.0: 4.2 can be upgraded to no other"),
        ({"mariadb": "1:11.4.2-1"}, {"mariadb": "1:11.8.6-1"}, ""),
        ({"mariadb": "1:10.11.4-1"}, {"mariadb": "1:11.8.6-1"}, "mariadb 10.11 -> 11.8: 10.11 can be upgraded to 11.4"),
        ({"ovn": "25.03.0-1"}, {"ovn": "25.03.1-1"}, ""),
        ({"ovn": "24.03.2-1"}, {"ovn": "25.03.0-1"}, "ovn 24.03 -> 25.03: 24.03 can be upgraded to"),
        # what no lock knows the version of, nobody can judge
        ({}, {"rabbitmq": "4.2.1-1"}, ""),
    ],
)  # fmt: skip
def test_series_that_members_may_go_to_one_by_one(old: dict[str, str], new: dict[str, str], says: str) -> None:
    services = dummy_region("testbed").catalog.services
    if not says:
        release_step.check_data(services, lock(**old), lock(**new))
        return
    with pytest.raises(RefusedError, match=says):
        release_step.check_data(services, lock(**old), lock(**new))


def change(subject: str, impact: Impact = Impact.API) -> Change:
    return Change(
        kind=Kind.RESTART, service="nova", host="n1", subject=subject, reason="nova.conf: x", phase=Phase.ROLL,
        impact=impact,
    )  # fmt: skip


def test_a_region_with_pending_changes_is_refused() -> None:
    release_step.check_settled("2025.1", ())
    with pytest.raises(RefusedError, match=r"2 changes pending with release 2025\.1, first: restart a on n1: nova"):
        release_step.check_settled("2025.1", [change("a"), change("b")])


def test_a_release_without_consent_is_refused() -> None:
    release_step.check_consent("2026.1", ())
    with pytest.raises(RefusedError, match="2 changes held back because of nova_libvirt") as error:
        release_step.check_consent("2026.1", [change("nova_compute"), change("nova_libvirt", Impact.DATA_PLANE)])
    assert "--allow data-plane" in error.value.hint


NOW = datetime(2026, 5, 2, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("hours", "proved", "found"),
    [
        ((1, 30), ("b0", "b1"), "b0"),
        ((1, 5), ("b1",), "b1"),
        ((5, 1), ("b0", "b1"), "b1"),
        ((1,), (), ""),
        ((25,), ("b0",), ""),
        ((), ("b0",), ""),
    ],
)
def test_which_backup_counts(hours: tuple[int, ...], proved: tuple[str, ...], found: str) -> None:
    backups = [(f"b{i}", NOW - timedelta(hours=h)) for i, h in enumerate(hours)]
    assert release_step.verified_backup(backups, proved, NOW) == found
