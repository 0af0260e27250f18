# SPDX-License-Identifier: Apache-2.0
"""The page of a test's region, served as `scs serve` does it: real TLS on loopback. Only looks are the test's own."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import requests

from scs_deploy.api import server
from scs_deploy.api.app import Access, Site
from scs_deploy.api.facts import Kind
from scs_deploy.api.hub import Hub
from scs_deploy.api.knowledge import Knowledge
from scs_deploy.api.watched import Watched
from scs_deploy.base.errors import ScsError
from scs_deploy.base.model import Model
from scs_deploy.region.region import Region
from scs_deploy.secrets import pki
from scs_deploy.secrets.issuing import Wanted
from tests.support.page_region import PASSWORD


@dataclass
class Running:
    """A served page."""

    url: str
    ca: str
    site: Site
    looks: list[Kind] = field(default_factory=list)
    """that were asked for"""

    def visitor(self) -> requests.Session:
        """A client that trusts the region's CA and nothing else."""
        made = requests.Session()
        made.trust_env, made.verify = False, self.ca
        return made

    def operator(self) -> requests.Session:
        """One that is logged in."""
        made = self.visitor()
        done = self.post(made, "/login", password=PASSWORD)
        assert done.status_code == 303, done.text
        return made

    def get(self, session: requests.Session, path: str, **headers: str) -> requests.Response:
        return session.get(self.url + path, headers=headers, allow_redirects=False, timeout=30)

    def post(self, session: requests.Session, path: str, origin: str | None = "", **fields: str) -> requests.Response:
        headers = {} if origin is None else {"Origin": origin or self.url}
        return session.post(self.url + path, data=fields, headers=headers, allow_redirects=False, timeout=30)


@contextmanager
def serving(
    region: Region, facts: Mapping[Kind, Model] | Callable[[Kind], Model], public_only: bool = False, port: int = 0
) -> Iterator[Running]:
    """The page.

    :param facts: what looks report; one that is missing fails
    """
    running = Running("", str(region.environment.ca_file), None)  # type: ignore[arg-type]

    def look(kind: Kind) -> Model:
        running.looks.append(kind)
        if callable(facts):
            return facts(kind)
        if kind not in facts:
            raise ScsError("no host answers", "scs status")
        return facts[kind]

    hub = Hub()
    kinds = server.kinds(region, public_only)
    kinds = (*kinds, Kind.INVENTORY) if not callable(facts) and Kind.INVENTORY in facts else kinds
    knowledge = Knowledge(look, kinds, hub.tell)
    watched = Watched(region, hub.tell)
    running.site = Site(knowledge, watched, hub, Access(region.environment), public_only)
    context = server.tls_context()
    names = server.certificate_names("127.0.0.1", ())
    server.take_leaf(context, pki.issue_apart(region.environment, Wanted(names=names)))
    listening = server.bind("127.0.0.1", port) if port else _any()
    running.url = f"https://localhost:{listening.getsockname()[1]}"
    made = server.Server(server._config(running.site, context))
    made.ended = hub.close
    made.capture_signals = _no_signals  # type: ignore[method-assign]
    for kind in kinds:
        knowledge.look_once(kind)
    watched.start()
    thread = threading.Thread(target=lambda: asyncio.run(made.serve([listening])), daemon=True)
    thread.start()
    try:
        yield running
    finally:
        hub.close()
        made.should_exit = True
        thread.join(20)
        watched.stop()
        knowledge.stop()
        listening.close()
        assert not thread.is_alive(), "the page does not end"


@contextmanager
def _no_signals() -> Iterator[None]:
    yield


def _any() -> socket.socket:
    made = socket.socket()
    made.bind(("127.0.0.1", 0))
    made.listen(64)
    return made
