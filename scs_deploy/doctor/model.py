# SPDX-License-Identifier: Apache-2.0
"""What a check says."""

from __future__ import annotations

from pydantic import Field

from scs_deploy.base.model import Model
from scs_deploy.base.words import Words
from scs_deploy.secrets.issuing import RENEW_DAYS


class Level(Words):
    """How serious it is."""

    OK = "ok", "nothing to do"
    WARNING = "warning", "works now; look at it before the next change"
    FAILED = "failed", "a command of scs, or the region, fails because of it"


class Check(Model):
    """The result of one check."""

    check: str = Field(description="its name")
    level: Level = Field(description="ok, warning or failed")
    seen: str = Field(description="what was seen, in a few words")
    remedy: str = Field(default="", description="what to do, one line; empty if it is ok")
    host: str = Field(default="", description="the host; empty: the manager or the region")


def ok(check: str, seen: str, host: str = "") -> Check:
    """A check that found nothing."""
    return Check(check=check, level=Level.OK, seen=seen, host=host)


def warning(check: str, seen: str, remedy: str, host: str = "") -> Check:
    """A check that found what works for now."""
    return Check(check=check, level=Level.WARNING, seen=seen, remedy=remedy, host=host)


def failed(check: str, seen: str, remedy: str, host: str = "") -> Check:
    """A check that found what does not work."""
    return Check(check=check, level=Level.FAILED, seen=seen, remedy=remedy, host=host)


GIB = 1024**3


def space(check: str, free: int, total: int, where: str, host: str = "") -> Check:
    """Free space of a file system or of memory, in bytes."""
    seen = f"{free / GIB:.1f} of {total / GIB:.1f} GiB free"
    if free < min(GIB, total * 0.02):
        return failed(check, seen, f"free space: {where}", host)
    if free < min(10 * GIB, total * 0.1):
        return warning(check, seen, f"free space soon: {where}", host)
    return ok(check, seen, host)


def expiry(check: str, days: int, seen: str, remedy: str, host: str = "") -> Check:
    """A certificate with this many whole days left."""
    if days < 0:
        return failed(check, f"{seen} expired", remedy, host)
    if days < RENEW_DAYS:
        return warning(check, seen, remedy, host)
    return ok(check, seen, host)
