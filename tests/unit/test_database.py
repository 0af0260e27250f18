# SPDX-License-Identifier: Apache-2.0
"""MariaDB: (desired, observed) -> changes."""

from __future__ import annotations

import pytest

from scs_deploy.change import REGION
from scs_deploy.errors import ScsError
from scs_deploy.service import Phase
from scs_deploy.shared.database import Desired, Observed, ObservedUser, diff, native_hash

DESIRED = Desired.build(
    {"nova": ["nova", "nova_api"], "memcached": []}, {"nova": "nova-password", "memcached": "unused"}
)
USER = ObservedUser(
    hash=native_hash("nova-password"),
    ssl=True,
    grants=("ALL PRIVILEGES ON `nova\\_api`.*", "ALL PRIVILEGES ON `nova`.*"),
)
GOOD = Observed(schemas={"nova": "utf8mb4", "nova_api": "utf8mb4", "mysql": "latin1"}, users={"nova": USER})


def seen(schemas: dict[str, str] | None = None, **user: object) -> Observed:
    return Observed(schemas=schemas or GOOD.schemas, users={"nova": USER.model_copy(update=user)})


CASES = {
    "as wanted": (GOOD, []),
    "no server yet": (
        None,
        [
            ("schema nova", "not there yet", "none"),
            ("schema nova_api", "not there yet", "none"),
            ("user nova", "not there yet", "none"),
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
    "another password": (seen(hash=native_hash("old")), [("user nova", "password differs", "api")]),
    "no TLS": (seen(ssl=False), [("user nova", "TLS is not required", "api")]),
    "a lost grant": (
        seen(grants=USER.grants[1:]),
        [("user nova", "grant missing: ALL PRIVILEGES ON `nova\\_api`.*", "api")],
    ),
    "a grant too many": (
        seen(grants=(*USER.grants, "SELECT ON *.*")),
        [("user nova", "grant too many: SELECT ON *.*", "api")],
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


def test_password_hash_is_the_servers() -> None:
    # SELECT PASSWORD('mariadb')
    assert native_hash("mariadb") == "*54958E764CE10E50764C2EECBB71D01F08549980"


@pytest.mark.parametrize("name", ["a b", "a`b", "A", "", "1a", "a-b"])
def test_a_name_that_needs_quoting_is_refused(name: str) -> None:
    with pytest.raises(ScsError, match="is no name for a schema or user"):
        Desired.build({"nova": [name]}, {"nova": "x"})


def test_passwords_are_not_shown() -> None:
    assert "nova-password" not in repr(DESIRED)
    assert USER.hash not in repr(GOOD)
