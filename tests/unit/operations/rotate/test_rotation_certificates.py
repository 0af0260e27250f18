# SPDX-License-Identifier: Apache-2.0
"""Certificates are exchanged under two real TLS servers, which take new ones when the engine says so, and clients."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from scs_deploy.base import tls
from scs_deploy.base.errors import ScsError
from scs_deploy.environment.environment import Environment
from scs_deploy.operations import certificates as certs
from scs_deploy.operations.apply import Applied
from scs_deploy.operations.certificates import Target
from scs_deploy.operations.rotate import certificates
from scs_deploy.operations.rotate.roll import Engine
from scs_deploy.operations.rotate.rotation import RotateRequest, RunRotation
from scs_deploy.region.certificates import wanted_leaves
from scs_deploy.region.region import Region
from scs_deploy.region.selection import Selection
from scs_deploy.secrets import pki, vault
from scs_deploy.secrets.issuing import Leaf
from tests.unit.operations.test_certs import listening, server_context, tls_answer

NAMES = ["api-internal", "rabbitmq/testbed-1"]


class Servers:
    """A region of two servers: what each serves, and what each trusts, changes one server after the other."""

    def __init__(self, environment: Environment, folder: Path, stack: ExitStack) -> None:
        self.environment, self.folder = environment, folder
        self.contexts: dict[str, ssl.SSLContext] = {}
        self.serves: dict[str, Leaf] = {}
        self.trusts: dict[str, str] = {}
        self.deaf: set[str] = set()
        self.cut_off: list[str] = []
        self.rolls = 0
        for name in NAMES:
            self.take(name)
        self.targets = [
            Target(
                name=name,
                address="127.0.0.1",
                port=stack.enter_context(listening(lambda c, n=name: tls_answer(self.contexts[n])(c))),  # type: ignore[misc]
                leaf=name,
            )
            for name in NAMES
        ]

    def take(self, name: str) -> None:
        """One server gets what is desired now."""
        found = pki.load(self.environment)
        self.trusts[name] = found.ca_pem
        if name not in self.deaf:
            self.serves[name] = found.leaf(name)
            self.contexts[name] = server_context(self.folder, found.leaf(name))

    def apply(self, _context: Region, _selection: Selection) -> Applied:
        self.rolls += 1
        for name in NAMES:
            self.take(name)
            # in the middle of the roll: each must understand the other
            for server, client in (NAMES, reversed(NAMES)):
                if not handshake_between(self.serves[server], self.trusts[client], self.folder):
                    self.cut_off.append(f"{client} from {server} in roll {self.rolls}")
        return Applied(f"r{self.rolls}", 2, 0)


def handshake_between(leaf: Leaf, trusted: str, folder: Path) -> bool:
    context = ssl.create_default_context(cadata=trusted)
    context.check_hostname = False
    with listening(tls_answer(server_context(folder, leaf))) as port:
        try:
            with (
                socket.create_connection(("127.0.0.1", port), 5) as plain,
                context.wrap_socket(plain),
            ):
                return True
        except ssl.SSLCertVerificationError:
            return False


@pytest.fixture
def servers(testbed: Region, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Servers]:
    settings = testbed.environment.settings.model_copy(
        update={"vault_password_file": "pw", "vault_password_command": None}
    )
    environment = testbed.environment.model_copy(update={"path": tmp_path, "settings": settings})
    vault.create_password(environment)
    pki.ensure(environment, wanted_leaves(environment, testbed.catalog, testbed.inventory))
    described = (environment, testbed.catalog, testbed.inventory, testbed.release)
    secrets = testbed.secrets
    monkeypatch.setattr(
        Region, "load", lambda _name=None: Region(*described, load_secrets=lambda _environment: secrets)
    )
    monkeypatch.setattr(RunRotation, "_prepare_hosts", lambda _self: "")
    monkeypatch.setattr(Engine, "refuse_pending", lambda _self: "")
    monkeypatch.setattr(certificates, "registry", lambda _context: "")
    with ExitStack() as stack:
        found = Servers(environment, tmp_path, stack)
        monkeypatch.setattr(certs, "targets", lambda _context: found.targets)
        monkeypatch.setattr(RunRotation, "_roll", lambda _self, region, selection: found.apply(region, selection))
        yield found


def rotate(servers: Servers, ca: bool = False, users_trust: bool = False) -> str:
    """Rotate as a run; returns what the rotation waits for."""
    request = RotateRequest(kind="ca" if ca else "certificates", users_trust=users_trust)
    return RunRotation(Region.load("testbed"), request).run().waits_for


def seen(servers: Servers) -> dict[str, bytes]:
    return {t.name: tls.served(t.address, t.port) for t in servers.targets}


def test_every_server_serves_a_new_certificate(servers: Servers) -> None:
    before, ca = seen(servers), pki.load(servers.environment).ca_pem
    assert rotate(servers) == ""
    after = seen(servers)
    assert all(before[n] != after[n] for n in NAMES)
    assert servers.cut_off == []
    assert pki.load(servers.environment).ca_pem == ca


def test_a_server_that_did_not_take_it_fails_the_rotation_which_goes_on_when_it_has(servers: Servers) -> None:
    servers.deaf = {"rabbitmq/testbed-1"}
    with pytest.raises(ScsError, match=r"1 of 2 servers: rabbitmq/testbed-1 .* is not the one in certificates\.yml"):
        rotate(servers)
    issued = pki.load(servers.environment).leaves
    servers.deaf = set()
    servers.take("rabbitmq/testbed-1")
    assert rotate(servers) == ""
    assert pki.load(servers.environment).leaves == issued, "nothing is issued twice"


def test_another_ca_comes_without_cutting_anybody_off(servers: Servers) -> None:
    environment = servers.environment
    user, first = environment.ca_file.read_text(), seen(servers)
    assert "new ca.crt" in rotate(servers, ca=True)
    # nobody has noticed yet, and asking again changes nothing
    assert seen(servers) == first
    assert rotate(servers, ca=True) != ""
    assert servers.rolls == 1
    told = environment.ca_file.read_text()
    assert told.startswith(user)
    assert rotate(servers, ca=True, users_trust=True) == ""
    assert servers.cut_off == []
    last = pki.load(environment)
    assert last.ca_pem == environment.ca_file.read_text()
    assert told.endswith(last.ca_pem)
    # a user who was told talks to the region; one who was not does not
    assert handshake_between(servers.serves["api-internal"], told, servers.folder)
    assert not handshake_between(servers.serves["api-internal"], user, servers.folder)


def test_the_old_ca_stays_while_somebody_serves_its_certificate(servers: Servers) -> None:
    rotate(servers, ca=True)
    servers.deaf = {"rabbitmq/testbed-1"}
    with pytest.raises(ScsError, match="testbed-1"):
        rotate(servers, ca=True, users_trust=True)
    assert pki.exchange(servers.environment) is pki.Exchange.ISSUED
    assert servers.cut_off == []
