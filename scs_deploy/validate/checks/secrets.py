# SPDX-License-Identifier: Apache-2.0
"""Check the key manager as its users do: members of a project, not the region's administrator."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

from scs_deploy.secrets import clouds
from scs_deploy.validate import measure
from scs_deploy.validate.region import Region
from scs_deploy.validate.registry import CheckFailedError, NotApplicableError, Outcome, check

SERVICE = "key-manager"
LIFETIME = timedelta(hours=1)
"""A validation that is killed leaves its secret in a project that is gone: it expires."""


@check("secret", requires=("catalogue",), budget=10.0, creates=True)
def secret(region: Region) -> Outcome:
    """A member stores a secret, reads and deletes it; a member of another project cannot read it."""
    entries = region.cloud.session.auth.get_access(region.cloud.session).service_catalog.catalog
    if SERVICE not in {entry["type"] for entry in entries}:
        raise NotApplicableError(f"the catalogue has no {SERVICE}")
    owner, stranger = (_member(region, f"{region.name}-{name}") for name in ("owner", "stranger"))
    payload = secrets.token_hex(16)
    path = ""

    def use() -> None:
        nonlocal path
        path = _store(owner, region.name, payload)
        _expect(owner, "GET", f"{path}/payload", 200, payload)

    try:
        samples = [measure.seconds(use)]
        for asked in (path, f"{path}/payload"):
            _expect(stranger, "GET", asked, 403)
        if path in str(stranger.get("/v1/secrets", headers=JSON).json()):
            raise CheckFailedError("a member of another project sees the secret in its list")
    finally:
        if path:
            owner.delete(path)
    _expect(owner, "GET", path, 404)
    return Outcome("stored, read by its project only, deleted", samples)


JSON = {"Accept": "application/json"}


def _member(region: Region, name: str) -> Any:
    """An adapter of a new user, which is a member of a new project and nothing else, for the key manager."""
    identity = region.cloud.identity
    password = secrets.token_urlsafe(24)
    project = identity.create_project(name=name, domain_id="default", description=name)
    user = identity.create_user(
        name=name, password=password, domain_id="default", default_project_id=project.id, description=name
    )
    role = next(identity.roles(name="member"))
    identity.assign_project_role_to_user(project, user, role)
    return clouds.adapter(region.cloud, SERVICE, user.id, password, project.id)


def _store(adapter: Any, name: str, payload: str) -> str:
    """Store a secret. Returns its path."""
    expires = (datetime.now(UTC) + LIFETIME).replace(tzinfo=None).isoformat(timespec="seconds")
    body = {"name": name, "payload": payload, "payload_content_type": "text/plain", "expiration": expires}
    answer = adapter.post("/v1/secrets", json=body)
    if answer.status_code != 201:
        raise CheckFailedError(f"a member cannot store a secret: HTTP {answer.status_code}")
    return f"/v1/secrets/{answer.json()['secret_ref'].rpartition('/')[2]}"


def _expect(adapter: Any, method: str, path: str, status: int, content: str | None = None) -> None:
    answer = adapter.request(path, method, headers={"Accept": "text/plain"} if path.endswith("/payload") else JSON)
    if answer.status_code != status:
        raise CheckFailedError(f"{method} {path}: HTTP {answer.status_code}, not {status}")
    if content is not None and answer.text != content:
        raise CheckFailedError(f"{method} {path}: not what was stored")
