# SPDX-License-Identifier: Apache-2.0
"""What the manager makes in Keystone, and what Keystone does with it: a real one of the region's image on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from scs_deploy.plan.change import Change
from scs_deploy.shared.identity import Desired, diff
from tests.conftest import dummy_region
from tests.support.images import needs
from tests.support.live_keystone import ADMINISTRATOR, DATABASE_IMAGE, IMAGE, LiveKeystone, keystone

pytestmark = [needs(IMAGE), needs(DATABASE_IMAGE)]

URL = "https://api.example:9292"
DESIRED = Desired.build(
    "RegionOne", {"glance": "glance-password"}, [("glance", "image", side, URL) for side in ("public", "internal")]
)
ATTEMPTS = int(str(dummy_region("testbed").catalog.settings["keystone_lockout_attempts"]))


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveKeystone]:
    with keystone(tmp_path_factory.mktemp("keystone")) as made:
        yield made


def differences(live: LiveKeystone, desired: Desired) -> tuple[Change, ...]:
    with live.session() as session:
        return diff(desired, session.read(desired))


def applied(live: LiveKeystone, desired: Desired) -> list[str]:
    """Subjects of what was made."""
    with live.session() as session:
        changes = diff(desired, session.read(desired))
        session.apply(desired, changes)
    assert differences(live, desired) == ()
    return [c.subject for c in changes]


def test_guesses_lock_users_out_but_never_the_regions_accounts(live: LiveKeystone) -> None:
    live.admin("POST", "/users", {"user": {"name": "somebody", "password": "right", "domain_id": "default"}})
    assert "user admin" in applied(live, DESIRED)
    passwords = {"somebody": "right", "glance": "glance-password", "admin": ADMINISTRATOR}
    for user in passwords:
        for _ in range(ATTEMPTS):
            assert live.log_in(user, "wrong").status_code == 401
    status = {user: live.log_in(user, password).status_code for user, password in passwords.items()}
    assert status == {"somebody": 401, "glance": 201, "admin": 201}


def test_a_lost_exemption_is_made_again(live: LiveKeystone) -> None:
    applied(live, DESIRED)
    user = live.admin("GET", "/users?name=glance")["users"][0]
    options = {"ignore_lockout_failure_attempts": False, "lock_password": True}
    live.admin("PATCH", f"/users/{user['id']}", {"user": {"options": options}})
    assert applied(live, DESIRED) == ["user glance"]
    options = live.admin("GET", f"/users/{user['id']}")["user"]["options"]
    assert options == {"ignore_lockout_failure_attempts": True, "lock_password": True}


def test_an_account_without_admin_checks_tokens_and_does_nothing_else(live: LiveKeystone) -> None:
    """What Glance and Placement ask. A process that runs goes on with its token, which loses the role too."""
    applied(live, DESIRED)
    project = {"project": {"name": "service", "domain": {"id": "default"}}}
    before = token(live, "glance", "glance-password", project)
    somebody = token(live, "admin", ADMINISTRATOR, {"project": {"name": "admin", "domain": {"id": "default"}}})
    assert asked(live, before, "/users") == 200
    wanted = DESIRED.model_copy(update={"roles": {"glance": ("service",)}})
    assert applied(live, wanted) == ["user glance"]
    for held in (before, token(live, "glance", "glance-password", project)):
        assert asked(live, held, "/auth/tokens", **{"X-Subject-Token": somebody}) == 200
        assert asked(live, held, "/users") == 403


def token(live: LiveKeystone, user: str, password: str, scope: dict[str, Any]) -> str:
    return live.log_in(user, password, scope).headers["X-Subject-Token"]


def asked(live: LiveKeystone, token: str, path: str, **headers: str) -> int:
    return requests.get(live.url + path, headers={"X-Auth-Token": token, **headers}, timeout=30).status_code
