# SPDX-License-Identifier: Apache-2.0
"""Keystone: (desired, observed) -> changes."""

from __future__ import annotations

from typing import Any

import pytest

from scs_deploy.plan.change import REGION
from scs_deploy.shared.identity import EXEMPT, Desired, Observed, diff, fingerprint, matches, parse

URL = "https://api.example:8774/v2.1"
INTERNAL = "https://internal.example:8774/v2.1"
DESIRED = Desired.build(
    "RegionOne",
    {"nova": "nova-password"},
    [("nova", "compute", "public", URL), ("nova", "compute", "internal", INTERNAL)],
)
PRINT = fingerprint("nova-password")
EXEMPTION = {EXEMPT: True}


def endpoint(number: int, interface: str, url: str, **more: Any) -> dict[str, Any]:
    known = {"id": f"e{number}", "service_id": "s1", "region_id": "RegionOne", "enabled": True}
    return {**known, "interface": interface, "url": url, **more}


RAW: dict[str, list[dict[str, Any]]] = {
    "regions": [{"id": "RegionOne"}],
    "projects": [{"id": "p1", "name": "service"}],
    "roles": [
        {"id": "r1", "name": "admin", "domain_id": None},
        {"id": "r2", "name": "service", "domain_id": None},
        {"id": "r3", "name": "member", "domain_id": None},
    ],
    "users": [
        {"id": "u0", "name": "admin", "enabled": True, "options": EXEMPTION},
        {
            "id": "u1",
            "name": "nova",
            "enabled": True,
            "default_project_id": "p1",
            "scs_password": PRINT,
            "options": EXEMPTION,
        },
    ],
    "assignments": [
        {"user": {"id": "u1"}, "role": {"id": "r1"}},
        {"user": {"id": "u1"}, "role": {"id": "r2"}},
        {"group": {"id": "g1"}, "role": {"id": "r3"}},
    ],
    "services": [
        {"id": "s0", "type": "identity", "name": "keystone", "enabled": True},
        {"id": "s1", "type": "compute", "name": "nova", "enabled": True},
    ],
    "endpoints": [endpoint(1, "public", URL), endpoint(2, "internal", INTERNAL)],
}


def seen(**lists: list[dict[str, Any]]) -> Observed:
    return parse(DESIRED, RAW | lists)


def user(**more: Any) -> list[dict[str, Any]]:
    return [{**RAW["users"][1], **more}]


ALL = ["project service", "role admin", "role service", "user nova"]
ALL += ["region RegionOne", "service compute", "endpoint compute public", "endpoint compute internal"]
CASES = {
    "as wanted": (seen(), []),
    "no Keystone yet": (
        None,
        [
            *[(subject, "not created yet", "none") for subject in ALL[:4]],
            ("user admin", "wrong passwords can lock it out", "none"),
            *[(subject, "not created yet", "none") for subject in ALL[4:]],
        ],
    ),
    "empty Keystone": (
        parse(DESIRED, {name: [] for name in RAW}),
        [(subject, "missing", "none") for subject in ALL],
    ),
    "role of a domain only": (
        seen(roles=[*RAW["roles"][:1], {"id": "r2", "name": "service", "domain_id": "d1"}]),
        [("role service", "missing", "none"), ("user nova", "role service missing", "api")],
    ),
    "another password": (
        seen(users=user(scs_password=fingerprint("old"))),
        [("user nova", "password differs", "api")],
    ),
    "an account that somebody else made": (
        seen(users=[{"id": "u1", "name": "nova", "enabled": False}], assignments=[]),
        [
            (
                "user nova",
                "password differs; is disabled; default project is not service; "
                "role admin missing; role service missing",
                "api",
            )
        ],
    ),
    "a lost role": (seen(assignments=RAW["assignments"][:1]), [("user nova", "role service missing", "api")]),
    "a role of the operator": (
        seen(assignments=[*RAW["assignments"], {"user": {"id": "u1"}, "role": {"id": "r3"}}]),
        [],
    ),
    "another URL": (
        seen(endpoints=[endpoint(1, "public", "http://old"), RAW["endpoints"][1]]),
        [("endpoint compute public", f"URL http://old -> {URL}", "api")],
    ),
    "an endpoint twice": (
        seen(endpoints=[endpoint(0, "public", "http://old"), *RAW["endpoints"]]),
        [("endpoint compute public", "exists 2 times", "api")],
    ),
    "an endpoint switched off": (
        seen(endpoints=[endpoint(1, "public", URL, enabled=False), RAW["endpoints"][1]]),
        [("endpoint compute public", "is disabled", "api")],
    ),
    "an endpoint of another region": (
        seen(endpoints=[endpoint(1, "public", URL, region_id="RegionTwo"), RAW["endpoints"][1]]),
        [("endpoint compute public", "missing", "none")],
    ),
    "a service renamed and switched off": (
        seen(services=[{"id": "s1", "type": "compute", "name": "old", "enabled": False}]),
        [("service compute", "name old -> nova; is disabled", "none")],
    ),
    "two services of a type": (
        seen(
            services=[
                {"id": "s9", "type": "compute", "name": "nova", "enabled": True},
                {**RAW["services"][1], "name": "old"},
            ]
        ),
        [
            ("endpoint compute public", "belongs to another service of this type", "api"),
            ("endpoint compute internal", "belongs to another service of this type", "api"),
        ],
    ),
    "what left the catalog stays": (
        seen(services=[*RAW["services"], {"id": "s2", "type": "orchestration", "name": "heat", "enabled": True}]),
        [],
    ),
}


def test_an_account_keeps_no_role_that_it_does_not_need() -> None:
    wanted = Desired.build("RegionOne", {"nova": "nova-password"}, [], roles={"nova": ("service",)})
    had = seen()
    assert [(c.subject, c.reason) for c in diff(wanted, had)] == [("user nova", "role admin not needed")]
    assert diff(wanted, seen(assignments=RAW["assignments"][1:])) == ()


@pytest.mark.parametrize("case", CASES)
def test_diff(case: str) -> None:
    observed, expected = CASES[case]
    changes = diff(DESIRED, observed)
    assert [(c.subject, c.reason, c.impact.value) for c in changes] == expected
    assert all(c.host == REGION for c in changes)


def test_phases() -> None:
    phases = {c.subject: (c.service, c.kind.value, c.phase.value) for c in diff(DESIRED, None)}
    assert phases["user nova"] == ("nova", "account", "database")
    assert phases["project service"] == ("keystone", "account", "register")
    assert phases["region RegionOne"] == ("keystone", "catalogue", "register")
    assert phases["endpoint compute public"] == ("nova", "catalogue", "register")


def test_a_region_without_keystone_has_no_changes() -> None:
    assert diff(Desired.build("RegionOne", {}, []), None) == ()


@pytest.mark.parametrize("stored", ["", "x", "1$2", "a$b$c", "999999999$c2FsdA==$x", "-1$c2FsdA==$x", "1$ä$x"])
def test_invalid_fingerprints_never_match(stored: str) -> None:
    assert not matches("x", stored)


def test_fingerprints_are_salted_and_secrets_hidden() -> None:
    assert fingerprint("x") != fingerprint("x")
    assert matches("x", fingerprint("x"))
    assert not matches("y", fingerprint("x"))
    assert "nova-password" not in repr(DESIRED)
    assert PRINT not in repr(seen())


def test_two_users_during_a_rotation() -> None:
    turn = Desired.build("RegionOne", {"nova_b": "new", "nova": "nova-password"}, [], {"nova_b": "nova"})
    found = diff(turn, parse(turn, RAW))
    assert [(c.subject, c.service, c.reason) for c in found] == [("user nova_b", "nova", "missing")]
    over = Desired.build("RegionOne", {"nova_b": "new"}, [], {"nova_b": "nova"}, {"nova": "nova"})
    second = {**RAW["users"][1], "id": "u2", "name": "nova_b", "scs_password": fingerprint("new")}
    held = [*RAW["assignments"], *({"user": {"id": "u2"}, "role": {"id": r}} for r in ("r1", "r2"))]
    found = diff(over, parse(over, RAW | {"users": [*RAW["users"], second], "assignments": held}))
    assert [(c.subject, c.service, c.reason) for c in found] == [("user nova", "nova", "no longer used")]
    assert diff(over, parse(over, RAW | {"users": [RAW["users"][0], second], "assignments": held})) == ()


def test_the_administrator_gets_its_new_password() -> None:
    stale = seen().model_copy(update={"administrator_stale": True})
    assert [(c.subject, c.reason) for c in diff(DESIRED, stale)] == [("user admin", "has its previous password")]


def test_nobody_outside_can_lock_the_regions_accounts_out() -> None:
    """Before Keystone gets the configuration that locks users out."""
    raw = RAW | {"users": [{**u, "options": {"lock_password": True}} for u in RAW["users"]]}
    changes = diff(DESIRED, parse(DESIRED, raw))
    assert [(c.subject, c.service, c.phase.value, c.impact.value) for c in changes] == [
        ("user nova", "keystone", "database", "none"),
        ("user admin", "keystone", "database", "none"),
    ]
    created = {c.subject: c.phase.value for c in diff(DESIRED, None)}
    assert created["user admin"] == "register", "Keystone runs by then"
