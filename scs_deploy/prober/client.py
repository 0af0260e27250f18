# SPDX-License-Identifier: Apache-2.0
"""A client of the region like those of its users: tokens, lists, and a small resource to create, read and delete."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from scs_deploy.prober.https import PROBLEMS, ApiError, Https, say
from scs_deploy.prober.model import ProbeJob, Target

NAME = "scs-prober"
"""Name of all resources of a prober. Reserved for it in a region."""

TOKEN_USE = 600.0
"""Seconds to use a token, as clients do. A token that a service rejects earlier is dropped."""

REUSE = 10
"""Requests per connection: new connections exercise the load balancer, without a TLS handshake for each request."""


class Client:
    """Sends requests to one region.

    :param job: what to request, and with which password
    """

    def __init__(self, job: ProbeJob) -> None:
        self.job = job
        self.https = Https(job.ca, job.timeout, REUSE, job.addresses)
        self.urls: dict[str, str] = {}
        self._token, self._until = "", 0.0
        self._lock = threading.Lock()

    def issue(self) -> str:
        """Get a new token for the administrator."""
        domain = {"id": "default"}
        user = {"name": "admin", "domain": domain, "password": self.job.password}
        scope = {"project": {"name": "admin", "domain": domain}}
        body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}}
        headers, _ = self.https("POST", f"{self.job.auth_url}/auth/tokens?nocatalog", body=body)
        return headers["x-subject-token"]

    def token(self) -> str:
        """A cached token."""
        with self._lock:
            if time.monotonic() > self._until:
                self._token = self.issue()
                self._until = time.monotonic() + TOKEN_USE
            return self._token

    def discover(self) -> None:
        """Read the catalogue.

        :raises ApiError, OSError: the region does not respond
        """
        _, answer = self.https("GET", f"{self.job.auth_url}/auth/catalog", self.token())
        self.urls = {
            service["type"]: endpoint["url"].rstrip("/")
            for service in answer["catalog"]
            for endpoint in service["endpoints"]
            if endpoint["interface"] == "public"
        }

    def list(self, target: Target) -> None:
        """Send the list call of a service.

        :raises ApiError, OSError, http.client.HTTPException, LookupError: it failed, or is not in the catalogue
        """
        if target.url:
            self.https("GET", target.url + target.list)
        else:
            self._ask("GET", self.urls[target.name] + target.list)

    def write(self, target: Target, sample: Callable[[Callable[[], Any]], Any]) -> None:
        """Create a resource, read it and delete it.

        :param sample: sends one request and records the result; returns the response, or None after a failure
        """
        url = self.urls[target.name] + target.create
        resource = {"name": NAME, **target.body}
        made = sample(lambda: self._ask("POST", url, {target.key: resource} if target.key else resource))
        if made is None:
            return
        own = f"{url}/{_id(target, made[target.key] if target.key else made)}"
        sample(lambda: self._ask("GET", own))
        sample(lambda: self._ask("DELETE", own))

    def clean(self, target: Target) -> int:
        """Delete the resources of earlier writes. Returns their number.

        :raises ApiError, OSError, http.client.HTTPException: the service does not respond
        """
        url = self.urls[target.name] + target.create
        answer = self._ask("GET", f"{url}?name={NAME}")
        items = f"{target.key.removesuffix('s')}s" if target.key else target.create.rpartition("/")[2]
        own = [r for r in answer[items] if r["name"] == NAME]
        for resource in own:
            self._ask("DELETE", f"{url}/{_id(target, resource)}")
        return len(own)

    def clean_all(self, patience: float) -> tuple[str, ...]:
        """Delete all resources. Returns those that could not be deleted within `patience` seconds, with the reason."""
        end = time.monotonic() + patience
        left: list[str] = []
        for target in self.job.targets:
            if not target.create or target.name not in self.urls:
                continue
            while True:
                try:
                    self.clean(target)
                except (ApiError, *PROBLEMS) as error:
                    if time.monotonic() < end:
                        time.sleep(1)
                        continue
                    left.append(f"{target.name} {NAME}: {say(error)}")
                break
        with suppress(OSError):
            self.https.close()
        return tuple(left)

    def _ask(self, method: str, url: str, body: Any = None) -> Any:
        token = self.token()
        try:
            _, answer = self.https(method, url, token, body)
        except ApiError as error:
            if error.status == 401:
                self._until = 0.0
            raise
        return answer or {}


def _id(target: Target, resource: dict[str, Any]) -> str:
    """A resource's id, which ends its URL where it is not said."""
    return str(resource[target.reference]).rpartition("/")[2] if target.reference else str(resource["id"])
