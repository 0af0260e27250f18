# SPDX-License-Identifier: Apache-2.0
"""Keystone's service accounts and catalogue, as (desired, observed) -> changes.

Accounts are users in domain Default with roles on project `service`: no more of `admin` and `service` than they need.
Keystone does not reveal passwords, so each user has a salted fingerprint of its password as an attribute. scs detects a
changed secret, but not a password that was changed without scs. Objects that are no longer wanted are not removed.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import Field

from scs_deploy.base.model import Model
from scs_deploy.plan.change import REGION, Change, Kind, Shared, SharedObject
from scs_deploy.spec.container import Impact
from scs_deploy.spec.job import Phase

DOMAIN = "default"
"""ID of domain Default, fixed by Keystone's bootstrap."""
PROJECT = "service"
ROLES = ("admin", "service")
ADMINISTRATOR = "admin"
"""The administrator's user and project, created by Keystone's bootstrap."""
FINGERPRINT = "scs_password"
"""Attribute of a user with the fingerprint of its password."""
EXEMPT = "ignore_lockout_failure_attempts"
"""Option of a user: wrong passwords never lock it out. The region stops if somebody outside can do that to its own."""
IDENTITY = "keystone"
"""The service that owns changes of project, roles and region."""
_ITERATIONS = 10_000


class Entry(Model):
    """A desired service of the catalogue."""

    service: str = Field(description="the scs service that it belongs to")
    type: str
    name: str
    endpoints: dict[str, str] = Field(description="interface (public, internal): URL")


class Desired(Model):
    """The desired state of Keystone."""

    region: str
    accounts: dict[str, str] = Field(repr=False, description="user: password")
    services: dict[str, str] = Field(
        default={}, description="user: its service; absent: the service has the user's name"
    )
    retired: dict[str, str] = Field(default={}, description="user that is no longer used: its service")
    roles: dict[str, tuple[str, ...]] = Field(default={}, description="user: its roles; absent: all of ROLES")
    entries: dict[str, Entry] = Field(description="catalogue entries by service type")

    @classmethod
    def build(
        cls,
        region: str,
        accounts: Mapping[str, str],
        endpoints: Iterable[tuple[str, str, str, str]],
        services: Mapping[str, str] | None = None,
        retired: Mapping[str, str] | None = None,
        roles: Mapping[str, tuple[str, ...]] | None = None,
    ) -> Desired:
        """Build from user -> password, (service, type, interface, URL) of every endpoint, and the users' services."""
        entries: dict[str, Entry] = {}
        for service, kind, interface, url in endpoints:
            known = entries[kind].endpoints if kind in entries else {}
            entries[kind] = Entry(service=service, type=kind, name=service, endpoints={**known, interface: url})
        return cls(
            region=region, accounts=dict(accounts), entries=entries, services=dict(services or {}),
            retired=dict(retired or {}), roles=dict(roles or {}),
        )  # fmt: skip

    def roles_of(self, user: str) -> tuple[str, ...]:
        """The roles that an account shall have on project `service`."""
        return self.roles.get(user, ROLES)


class User(Model):
    """A user in Keystone."""

    id: str
    enabled: bool
    project: str | None = Field(description="ID of its default project")
    fingerprint: str = Field(repr=False)
    roles: tuple[str, ...] = Field(description="names of its roles on project `service`")
    options: dict[str, Any] = Field(default={}, description="as Keystone has them")

    @property
    def lockable(self) -> bool:
        """Whether wrong passwords may lock it out."""
        return self.options.get(EXEMPT) is not True


class CatalogueService(Model):
    """A service in Keystone's catalogue."""

    id: str
    type: str
    name: str
    enabled: bool


class Endpoint(Model):
    """An endpoint of the region in Keystone's catalogue."""

    id: str
    service: str = Field(description="ID of its service")
    interface: str
    url: str
    enabled: bool


class Observed(Model):
    """The relevant part of Keystone's state."""

    regions: tuple[str, ...]
    project: str | None = Field(description="ID of project `service`")
    roles: dict[str, str] = Field(description="name: ID")
    users: dict[str, User]
    services: tuple[CatalogueService, ...]
    endpoints: tuple[Endpoint, ...] = Field(description="endpoints of the desired region")
    administrator: User | None = Field(default=None, description="user `admin`")
    administrator_stale: bool = Field(default=False, description="whether `admin` still has its previous password")

    def service(self, entry: Entry) -> CatalogueService | None:
        """The service for an entry: preferably the one with its name, else the first of its type."""
        of_type = sorted((s for s in self.services if s.type == entry.type), key=lambda s: (s.name != entry.name, s.id))
        return of_type[0] if of_type else None

    def endpoints_of(self, entry: Entry, interface: str) -> list[Endpoint]:
        """All endpoints of a type and interface, the one to keep first."""
        keep = self.service(entry)
        ids = {s.id for s in self.services if s.type == entry.type}
        return sorted(
            (e for e in self.endpoints if e.service in ids and e.interface == interface),
            key=lambda e: (keep is None or e.service != keep.id, e.url != entry.endpoints[interface], e.id),
        )


def parse(desired: Desired, raw: Mapping[str, Sequence[Mapping[str, Any]]]) -> Observed:
    """Parse Keystone's lists: regions, projects, roles, users, assignments (of the project), services, endpoints."""
    roles = {r["name"]: r["id"] for r in raw["roles"] if not r.get("domain_id")}
    names = {i: n for n, i in roles.items()}
    held: dict[str, set[str]] = {}
    for a in raw["assignments"]:
        if "user" in a and a["role"]["id"] in names:
            held.setdefault(a["user"]["id"], set()).add(names[a["role"]["id"]])
    users = {
        u["name"]: User(
            id=u["id"],
            enabled=u["enabled"],
            project=u.get("default_project_id"),
            fingerprint=str(u.get(FINGERPRINT) or ""),
            roles=tuple(sorted(held.get(u["id"], ()))),
            options=u.get("options") or {},
        )
        for u in raw["users"]
    }
    return Observed(
        regions=tuple(r["id"] for r in raw["regions"]),
        project=next((p["id"] for p in raw["projects"] if p["name"] == PROJECT), None),
        roles=roles,
        users={n: u for n, u in users.items() if n in desired.accounts or n in desired.retired},
        administrator=users.get(ADMINISTRATOR),
        services=tuple(
            CatalogueService(id=s["id"], type=s["type"], name=s.get("name") or "", enabled=s["enabled"])
            for s in raw["services"]
        ),
        endpoints=tuple(
            Endpoint(id=e["id"], service=e["service_id"], interface=e["interface"], url=e["url"], enabled=e["enabled"])
            for e in raw["endpoints"]
            if e.get("region_id") == desired.region
        ),
    )


def diff(desired: Desired, observed: Observed | None) -> tuple[Change, ...]:
    """The necessary changes. If `observed` is None (Keystone is not deployed yet), everything is created.

    A service's user is created in its phase database. Everything that belongs to Keystone itself is created in phase
    register, when Keystone runs. But no user may be locked out from the moment that Keystone does that: in a region
    that works, this comes before Keystone gets its new configuration.
    """
    changes: list[Change] = []

    def add(shared: SharedObject, service: str, known: bool, wrong: Iterable[str] = (), disturbs: bool = False) -> None:
        reason = "; ".join(wrong) if known else "missing" if observed else "not created yet"
        if reason:
            impact = Impact.API if known and disturbs else Impact.NONE
            changes.append(_change(shared, service, reason, impact, not known))

    if desired.accounts:
        add(_object(Shared.PROJECT, PROJECT), IDENTITY, bool(observed and observed.project))
        for role in ROLES:
            add(_object(Shared.ROLE, role), IDENTITY, bool(observed and role in observed.roles))
    for name, password in desired.accounts.items():
        known = bool(observed and name in observed.users)
        wrong = user_reasons(name, password, desired.roles_of(name), observed)
        if observed and known and not wrong and observed.users[name].lockable:
            changes.append(_exemption(name, observed))
        else:
            add(_object(Shared.USER, name), desired.services.get(name, name), known, wrong, disturbs=True)
    for name, service in desired.retired.items():
        if observed and name in observed.users:
            add(_object(Shared.USER, name), service, True, ["no longer used"])
    if observed and observed.administrator_stale:
        add(_object(Shared.USER, ADMINISTRATOR), IDENTITY, True, ["has its previous password"], disturbs=True)
    elif desired.accounts and (observed is None or (observed.administrator and observed.administrator.lockable)):
        changes.append(_exemption(ADMINISTRATOR, observed))
    if desired.entries:
        known = bool(observed and desired.region in observed.regions)
        add(_object(Shared.REGION, desired.region), IDENTITY, known)
    for entry in desired.entries.values():
        existing = observed.service(entry) if observed else None
        add(_object(Shared.SERVICE, entry.type), entry.service, existing is not None, service_reasons(entry, existing))
        for interface, url in entry.endpoints.items():
            present = observed.endpoints_of(entry, interface) if observed else []
            wrong = _endpoint_reasons(url, present, existing)
            add(_object(Shared.ENDPOINT, entry.type, interface), entry.service, bool(present), wrong, disturbs=True)
    return tuple(changes)


_CATALOGUE = frozenset({Shared.REGION, Shared.SERVICE, Shared.ENDPOINT})


def _object(kind: Shared, name: str, interface: str = "") -> SharedObject:
    return SharedObject(server=IDENTITY, kind=kind, name=name, interface=interface)


def _exemption(name: str, observed: Observed | None) -> Change:
    change = _change(_object(Shared.USER, name), IDENTITY, "wrong passwords can lock it out", Impact.NONE, new=False)
    return change.model_copy(update={"phase": Phase.DATABASE}) if observed else change


def _change(shared: SharedObject, service: str, reason: str, impact: Impact, new: bool) -> Change:
    kind = Kind.CATALOGUE if shared.kind in _CATALOGUE else Kind.ACCOUNT
    own = kind is Kind.CATALOGUE or service == IDENTITY
    return Change(
        kind=kind, service=service, host=REGION, subject=str(shared), reason=reason,
        phase=Phase.REGISTER if own else Phase.DATABASE, impact=impact, creates=new, shared=shared,
    )  # fmt: skip


def user_reasons(name: str, password: str, roles: tuple[str, ...], observed: Observed | None) -> list[str]:
    """The differences of an existing account. Roles other than ROLES are its operator's."""
    if observed is None or name not in observed.users:
        return []
    user = observed.users[name]
    reasons = [] if matches(password, user.fingerprint) else ["password differs"]
    if not user.enabled:
        reasons.append("is disabled")
    if user.project is None or user.project != observed.project:
        reasons.append(f"default project is not {PROJECT}")
    reasons += [f"role {role} missing" for role in roles if role not in user.roles]
    reasons += [f"role {role} not needed" for role in surplus_roles(user, roles)]
    return reasons


def surplus_roles(user: User, roles: Iterable[str]) -> list[str]:
    """Those of ROLES that an account has and does not need."""
    return [role for role in ROLES if role in user.roles and role not in roles]


def service_reasons(entry: Entry, service: CatalogueService | None) -> list[str]:
    """The differences of an existing service."""
    if service is None:
        return []
    reasons = [] if service.name == entry.name else [f"name {service.name or 'unset'} -> {entry.name}"]
    return reasons if service.enabled else [*reasons, "is disabled"]


def _endpoint_reasons(url: str, present: list[Endpoint], service: CatalogueService | None) -> list[str]:
    if not present:
        return []
    reasons = [] if present[0].url == url else [f"URL {present[0].url} -> {url}"]
    if not present[0].enabled:
        reasons.append("is disabled")
    if service and present[0].service != service.id:
        reasons.append("belongs to another service of this type")
    return reasons if len(present) == 1 else [*reasons, f"exists {len(present)} times"]


def fingerprint(password: str) -> str:
    """Compute `iterations$salt$PBKDF2-SHA256` with a new salt."""
    salt = os.urandom(12)
    return f"{_ITERATIONS}${base64.b64encode(salt).decode()}${_derive(password, salt, _ITERATIONS)}"


def matches(password: str, stored: str) -> bool:
    """Whether a fingerprint matches a password. An invalid fingerprint never matches."""
    try:
        count, salt, digest = stored.split("$")
        iterations = int(count)
        # the limit prevents a forged attribute from stalling a plan
        return 0 < iterations <= 10 * _ITERATIONS and hmac.compare_digest(
            _derive(password, base64.b64decode(salt), iterations), digest
        )
    except (ValueError, TypeError):
        return False


def _derive(password: str, salt: bytes, iterations: int) -> str:
    return base64.b64encode(hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)).decode()
