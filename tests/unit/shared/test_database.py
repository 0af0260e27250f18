# SPDX-License-Identifier: Apache-2.0
"""MariaDB: (desired, observed) -> changes."""

from __future__ import annotations

import pytest

from scs_deploy.base.errors import ScsError
from scs_deploy.plan.change import REGION
from scs_deploy.shared.database import Desired, Observed, ObservedUser, diff, native_hash, stored_hashes
from scs_deploy.spec.job import Phase

DESIRED = Desired.build(
    {"nova": ["nova", "nova_api"], "memcached": []},
    {"nova": ("nova-password",), "memcached": ("unused",)},
    {"root@%": ("root-password",), "sst@localhost": ("sst-password",)},
)
OWN = {"root@%": (native_hash("root-password"),)}
USER = ObservedUser(
    hashes=(native_hash("nova-password"),),
    ssl=True,
    grants=("ALL PRIVILEGES ON `nova\\_api`.*", "ALL PRIVILEGES ON `nova`.*"),
)
GOOD = Observed(schemas={"nova": "utf8mb4", "nova_api": "utf8mb4", "mysql": "latin1"}, users={"nova": USER}, own=OWN)


def seen(schemas: dict[str, str] | None = None, **user: object) -> Observed:
    return Observed(schemas=schemas or GOOD.schemas, users={"nova": USER.model_copy(update=user)}, own=OWN)


CASES = {
    "as wanted": (GOOD, []),
    "no server yet": (
        None,
        [
            ("schema nova", "not created yet", "none"),
            ("schema nova_api", "not created yet", "none"),
            ("user nova", "not created yet", "none"),
        ],
    ),
    "empty server": (
        Observed(schemas={}, users={}),
        [
            ("schema nova", "missing", "none"),
            ("schema nova_api", "missing", "none"),
            ("user nova", "missing", "none"),
        ],
    ),
    "a new schema": (seen({"nova": "utf8mb4"}), [("schema nova_api", "missing", "none")]),
    "a foreign character set": (
        seen({"nova": "latin1", "nova_api": "utf8mb4"}),
        [("schema nova", "character set latin1 -> utf8mb4", "none")],
    ),
    "another password": (seen(hashes=(native_hash("old"),)), [("user nova", "password differs", "api")]),
    "no TLS": (seen(ssl=False), [("user nova", "TLS is not required", "api")]),
    "a lost grant": (
        seen(grants=USER.grants[1:]),
        [("user nova", "missing grant: ALL PRIVILEGES ON `nova\\_api`.*", "api")],
    ),
    "an unwanted grant": (
        seen(grants=(*USER.grants, "SELECT ON *.*")),
        [("user nova", "unwanted grant: SELECT ON *.*", "api")],
    ),
    "what left the catalog stays": (
        Observed(schemas=GOOD.schemas | {"heat": "utf8mb4"}, users={"nova": USER, "heat": USER}),
        [],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_diff(case: str) -> None:
    observed, expected = CASES[case]
    changes = diff(DESIRED, observed)
    assert [(c.subject, c.reason, c.impact.value) for c in changes] == expected
    assert all((c.service, c.host, c.phase) == ("nova", REGION, Phase.DATABASE) for c in changes)
    assert "password" not in "".join(c.reason for c in changes).replace("password differs", "")


ROTATING = Desired.build(
    {"nova": ["nova"]}, {"nova": ("new", "old")}, {"root@%": ("new", "old"), "sst@localhost": ("new", "old")}
)
NEW, OLD = native_hash("new"), native_hash("old")


@pytest.mark.parametrize(
    ("hashes", "reason"),
    [
        ((NEW, OLD), ""),
        ((OLD, NEW), ""),
        ((OLD,), "password differs"),
        ((NEW,), "the previous password is not accepted, but may still be in use"),
        ((NEW, OLD, native_hash("older")), "an old password is still accepted"),
        (("ed25519:x",), "password differs"),
    ],
)
def test_two_passwords_during_a_rotation(hashes: tuple[str, ...], reason: str) -> None:
    """For users of services and for the server's own accounts. A missing own account is not created."""
    user = USER.model_copy(update={"hashes": hashes, "grants": ("ALL PRIVILEGES ON `nova`.*",)})
    found = diff(ROTATING, Observed(schemas={"nova": "utf8mb4"}, users={"nova": user}, own={"root@%": hashes}))
    said = [("user nova", "nova", reason), ("user root@%", "mariadb", reason)]
    assert [(c.subject, c.service, c.reason) for c in found] == (said if reason else [])


def test_the_old_password_is_removed_after_the_rotation() -> None:
    found = diff(DESIRED, seen(hashes=(native_hash("nova-password"), OLD)))
    assert [(c.subject, c.reason) for c in found] == [("user nova", "an old password is still accepted")]


def test_password_hashes_are_parsed_from_rows_of_a_real_server() -> None:
    one = '{"access":0,"plugin":"mysql_native_password","authentication_string":"*A","ssl_type":1}'
    assert stored_hashes(one) == ("*A",)
    # MariaDB 11.8, after IDENTIFIED VIA mysql_native_password USING '*A' OR mysql_native_password USING '*B'
    two = one[:-1] + ',"auth_or":[{},{"plugin":"mysql_native_password","authentication_string":"*B"}]}'
    assert stored_hashes(two) == ("*A", "*B")
    socket = one[:-1] + ',"auth_or":[{"plugin":"unix_socket"},{}]}'
    assert stored_hashes(socket) == ("unix_socket:", "*A")


def test_the_password_hash_is_that_of_the_server() -> None:
    # SELECT PASSWORD('mariadb')
    assert native_hash("mariadb") == "*54958E764CE10E50764C2EECBB71D01F08549980"


@pytest.mark.parametrize("name", ["a b", "a`b", "A", "", "1a", "a-b"])
def test_a_name_that_needs_quoting_is_refused(name: str) -> None:
    with pytest.raises(ScsError, match="is not a valid name for a schema or user"):
        Desired.build({"nova": [name]}, {"nova": ("x",)})


def test_passwords_are_hidden() -> None:
    assert "nova-password" not in repr(DESIRED)
    assert USER.hashes[0] not in repr(GOOD)
