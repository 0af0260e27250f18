# SPDX-License-Identifier: Apache-2.0
"""RabbitMQ vhosts, users and permissions through the management API: one GET reads everything, PUT changes differences.

Each service has a user and a vhost with its name. The user has all permissions on its vhost and none elsewhere. The
broker has one password per user: a rotation creates a second user (`nova_b`), switches to it, and removes the first.
https://www.rabbitmq.com/docs/http-api-reference
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

from pydantic import Field

from scs_deploy.base.errors import ScsError
from scs_deploy.base.model import Model
from scs_deploy.plan.change import REGION, Change, Kind, Shared, SharedObject, shared_objects
from scs_deploy.secrets.credentials import Login
from scs_deploy.spec.container import Impact
from scs_deploy.spec.job import Phase

QUEUE_TYPE = "quorum"
OWNER = "rabbitmq"
"""The service that runs the broker and owns its administrators."""
ADMINISTRATOR = ("administrator",)
UNAUTHORIZED = 401
_ALL = (".*", ".*", ".*")
_EVERYTHING = dict(zip(("configure", "write", "read"), _ALL, strict=True))
_HASHING = "rabbit_password_hashing_sha256"


class Desired(Model):
    """The desired users, and the retired ones."""

    users: dict[str, str] = Field(repr=False, description="user: password")
    services: dict[str, str] = Field(
        default={}, description="user: its service, which names its vhost; absent: the service has the user's name"
    )
    administrators: dict[str, str] = Field(
        default={}, repr=False, description="user: password; the first administrator is created with the broker"
    )
    retired: dict[str, str] = Field(default={}, description="user that is no longer used: its service")

    def service(self, user: str) -> str:
        """The service of a user."""
        return self.services.get(user, user)


class ObservedUser(Model):
    """A user on the broker."""

    hash: str = Field(repr=False)
    hashing: str
    tags: tuple[str, ...]


class Observed(Model):
    """The relevant part of the broker's definitions."""

    vhosts: dict[str, str | None] = Field(description="vhost: its default queue type; None: the broker's default")
    users: dict[str, ObservedUser]
    permissions: dict[str, dict[str, tuple[str, str, str]]] = Field(
        description="user: vhost: patterns of configure, write, read"
    )

    @classmethod
    def parse(cls, definitions: Mapping[str, Any]) -> Observed:
        """Parse the response to GET /api/definitions."""
        permissions: dict[str, dict[str, tuple[str, str, str]]] = {}
        for p in definitions.get("permissions", ()):
            permissions.setdefault(p["user"], {})[p["vhost"]] = (p["configure"], p["write"], p["read"])
        return cls(
            vhosts={v["name"]: _queue_type(v) for v in definitions.get("vhosts", ())},
            users={
                u["name"]: ObservedUser(
                    hash=u.get("password_hash") or "", hashing=u.get("hashing_algorithm") or "", tags=_tags(u)
                )
                for u in definitions.get("users", ())
            },
            permissions=permissions,
        )


def _queue_type(vhost: Mapping[str, Any]) -> str | None:
    kind = vhost.get("default_queue_type") or (vhost.get("metadata") or {}).get("default_queue_type")
    return None if kind in (None, "undefined") else str(kind)


def _tags(user: Mapping[str, Any]) -> tuple[str, ...]:
    tags = user.get("tags") or ()
    return tuple(t for t in (tags.split(",") if isinstance(tags, str) else tags) if t)


def diff(desired: Desired, observed: Observed | None) -> tuple[Change, ...]:
    """The necessary changes. If `observed` is None (the broker is not deployed yet), everything is created.

    `Change.shared` is a vhost, a user or the permissions of a user.
    """
    changes: list[Change] = []

    def add(kind: Shared, service: str, name: str, reason: str, exists: bool = True, disturbs: bool = False) -> None:
        if reason:
            changes.append(_change(kind, service, name, reason, Impact.API if disturbs else Impact.NONE, not exists))

    for vhost in dict.fromkeys(desired.service(u) for u in desired.users):
        exists = observed is not None and vhost in observed.vhosts
        add(Shared.VHOST, vhost, vhost, _vhost_reason(vhost, observed), exists)
    for name, password in desired.users.items():
        service = desired.service(name)
        exists = observed is not None and name in observed.users
        add(Shared.USER, service, name, _user_reason(name, password, observed), exists, disturbs=exists)
        known = observed is not None and service in observed.permissions.get(name, {})
        add(Shared.PERMISSIONS, service, name, _permission_reason(name, service, observed), known)
    if observed is None:
        return tuple(changes)
    for name, password in desired.administrators.items():
        reason = _user_reason(name, password, observed, ADMINISTRATOR)
        add(Shared.USER, OWNER, name, reason, name in observed.users)
    for name, service in desired.retired.items():
        add(Shared.USER, service, name, "no longer used" if name in observed.users else "")
    return tuple(changes)


def matches(password: str, stored: str) -> bool:
    """Whether a stored hash, base64(salt + SHA256(salt + password)) with four bytes of salt, matches a password.

    https://www.rabbitmq.com/docs/passwords
    """
    try:
        raw = base64.b64decode(stored, validate=True)
    except ValueError:
        return False
    return hmac.compare_digest(raw[4:], hashlib.sha256(raw[:4] + password.encode()).digest())


def hashed(password: str) -> str:
    """The broker's hash of a password, with a new salt."""
    salt = os.urandom(4)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def _vhost_reason(name: str, observed: Observed | None) -> str:
    if observed is None:
        return "not created yet"
    if name not in observed.vhosts:
        return "missing"
    queue_type = observed.vhosts[name]
    return "" if queue_type == QUEUE_TYPE else f"default queue type {queue_type or 'unset'} -> {QUEUE_TYPE}"


def _user_reason(name: str, password: str, observed: Observed | None, tags: tuple[str, ...] = ()) -> str:
    if observed is None:
        return "not created yet"
    user = observed.users.get(name)
    if user is None:
        return "missing"
    reasons = []
    if user.hashing != _HASHING or not matches(password, user.hash):
        reasons.append("password differs")
    if user.tags != tags:
        reasons.append(f"tags {', '.join(user.tags) or 'none'} -> {', '.join(tags) or 'none'}")
    return "; ".join(reasons)


def _permission_reason(name: str, wanted: str, observed: Observed | None) -> str:
    if observed is None:
        return "not created yet"
    vhosts = observed.permissions.get(name, {})
    reasons = []
    if wanted not in vhosts:
        reasons.append(f"missing on vhost {wanted}")
    elif vhosts[wanted] != _ALL:
        reasons.append(f"on vhost {wanted}: {' '.join(vhosts[wanted])} -> {' '.join(_ALL)}")
    reasons += [f"unwanted on vhost {vhost}" for vhost in sorted(vhosts) if vhost != wanted]
    return "; ".join(reasons)


def _change(kind: Shared, service: str, name: str, reason: str, impact: Impact, new: bool) -> Change:
    shared = SharedObject(server=OWNER, kind=kind, name=name)
    return Change(
        kind=Kind.DATABASE if kind is Shared.VHOST else Kind.ACCOUNT, service=service, host=REGION,
        subject=str(shared), reason=reason, phase=Phase.DATABASE, impact=impact, creates=new, shared=shared,
    )  # fmt: skip


class Messaging:
    """A session with the management API, as a context manager.

    :param hosts: the brokers' addresses, as in their certificates; the first one that responds is used
    :param logins: the administrator, and the previous one during a rotation
    :param ca_file: the region CA
    :param timeout: seconds for the connection and for each response
    """

    def __init__(
        self,
        hosts: Sequence[str],
        logins: Sequence[Login],
        ca_file: Path,
        port: int = 15671,
        timeout: float = 10,
    ) -> None:
        import requests

        self._urls = [f"https://{f'[{h}]' if ':' in h else h}:{port}/api" for h in hosts]
        self._timeout = timeout
        self._session = requests.Session()
        self._session.trust_env = False
        self._logins = list(logins)
        self._session.auth = (logins[0].user, logins[0].password)
        self._session.verify = str(ca_file)

    def __enter__(self) -> Messaging:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.close()

    def read(self) -> Observed:
        """Read all vhosts, users and permissions.

        :raises ScsError: the broker cannot be read
        """
        return Observed.parse(self._ask("GET", "/definitions").json())

    def apply(self, desired: Desired, changes: Iterable[Change]) -> None:
        """Apply changes from `diff`. Each is idempotent.

        :raises ScsError: the broker rejects a change
        """
        for shared in shared_objects(changes):
            name, user = shared.name, shared.kind is Shared.USER
            path = quote(name, safe="")
            if shared.kind is Shared.VHOST:
                self._ask("PUT", f"/vhosts/{path}", {"default_queue_type": QUEUE_TYPE})
            elif user and name in desired.retired:
                # this also closes its remaining connections
                self._ask("DELETE", f"/users/{path}")
            elif user and name in desired.administrators:
                body = {
                    "password_hash": hashed(desired.administrators[name]),
                    "hashing_algorithm": _HASHING,
                    "tags": ",".join(ADMINISTRATOR),
                }
                self._ask("PUT", f"/users/{path}", body)
                self._ask("PUT", f"/permissions/%2F/{path}", _EVERYTHING)
            elif user:
                body = {"password_hash": hashed(desired.users[name]), "hashing_algorithm": _HASHING, "tags": ""}
                self._ask("PUT", f"/users/{path}", body)
            else:
                self._put_permissions(desired.service(name), path)

    def nodes(self) -> dict[str, bool]:
        """Members of the cluster, `rabbit@<host>`: whether the member is running.

        :raises ScsError: the broker cannot be read
        """
        return {n["name"]: bool(n.get("running")) for n in self._ask("GET", "/nodes").json()}

    def quorum_queues(self) -> dict[str, tuple[frozenset[str], frozenset[str]]]:
        """`vhost/queue`: nodes with a replica, and those of them that are online.

        :raises ScsError: the broker cannot be read
        """
        return {
            f"{q['vhost']}/{q['name']}": (frozenset(q.get("members") or ()), frozenset(q.get("online") or ()))
            for q in self._ask("GET", "/queues").json()
            if q.get("type") == "quorum"
        }

    def _put_permissions(self, vhost: str, path: str) -> None:
        for permission in self._ask("GET", f"/users/{path}/permissions").json():
            if permission["vhost"] != vhost:
                self._ask("DELETE", f"/permissions/{quote(permission['vhost'], safe='')}/{path}")
        self._ask("PUT", f"/permissions/{quote(vhost, safe='')}/{path}", _EVERYTHING)

    def _ask(self, method: str, path: str, body: dict[str, str] | None = None) -> Any:
        import requests

        failed = ""
        # every request is idempotent and can be repeated
        for url in tuple(self._urls):
            try:
                answer = self._session.request(method, url + path, json=body, timeout=self._timeout)
            except requests.RequestException as error:
                failed = failed or f"rabbitmq at {url}: {_say(error)}"
                self._urls.append(self._urls.pop(0))
                continue
            if answer.status_code == UNAUTHORIZED and len(self._logins) > 1:
                del self._logins[0]
                self._session.auth = (self._logins[0].user, self._logins[0].password)
                return self._ask(method, path, body)
            if answer.status_code >= 400:
                raise ScsError(f"rabbitmq at {url}: {method} {path}: {_reason(answer)}", "scs logs rabbitmq")
            return answer
        raise ScsError(failed, "scs status rabbitmq")


def _reason(answer: Any) -> str:
    try:
        reason = answer.json().get("reason") or answer.reason
    except (ValueError, AttributeError):
        reason = answer.reason
    return f"{answer.status_code} {reason}"


def _say(error: Exception) -> str:
    reason = getattr(error.args[0], "reason", error) if error.args else error
    # the first argument of urllib3's errors is the connection object
    text = str(reason.args[-1] if isinstance(reason, Exception) and len(reason.args) > 1 else reason)
    return " ".join(text.split()) or type(error).__name__
