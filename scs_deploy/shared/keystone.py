# SPDX-License-Identifier: Apache-2.0
"""A session with Keystone's v3 API as the region's administrator: a few requests read everything, differences change.

Plain REST: importing openstacksdk would cost every plan half a second. https://docs.openstack.org/api-ref/identity/v3/
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

from scs_deploy.base.errors import ScsError
from scs_deploy.plan.change import Change, Shared, shared_objects
from scs_deploy.shared import identity
from scs_deploy.shared.identity import (
    ADMINISTRATOR,
    DOMAIN,
    EXEMPT,
    FINGERPRINT,
    PROJECT,
    ROLES,
    Desired,
    Entry,
    Observed,
)


class _DeniedError(ScsError):
    """Keystone rejected the password or the token."""


class Keystone:
    """A session, as a context manager.

    :param url: URL of the identity API, with /v3; the server's certificate must name the host
    :param passwords: of user `admin`: the current one, and the previous one during a rotation
    :param ca_file: the region CA
    :param timeout: seconds for the connection and for each response
    """

    def __init__(self, url: str, passwords: tuple[str, ...], ca_file: Path, timeout: float = 30) -> None:
        import requests

        self._url = url.rstrip("/")
        self._timeout = timeout
        self._passwords, self._with = passwords, 0
        self._id = ""
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.verify = str(ca_file)

    def __enter__(self) -> Keystone:
        for number in range(len(self._passwords)):
            try:
                self._log_in(number)
                break
            except _DeniedError:
                if number + 1 == len(self._passwords):
                    raise
        return self

    def _log_in(self, number: int) -> None:
        """:raises _DeniedError: wrong password"""
        domain = {"id": DOMAIN}
        user = {"name": ADMINISTRATOR, "domain": domain, "password": self._passwords[number]}
        body = {
            "auth": {
                "identity": {"methods": ["password"], "password": {"user": user}},
                "scope": {"project": {"name": ADMINISTRATOR, "domain": domain}},
            }
        }
        self._session.headers.pop("X-Auth-Token", None)
        answer = self._request("POST", "/auth/tokens?nocatalog", body)
        self._session.headers["X-Auth-Token"] = answer.headers["X-Subject-Token"]
        self._with, self._id = number, answer.json()["token"]["user"]["id"]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.close()

    def read(self, desired: Desired) -> Observed:
        """Read everything that is compared with `desired`.

        :raises ScsError: Keystone cannot be read
        """
        projects = self._list("projects", f"/projects?domain_id={DOMAIN}&name={PROJECT}")
        scope = f"/role_assignments?scope.project.id={projects[0]['id']}" if projects else ""
        observed = identity.parse(
            desired,
            {
                "regions": self._list("regions", "/regions"),
                "projects": projects,
                "roles": self._list("roles", "/roles"),
                "users": self._list("users", f"/users?domain_id={DOMAIN}") if desired.accounts else [],
                "assignments": self._list("role_assignments", scope) if scope else [],
                "services": self._list("services", "/services"),
                "endpoints": self._list("endpoints", f"/endpoints?region_id={desired.region}"),
            },
        )
        return observed.model_copy(update={"administrator_stale": self._with > 0})

    def apply(self, desired: Desired, changes: Iterable[Change]) -> None:
        """Apply changes from `diff`. Each checks the current state and is idempotent.

        :raises ScsError: Keystone rejects a change
        """
        observed: Observed | None = None
        for shared in shared_objects(changes):
            # read again after a change that later changes depend on
            observed = observed or self.read(desired)
            name = shared.name
            match shared.kind:
                case Shared.PROJECT:
                    self._project(observed)
                case Shared.ROLE:
                    self._role(observed, name)
                case Shared.USER if name == ADMINISTRATOR:
                    self._administrator(observed)
                case Shared.USER if name in desired.retired:
                    if name in observed.users:
                        self._request("DELETE", f"/users/{observed.users[name].id}")
                case Shared.USER:
                    observed = self._base(desired, observed)
                    self._account(observed, name, desired.accounts[name], desired.roles_of(name))
                case Shared.REGION:
                    self._region(observed, desired.region)
                case Shared.SERVICE:
                    self._service(observed, desired.entries[name])
                case _:
                    observed = self._parents(desired, observed, desired.entries[name])
                    self._endpoint(observed, desired, desired.entries[name], shared.interface)
            if shared.kind in (Shared.PROJECT, Shared.ROLE, Shared.REGION, Shared.SERVICE):
                observed = None

    def _base(self, desired: Desired, observed: Observed) -> Observed:
        if observed.project and all(role in observed.roles for role in ROLES):
            return observed
        self._project(observed)
        for role in ROLES:
            self._role(observed, role)
        return self.read(desired)

    def _parents(self, desired: Desired, observed: Observed, entry: Entry) -> Observed:
        if desired.region in observed.regions and observed.service(entry):
            return observed
        self._region(observed, desired.region)
        self._service(observed, entry)
        return self.read(desired)

    def _project(self, observed: Observed) -> None:
        if observed.project is None:
            body = {"name": PROJECT, "domain_id": DOMAIN, "description": "Accounts of the region's services"}
            self._request("POST", "/projects", {"project": body})

    def _role(self, observed: Observed, name: str) -> None:
        if name not in observed.roles:
            self._request("POST", "/roles", {"role": {"name": name}})

    def _administrator(self, observed: Observed) -> None:
        known = observed.administrator.options if observed.administrator else {}
        body: dict[str, Any] = {"options": {**known, EXEMPT: True}}
        if self._with:
            body["password"] = self._passwords[0]
        self._request("PATCH", f"/users/{self._id}", {"user": body})
        if self._with:
            # changing the password revoked its tokens
            self._log_in(0)

    def _account(self, observed: Observed, name: str, password: str, roles: tuple[str, ...]) -> None:
        existing = observed.users.get(name)
        options = {**(existing.options if existing else {}), EXEMPT: True}
        body = {"name": name, "enabled": True, "default_project_id": observed.project, "options": options}
        if existing is None:
            new = {**body, "domain_id": DOMAIN, "password": password, FINGERPRINT: identity.fingerprint(password)}
            user = self._request("POST", "/users", {"user": new}).json()["user"]["id"]
        else:
            user = existing.id
            if not identity.matches(password, existing.fingerprint):
                body |= {"password": password, FINGERPRINT: identity.fingerprint(password)}
            self._request("PATCH", f"/users/{user}", {"user": body})
        own = f"/projects/{observed.project}/users/{user}/roles"
        for role in roles:
            if existing is None or role not in existing.roles:
                self._request("PUT", f"{own}/{observed.roles[role]}")
        for role in identity.surplus_roles(existing, roles) if existing else ():
            self._request("DELETE", f"{own}/{observed.roles[role]}")

    def _region(self, observed: Observed, name: str) -> None:
        if name not in observed.regions:
            self._request("POST", "/regions", {"region": {"id": name}})

    def _service(self, observed: Observed, entry: Entry) -> None:
        service = observed.service(entry)
        body = {"type": entry.type, "name": entry.name, "enabled": True}
        if service is None:
            self._request("POST", "/services", {"service": body})
        elif identity.service_reasons(entry, service):
            self._request("PATCH", f"/services/{service.id}", {"service": body})

    def _endpoint(self, observed: Observed, desired: Desired, entry: Entry, interface: str) -> None:
        service = observed.service(entry)
        assert service is not None
        present = observed.endpoints_of(entry, interface)
        body = {"url": entry.endpoints[interface], "service_id": service.id, "enabled": True}
        if present:
            self._request("PATCH", f"/endpoints/{present[0].id}", {"endpoint": body})
        else:
            new = {**body, "interface": interface, "region_id": desired.region}
            self._request("POST", "/endpoints", {"endpoint": new})
        for extra in present[1:]:
            self._request("DELETE", f"/endpoints/{extra.id}")

    def _list(self, key: str, path: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self._request("GET", path).json()[key]
        return items

    def send(self, method: str, url: str, body: dict[str, Any] | None = None) -> Any:
        """Send a request of the administrator to any API of the region; returns the response, whatever its status.

        :raises ScsError: no response
        """
        import requests

        try:
            return self._session.request(method, url, json=body, timeout=self._timeout)
        except requests.RequestException as error:
            raise ScsError(f"{url.partition('?')[0]}: {_say(error)}") from None

    def _request(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        import requests

        try:
            answer = self._session.request(method, self._url + path, json=body, timeout=self._timeout)
        except requests.RequestException as error:
            raise ScsError(f"keystone at {self._url}: {_say(error)}", "scs status keystone") from None
        if answer.status_code == 401:
            raise _DeniedError(
                f"keystone at {self._url}: rejected user {ADMINISTRATOR}",
                "check the secret keystone_admin_password: Keystone has another password",
            )
        if answer.status_code >= 400:
            what = path.partition("?")[0]
            raise ScsError(f"keystone at {self._url}: {method} {what}: {reason_of(answer)}", "scs logs keystone")
        return answer


def reason_of(answer: Any) -> str:
    """Status and message of an answer of Keystone or another service, whose key of the error is its own."""
    try:
        reason = next(iter(answer.json().values()))["message"]
    except (ValueError, KeyError, TypeError, StopIteration, AttributeError):
        reason = answer.reason
    return " ".join(f"{answer.status_code} {reason}".split())


def _say(error: Exception) -> str:
    reason = getattr(error.args[0], "reason", error) if error.args else error
    # the first argument of urllib3's errors is the connection object
    text = str(reason.args[-1] if isinstance(reason, Exception) and len(reason.args) > 1 else reason)
    return " ".join(text.split()) or type(error).__name__
