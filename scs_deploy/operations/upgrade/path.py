# SPDX-License-Identifier: Apache-2.0
"""Checks whether a region can be upgraded from one release to another. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.plural import counted
from scs_deploy.operations.rollback import data_series
from scs_deploy.plan.change import Change
from scs_deploy.spec.release import Lock, Release
from scs_deploy.spec.service import Service

BACKUP_HOURS = 24
"""Maximum age of a verified backup of the database."""


def check_step(current: Release, target: Release, others: Iterable[Release] = ()) -> None:
    """Check that a region can be upgraded from one release directly to the other.

    Upstream supports upgrades to the next release, and from one SLURP release to the next one.
    https://governance.openstack.org/tc/resolutions/20220210-release-cadence-adjustment.html

    :param others: all known releases
    :raises RefusedError: it cannot; names the intermediate release, if there is one
    """
    if current.name in target.upgrades_from:
        return
    if _number(target) <= _number(current):
        raise RefusedError(
            f"release {target.name} is not later than {current.name}: databases cannot be downgraded",
            "scs rollback works until a schema was contracted; after that, restore a backup",
        )
    between = [r.name for r in others if current.name in r.upgrades_from and r.name in target.upgrades_from]
    if between:
        raise RefusedError(
            f"release {target.name} cannot be reached directly from {current.name}", f"scs upgrade release {between[0]}"
        )
    raise RefusedError(
        f"release {target.name} cannot be reached from {current.name}",
        f"releases/{target.name}.yml: upgrades_from: {', '.join(target.upgrades_from) or 'none'}",
    )


def _number(release: Release) -> tuple[int, ...]:
    return tuple(int(part) for part in release.openstack.split(".") if part.isdigit())


def check_images(target: Release, lock: Lock | None, absent: Iterable[str] = ()) -> None:
    """Check that all images of a release are built and in the registry.

    :param lock: of that release; None: there is none
    :param absent: images that are missing in the registry
    :raises RefusedError: images are missing; names them
    """
    known = lock.images if lock else {}
    missing = sorted({*(n for n in target.images if n not in known), *absent})
    if missing:
        raise RefusedError(
            f"release {target.name}: {len(missing)} of {len(target.images)} images are not built: "
            f"{', '.join(missing[:6])}{' ...' if len(missing) > 6 else ''}",
            f"scs images build --release {target.name}, or add --images",
        )


def check_data(services: Mapping[str, Service], old: Lock, new: Lock) -> None:
    """Check that programs that store data support a rolling upgrade from one lock's series to the other's.

    :raises RefusedError: some do not; names them
    """
    wrong = []
    for name, service in services.items():
        if not service.data_format:
            continue
        before, after = data_series(service, old), data_series(service, new)
        if before and after and before != after and after not in service.data_format.upgrades.get(before, ()):
            allowed = ", ".join(service.data_format.upgrades.get(before, ())) or "no other series"
            wrong.append(f"{name} {before} -> {after}: {before} can be upgraded to {allowed}")
    if wrong:
        raise RefusedError("; ".join(wrong), "upgrade to a release with an intermediate series first")


def check_settled(release: str, changes: Iterable[Change]) -> None:
    """Check that the region is in its desired state, so that the upgrade makes only its own changes.

    :param changes: of a plan with the current release
    :raises RefusedError: changes are pending
    """
    pending = list(changes)
    if pending:
        first = pending[0]
        raise RefusedError(
            f"{counted(len(pending), 'change')} pending with release {release}, first: "
            f"{first.kind} {first.subject} on {first.host}: {first.reason}",
            "scs apply, or undo the changes of the environment's files; then upgrade",
        )


def check_consent(release: str, held: Iterable[Change]) -> None:
    """Check that no change waits for consent: a release upgrade is all or nothing.

    :param held: changes of the plan that wait for consent
    :raises RefusedError: there are some
    """
    waiting = list(held)
    if waiting:
        containers = ", ".join(sorted({c.subject for c in waiting if c.impact.value == "data-plane"})) or "data plane"
        raise RefusedError(
            f"release {release}: {counted(len(waiting), 'change')} held back because of {containers}",
            "add --allow data-plane: guests keep running; their traffic pauses while Open vSwitch restarts",
        )


def verified_backup(backups: Iterable[tuple[str, datetime]], proved: Iterable[str], now: datetime) -> str:
    """The latest verified and recent backup of the database; empty: there is none.

    :param backups: (id, start time) of backups with a database
    :param proved: ids of verified backups
    """
    known = set(proved)
    good = [(begun, name) for name, begun in backups if name in known and now - begun <= timedelta(hours=BACKUP_HOURS)]
    return max(good)[1] if good else ""
