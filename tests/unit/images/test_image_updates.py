# SPDX-License-Identifier: Apache-2.0
"""The changes of an image update, from two locks, apt and a changelog."""

from __future__ import annotations

import hashlib

import pytest

from scs_deploy.images import advisories
from scs_deploy.images.difference import Advisory, advised, difference
from scs_deploy.spec.release import Lock, LockedImage


def lock(release: str = "2025.1", **images: dict[str, str]) -> Lock:
    """Locks whose digests follow from the packages, as real ones do."""
    return Lock(
        release=release,
        images={
            name: LockedImage(
                reference=f"scs/{name}", digest=f"sha256:{hashlib.sha256(str(packages).encode()).hexdigest()}", size=1,
                packages={k: v for k, v in packages.items() if k != "recipe"},
            )
            for name, packages in images.items()
        },
    )  # fmt: skip


OLD = lock(haproxy={"haproxy": "3.0.11-1+deb13u3", "keepalived": "1"}, base={"bash": "5"}, gone={"x": "1"})


@pytest.mark.parametrize(
    ("new", "found"),
    [
        (OLD, []),
        (
            lock(haproxy={"haproxy": "3.0.11-1+deb13u5", "lua": "5.4"}, base={"bash": "5"}, gone={"x": "1"}),
            [
                (
                    "haproxy",
                    [("haproxy", "3.0.11-1+deb13u3", "3.0.11-1+deb13u5"), ("keepalived", "1", ""), ("lua", "", "5.4")],
                )
            ],
        ),
        # a recipe changed, an image came, another one went
        (
            lock(
                haproxy={"haproxy": "3.0.11-1+deb13u3", "keepalived": "1", "recipe": "2"}, base={"bash": "5"},
                new={"y": "1"},
            ),
            [("gone", []), ("haproxy", []), ("new", [])],
        ),
        # nothing of another release compares
        (lock(release="2026.1", base={"bash": "5"}), [("base", [])]),
    ],
)  # fmt: skip
def test_difference_of_two_locks(new: Lock, found: list[tuple[str, list[tuple[str, str, str]]]]) -> None:
    changes = difference(OLD, new)
    assert [(c.image, [(p.name, p.old, p.new) for p in c.packages]) for c in changes] == found


POLICY = """\
haproxy:
  Installed: (none)
  Candidate: 3.0.11-1+deb13u5
  Version table:
     3.0.11-1+deb13u5 500
        500 http://deb.debian.org/debian-security trixie-security/main amd64 Packages
     3.0.11-1+deb13u3 500
        500 http://deb.debian.org/debian trixie/main amd64 Packages
bash:
  Installed: 5.2.37-2+b10
  Candidate: 5.2.37-2+b10
  Version table:
 *** 5.2.37-2+b10 500
        500 http://deb.debian.org/debian trixie/main amd64 Packages
        100 /var/lib/dpkg/status
"""


def test_origins_of_versions() -> None:
    assert advisories.parse_policy(POLICY) == {
        "haproxy": {
            "3.0.11-1+deb13u5": ["http://deb.debian.org/debian-security trixie-security/main amd64 Packages"],
            "3.0.11-1+deb13u3": ["http://deb.debian.org/debian trixie/main amd64 Packages"],
        },
        "bash": {"5.2.37-2+b10": ["http://deb.debian.org/debian trixie/main amd64 Packages", "/var/lib/dpkg/status"]},
    }


CHANGELOG = """\
haproxy (3.0.11-1+deb13u5) trixie-security; urgency=high

  * DSA 6001-1: Fix CVE-2026-55203, again CVE-2026-55203.

 -- A Maintainer <a@example.org>  Mon, 02 Nov 2026 10:00:00 +0100

haproxy (3.0.11-1+deb13u4) trixie-security; urgency=high

  * CVE-2026-55204

haproxy (3.0.11-1+deb13u3) trixie; urgency=medium

  * CVE-2025-11230 was mended here already.
"""


@pytest.mark.parametrize(
    ("old", "names"),
    [
        ("3.0.11-1+deb13u4", ("DSA-6001-1", "CVE-2026-55203")),
        ("3.0.11-1+deb13u3", ("DSA-6001-1", "CVE-2026-55203", "CVE-2026-55204")),
        # a rebuild has no entry of its own
        ("3.0.11-1+deb13u4+b1", ("DSA-6001-1", "CVE-2026-55203")),
        ("3.0.11-1+deb13u5", ()),
    ],
)
def test_advisories_since_a_version(old: str, names: tuple[str, ...]) -> None:
    assert advisories.since(CHANGELOG, old) == names


def test_advisories_are_added_to_their_update() -> None:
    new = lock(haproxy={"haproxy": "3.0.11-1+deb13u5", "keepalived": "2"}, base={"bash": "5"}, gone={"x": "1"})
    changes = difference(OLD, new)
    assert advisories.updates(changes) == {
        ("haproxy", "3.0.11-1+deb13u5"): "3.0.11-1+deb13u3",
        ("keepalived", "2"): "1",
    }
    advice = Advisory(security=True, names=("CVE-2026-55203",))
    (change,) = advised(changes, {("haproxy", "3.0.11-1+deb13u5"): advice})
    assert [p.advisory for p in change.packages] == [advice, Advisory()]
