# SPDX-License-Identifier: Apache-2.0
"""A client of the region as its users are: tokens, lists, and a small resource that is made, read and removed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from scs_deploy.prober.https import PROBLEMS, ApiError, Https, say
from scs_deploy.prober.model import Order, Target

NAME = "scs-prober"
"""Name of everything that a prober makes; nothing else in a region may have it."""

TOKEN_USE = 600.0
"""Seconds that a token is used, as clients do; one that a service refuses before that is not used again."""

REUSE = 10
"""Requests on one connection: often enough a new one for the load balancer to be seen, without a handshake for each."""


class Client:
    """Asks one region.

    :param order: what to ask, and with which password
    """

    def __init__(self, order: Order) -> None:
        self.order = order
        self.https = Https(order.ca, order.timeout, REUSE, order.addresses)
        self.urls: dict[str, str] = {}
        self._token, self._until = "", 0.0
        self._lock = threading.Lock()

    def issue(self) -> str:
        """A new token of the administrator."""
        domain = {"id": "default"}
        user = {"name": "admin", "domain": domain, "password": self.order.password}
        scope = {"project": {"name": "admin", "domain": domain}}
        body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}}
        headers, _ = self.https("POST", f"{self.order.auth_url}/auth/tokens?nocatalog", body=body)
        return headers["x-subject-token"]

    def token(self) -> str:
        """A token that is used for a while."""
        with self._lock:
            if time.monotonic() > self._until:
                self._token = self.issue()
                self._until = time.monotonic() + TOKEN_USE
            return self._token

    def discover(self) -> None:
        """Read the catalogue.

        :raises ApiError, OSError: the region does not answer
        """
        _, answer = self.https("GET", f"{self.order.auth_url}/auth/catalog", self.token())
        self.urls = {
            service["type"]: endpoint["url"].rstrip("/")
            for service in answer["catalog"]
            for endpoint in service["endpoints"]
            if endpoint["interface"] == "public"
        }

    def list(self, target: Target) -> None:
        """The list call of a service.

        :raises ApiError, OSError, http.client.HTTPException, LookupError: it fails, or is not in the catalogue
        """
        if target.url:
            self.https("GET", target.url + target.list)
        else:
            self._ask("GET", self.urls[target.name] + target.list)

    def write(self, target: Target, sample: Callable[[Callable[[], Any]], Any]) -> None:
        """Make a resource, read it, remove it.

        :param sample: calls one request, notes how it went, returns its answer or None after a failure
        """
        url = self.urls[target.name] + target.create
        resource = {"name": NAME, **target.body}
        made = sample(lambda: self._ask("POST", url, {target.key: resource} if target.key else resource))
        if made is None:
            return
        own = f"{url}/{(made[target.key] if target.key else made)['id']}"
        sample(lambda: self._ask("GET", own))
        sample(lambda: self._ask("DELETE", own))

    def clean(self, target: Target) -> int:
        """Remove what an attempt to write left; returns how many there were.

        :raises ApiError, OSError, http.client.HTTPException: it does not answer
        """
        url = self.urls[target.name] + target.create
        answer = self._ask("GET", f"{url}?name={NAME}")
        items = f"{target.key}s" if target.key else target.create.rpartition("/")[2]
        found = [r for r in answer[items] if r["name"] == NAME]
        for resource in found:
            self._ask("DELETE", f"{url}/{resource['id']}")
        return len(found)

    def clean_all(self, patience: float) -> tuple[str, ...]:
        """Remove everything that was made; what could not be removed in `patience` seconds, with the reason."""
        end = time.monotonic() + patience
        left: list[str] = []
        for target in self.order.targets:
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
