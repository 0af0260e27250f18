#!/usr/bin/python3 -S
# SPDX-License-Identifier: Apache-2.0
"""Metrics of what hypervisors have and what guests use of it, as Placement counts.

Takes the port to show them at. It looks every few minutes, whoever asks for the metrics, and shows what it saw last; if
a look fails, it says so as a metric, and shows no old numbers.

Sources: https://docs.openstack.org/api-ref/placement/, https://docs.openstack.org/api-ref/identity/v3/#password-authentication-with-scoped-authorization
"""

import json
import ssl
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

from exposition import Sample, serve, text

SETTINGS = Path(__file__).with_name("openstack.json")
PATIENCE = 30
"""Seconds for an answer."""

HELP = {
    "openstack_exporter_up": "1 if the latest look at Placement succeeded",
    "openstack_exporter_look_seconds": "how long the latest look took",
    "openstack_hypervisor_capacity": "what a hypervisor has for guests, with its allocation ratio (MEMORY_MB: MiB)",
    "openstack_hypervisor_used": "what guests have of it",
}


class Placement:
    """The API, with a token that is asked for when it is needed.

    :param settings: see openstack.json.j2
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings
        self._token = ""
        cafile = settings.get("cafile")
        handlers = [urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=cafile))] if cafile else []
        # no proxy of the environment stands between services of a region
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({}), *handlers).open

    def login(self) -> str:
        """A new token.

        :raises OSError: Keystone does not answer, or refuses
        """
        domain = {"name": "Default"}
        user = {"name": self._settings["username"], "domain": domain, "password": self._settings["password"]}
        scope = {"project": {"name": "service", "domain": domain}}
        body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}}
        request = urllib.request.Request(
            f"{self._settings['auth_url']}/auth/tokens", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with self._open(request, timeout=PATIENCE) as answer:
            return str(answer.headers["X-Subject-Token"])

    def get(self, path: str) -> Any:
        """The answer to a GET; a token that has ended is replaced once.

        :raises OSError: it does not answer, or refuses
        """
        new = not self._token
        self._token = self._token or self.login()
        request = urllib.request.Request(self._settings["placement"] + path, headers={"X-Auth-Token": self._token})
        try:
            with self._open(request, timeout=PATIENCE) as answer:
                return json.load(answer)
        except HTTPError as error:
            if error.code != 401 or new:
                raise
            self._token = ""
            return self.get(path)


def look(placement: Placement) -> list[Sample]:
    """What each hypervisor has, and what is used of it.

    :raises OSError: an API does not answer, or refuses
    """
    found: list[Sample] = []
    for provider in placement.get("/resource_providers")["resource_providers"]:
        path = f"/resource_providers/{provider['uuid']}"
        try:
            inventories = placement.get(f"{path}/inventories")["inventories"]
            usages = placement.get(f"{path}/usages")["usages"]
        except HTTPError as error:
            if error.code == 404:
                # it has just been removed
                continue
            raise
        for kind, has in inventories.items():
            labels = {"hypervisor": provider["name"], "resource": kind}
            capacity = int((has["total"] - has["reserved"]) * has["allocation_ratio"])
            found.append(("openstack_hypervisor_capacity", labels, capacity))
            found.append(("openstack_hypervisor_used", labels, usages.get(kind, 0)))
    return found


class Looking:
    """Looks again and again, and keeps what was seen last."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._placement = Placement(settings)
        self._interval = settings["interval"]
        self._seen: list[Sample] = []
        self._lock = threading.Lock()

    def go_on(self) -> None:
        """For ever; an error is a metric."""
        while True:
            begin = time.monotonic()
            try:
                seen = look(self._placement)
                up = 1
            except Exception as error:  # noqa: BLE001 - whatever it is, the next look may succeed
                print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
                seen, up = [], 0
            seconds = time.monotonic() - begin
            with self._lock:
                self._seen = [
                    ("openstack_exporter_up", {}, up), ("openstack_exporter_look_seconds", {}, seconds), *seen,
                ]  # fmt: skip
            # not much work for an API that recovers, and soon again after it
            time.sleep(self._interval if up else min(60, self._interval))

    def shown(self) -> str:
        """What was seen last; nothing before the first look has ended."""
        with self._lock:
            return text(self._seen, HELP)


if __name__ == "__main__":
    looking = Looking(json.loads(SETTINGS.read_text()))
    threading.Thread(target=looking.go_on, daemon=True).start()
    serve(int(sys.argv[1]), looking.shown)
