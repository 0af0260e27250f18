# SPDX-License-Identifier: Apache-2.0
"""From one release to another: whether that is a step upstream supports, and what else must hold before it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from scs_deploy.base.errors import RefusedError
from scs_deploy.operations.rollback import data_series
from scs_deploy.plan.change import Change
from scs_deploy.spec.release import Lock, Release
from scs_deploy.spec.service import Service

BACKUP_HOURS = 24
"""A verified backup of the database that is older does not count."""


def check_step(current: Release, target: Release, others: Iterable[Release] = ()) -> None:
    """Whether a region can go from one release to the other at once.

    Upstream supports the next release, and from one SLURP release the next one.
    https://governance.openstack.org/tc/resolutions/20220210-release-cadence-adjustment.html

    :param others: the releases that there are
    :raises RefusedError: it cannot; names the one to go to first, where there is one
    """
    if current.name in target.upgrades_from:
        return
    if _number(target) <= _number(current):
        raise RefusedError(
            f"release {target.name} is not later than {current.name}: databases only go forward",
            "scs rollback takes a run back as long as no schema was contracted; a backup, in any case",
        )
    between = [r.name for r in others if current.name in r.upgrades_from and r.name in target.upgrades_from]
    if between:
        raise RefusedError(
            f"release {target.name} is not reached from {current.name} at once", f"scs upgrade release {between[0]}"
        )
    raise RefusedError(
        f"release {target.name} is not reached from {current.name}",
        f"releases/{target.name}.yml: upgrades_from: {', '.join(target.upgrades_from) or 'none'}",
    )


def _number(release: Release) -> tuple[int, ...]:
    return tuple(int(part) for part in release.openstack.split(".") if part.isdigit())


def check_images(target: Release, lock: Lock | None, absent: Iterable[str] = ()) -> None:
    """Whether all images of a release are there.

    :param lock: of that release; None: there is none
    :param absent: images that the registry lacks
    :raises RefusedError: names those that are not
    """
    known = lock.images if lock else {}
    missing = sorted({*(n for n in target.images if n not in known), *absent})
    if missing:
        raise RefusedError(
            f"release {target.name}: {len(missing)} of {len(target.images)} images are not built: "
            f"{', '.join(missing[:6])}{' ...' if len(missing) > 6 else ''}",
            f"scs images build --release {target.name}, or --images",
        )


def check_data(services: Mapping[str, Service], old: Lock, new: Lock) -> None:
    """Whether programs that keep data may go from the series of one lock to that of the other, member by member.

    :raises RefusedError: names those that may not
    """
    wrong = []
    for name, service in services.items():
        if not service.data_format:
            continue
        was, will = data_series(service, old), data_series(service, new)
        if was and will and was != will and will not in service.data_format.upgrades.get(was, ()):
            allowed = ", ".join(service.data_format.upgrades.get(was, ())) or "no other series"
            wrong.append(f"{name} {was} -> {will}: members of {was} go to {allowed}")
    if wrong:
        raise RefusedError("; ".join(wrong), "build a release with a series in between, and upgrade to that first")


def check_settled(release: str, changes: Iterable[Change]) -> None:
    """A region that differs from its own release first becomes what it should be: else nobody could tell why.

    :param changes: of a plan with the present release
    :raises RefusedError: there are some
    """
    found = list(changes)
    if found:
        first = found[0]
        raise RefusedError(
            f"{len(found)} changes are pending with release {release}, first: "
            f"{first.kind} {first.subject} on {first.host}: {first.reason}",
            "scs plan; scs apply, or take the settings back, then upgrade",
        )


def check_consent(release: str, held: Iterable[Change]) -> None:
    """A release is upgraded to as a whole.

    :param held: changes of the plan that wait for consent
    :raises RefusedError: there are some
    """
    found = list(held)
    if found:
        containers = ", ".join(sorted({c.subject for c in found if c.impact.value == "data-plane"})) or "data plane"
        raise RefusedError(
            f"release {release}: {len(found)} changes wait for consent, because of {containers}",
            "add --allow data-plane: guests go on, their traffic pauses where Open vSwitch starts anew",
        )


def verified_backup(backups: Iterable[tuple[str, datetime]], proved: Iterable[str], now: datetime) -> str:
    """The latest backup of the database that was verified and is young enough; empty: there is none.

    :param backups: ids of those with a database, and when they began
    :param proved: ids of those that were verified
    """
    known = set(proved)
    good = [(begun, name) for name, begun in backups if name in known and now - begun <= timedelta(hours=BACKUP_HOURS)]
    return max(good)[1] if good else ""
