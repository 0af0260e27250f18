# SPDX-License-Identifier: Apache-2.0
"""What servers really serve, read over real TLS connections; when an operator is told; exchanging the CA."""

from __future__ import annotations

import datetime
import itertools
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import typer
from cryptography import x509
from typer.testing import CliRunner

from scs_deploy.base import tls
from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.cli import certs as certs_cli
from scs_deploy.cli import env
from scs_deploy.cli import secrets as secrets_cli
from scs_deploy.desired import resolve
from scs_deploy.doctor import region as doctor
from scs_deploy.environment.environment import Environment
from scs_deploy.operations import certificates as certs
from scs_deploy.operations.certificates import Entry, Target
from scs_deploy.plan.change import Kind
from scs_deploy.plan.host import pickup
from scs_deploy.region.certificates import wanted_leaves
from scs_deploy.region.region import Region
from scs_deploy.secrets import issuing, pki, vault
from scs_deploy.secrets.issuing import Leaf
from scs_deploy.spec.container import Impact
from tests.support.certificates import server
from tests.unit.secrets.test_secrets import region

WANTED = {"a": server("127.0.0.1", "a.example"), "b": server("127.0.0.1", "b.example")}


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    made = region(tmp_path)
    vault.create_password(made)
    pki.ensure(made, WANTED)
    return made


def server_context(folder: Path, leaf: Leaf, ca: str = "") -> ssl.SSLContext:
    pem = folder / "server.pem"
    pem.write_text(leaf.cert + leaf.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    if ca:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=ca)
    return context


@contextmanager
def listening(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server on this machine that treats each connection so; its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                try:
                    answer(connection)
                except OSError:
                    pass
                finally:
                    connection.close()

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def tls_answer(context: ssl.SSLContext, greeting: bytes = b"") -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        if greeting:
            connection.sendall(len(greeting).to_bytes(3, "little") + b"\0" + greeting)
            request = connection.recv(36)
            # the client asks for TLS with the next number, and nothing else before it
            assert request[3] == 1
            assert len(request) == 36
        with context.wrap_socket(connection, server_side=True) as wrapped:
            wrapped.recv(1)

    return answer


def der(pem: str) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pem)


@pytest.mark.parametrize("mutual", [False, True])
def test_reads_what_a_server_serves(mutual: bool, environment: Environment, tmp_path: Path) -> None:
    leaf = pki.load(environment).leaf("a")
    context = server_context(tmp_path, leaf, pki.load(environment).ca_pem if mutual else "")
    with listening(tls_answer(context)) as port:
        assert tls.served("127.0.0.1", port) == der(leaf.cert)


def test_reads_a_database_server_that_greets_first(environment: Environment, tmp_path: Path) -> None:
    leaf = pki.load(environment).leaf("a")
    with listening(tls_answer(server_context(tmp_path, leaf), b"\x0a11.8.3-MariaDB\0" + bytes(60))) as port:
        assert tls.served("127.0.0.1", port, "mysql") == der(leaf.cert)


def test_says_why_a_server_cannot_be_read() -> None:
    with listening(lambda connection: connection.sendall(b"SSH-2.0-OpenSSH_9.7\r\n")) as port:
        with pytest.raises(OSError, match=r"(?i)wrong version|record"):
            tls.served("127.0.0.1", port)
        with pytest.raises(OSError, match="sent no MySQL greeting"):
            tls.served("127.0.0.1", port, "mysql")
    with pytest.raises(OSError, match="refused"):
        tls.served("127.0.0.1", port)
    busy = b"\xff\x10\x04Too many connections"
    refusing = listening(lambda c: c.sendall(len(busy).to_bytes(3, "little") + b"\0" + busy))
    with refusing as port, pytest.raises(OSError, match="Too many connections"):
        tls.served("127.0.0.1", port, "mysql")


def test_a_server_is_compared_with_what_was_issued_for_it(environment: Environment, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    foreign = region(elsewhere)
    vault.create_password(foreign)
    pki.ensure(foreign, WANTED)
    old = pki.load(environment).leaf("a")
    pki.renew(environment, WANTED, ["a"])
    found = pki.load(environment)
    parse = lambda pem: x509.load_pem_x509_certificate(pem.encode())  # noqa: E731
    authorities = [parse(pem) for _, pem in pki.authorities(environment)]
    wanted = parse(found.leaf("a").cert)
    assert certs.compare(wanted, wanted, authorities) == ""
    assert "not the one in certificates.yml" in certs.compare(parse(old.cert), wanted, authorities)
    strange = parse(pki.load(foreign).leaf("a").cert)
    assert "not issued by a CA of the region" in certs.compare(strange, wanted, authorities)


NOW = datetime.datetime(2027, 1, 1, tzinfo=datetime.UTC)


def entry(days: float | None, problem: str = "") -> Entry:
    ends = None if days is None else NOW + datetime.timedelta(days=days)
    return Entry(kind="served", name="x", where="h:1", ends=ends, problem=problem)


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (entry(31), []),
        (entry(30), []),
        (entry(29.9), ["served x (h:1): expires in 29 days"]),
        (entry(0.5), ["served x (h:1): expires in 0 days"]),
        (entry(-0.1), ["served x (h:1): expired 1 day ago"]),
        (entry(None, "cannot be read: refused"), ["served x (h:1): cannot be read: refused"]),
        (entry(3, "is foreign"), ["served x (h:1): expires in 3 days", "served x (h:1): is foreign"]),
    ],
)
def test_an_operator_is_told_in_time(found: Entry, told: list[str]) -> None:
    assert certs.problems([found], 30, NOW) == told


def test_servers_come_from_the_specs(testbed: Region) -> None:
    found = {(t.name.split()[0], t.port, t.greeting) for t in certs.targets(testbed)}
    assert {
        ("mariadb", 3306, "mysql"), ("mariadb", 4567, ""), ("rabbitmq", 5671, ""), ("ovn_sb", 6642, ""),
        ("nova_libvirt", 16514, ""), ("identity", 5000, ""), ("dashboard", 443, ""), ("registry", 5000, ""),
    } <= found  # fmt: skip
    # one control host has no other one to talk to
    assert not {5009, 9294, 1936} & {port for _, port, _ in found}
    # the database is passed through, and internal only
    assert [t.name for t in certs.targets(testbed) if t.port == 3306] == ["mariadb testbed-1"]


def test_every_container_with_a_servers_certificate_says_where_it_serves(testbed: Region) -> None:
    """Clients do not: of OVN, consoles, metrics and logs. Anything that listens must be seen by `scs certs`."""
    clients = {"ovn_northd", "ovn_controller", "nova_novncproxy", "prometheus", "log_shipper"}
    clients |= set(testbed.catalog.services["neutron"].containers)
    specs = {n: c for s in testbed.catalog.services.values() for n, c in s.containers.items() if c.tls}
    assert {n for n, c in specs.items() if not c.tls_ports} == clients


def test_a_renewal_restarts_nothing(testbed: Region) -> None:
    """Every container that has a certificate takes a new one while it works: by a command, or it looks itself."""
    host = next(iter(testbed.inventory.hosts))
    runs = resolve.resolve(testbed, host).containers.values()
    with_leaf = [r for r in runs if any(f.endswith("/tls/host.crt") for f in r.files)]
    assert len(with_leaf) > 10
    assert [r.name for r in with_leaf if pickup(r, "tls/host.crt") is Kind.RESTART] == []
    # the data plane is not touched by another CA either
    chassis = [r for r in runs if r.impact is Impact.DATA_PLANE]
    assert {r.name for r in chassis} >= {"ovn_controller", "ovs_vswitchd", "nova_libvirt"}
    assert [r.name for r in chassis if pickup(r, "ca.crt") is Kind.RESTART] == []


def handshake(environment: Environment, leaf: Leaf, trusted: str, folder: Path) -> bool:
    """Whether a client that trusts these CAs talks to a server with this certificate."""
    context = ssl.create_default_context(cadata=trusted)
    with listening(tls_answer(server_context(folder, leaf))) as port:
        try:
            with (
                socket.create_connection(("127.0.0.1", port), 5) as plain,
                context.wrap_socket(plain, server_hostname="a.example"),
            ):
                return True
        except ssl.SSLCertVerificationError:
            return False


def test_nobody_is_cut_off_while_the_ca_is_exchanged(environment: Environment, tmp_path: Path) -> None:
    """Before each step, some have what it changes and some do not: both must understand each other."""
    states = [(pki.load(environment), pki.exchange(environment))]
    pki.trust_next(environment, WANTED)
    states.append((pki.load(environment), pki.exchange(environment)))
    assert pki.issue_with_next(environment, WANTED) == ["a", "b"]
    states.append((pki.load(environment), pki.exchange(environment)))
    assert pki.forget_previous(environment)
    states.append((pki.load(environment), pki.exchange(environment)))
    assert [how for _, how in states] == [
        pki.Exchange.NONE,
        pki.Exchange.TRUSTED,
        pki.Exchange.ISSUED,
        pki.Exchange.NONE,
    ]
    for (before, _), (after, _) in itertools.pairwise(states):
        for one, other in ((before, after), (after, before), (after, after)):
            assert handshake(environment, one.leaf("a"), other.ca_pem, tmp_path)
    first, last = states[0][0], states[-1][0]
    assert not handshake(environment, first.leaf("a"), last.ca_pem, tmp_path)
    assert environment.ca_file.read_text() == last.ca_pem
    assert pki.stale(environment, WANTED) == []


def test_each_step_of_an_exchange_may_be_repeated(environment: Environment) -> None:
    pki.trust_next(environment, WANTED)
    both = pki.load(environment).ca_pem
    pki.trust_next(environment, WANTED)
    assert pki.load(environment).ca_pem == both
    # a host that joins meanwhile
    assert pki.ensure(environment, {**WANTED, "c": server("c.example")}) == ["c"]
    assert pki.load(environment).ca_pem == both == environment.ca_file.read_text()
    pki.issue_with_next(environment, WANTED)
    leaves = pki.load(environment).leaves
    assert pki.issue_with_next(environment, WANTED) == []
    assert pki.load(environment).leaves == leaves
    with pytest.raises(RefusedError, match="not finished"):
        pki.trust_next(environment, WANTED)
    assert pki.forget_previous(environment)
    assert not pki.forget_previous(environment)
    with pytest.raises(RefusedError, match="no next CA"):
        pki.issue_with_next(environment, WANTED)


def test_only_the_named_certificates_are_issued_anew(environment: Environment) -> None:
    before = pki.load(environment)
    assert pki.renew(environment, WANTED, ["b"]) == ["b"]
    after = pki.load(environment)
    assert after.leaf("a") == before.leaf("a")
    assert after.leaf("b") != before.leaf("b")
    with pytest.raises(RefusedError, match=r"no certificate 'c'.*a, b"):
        pki.renew(environment, WANTED, ["a", "c"])
    assert pki.load(environment) == after


@pytest.mark.parametrize("text", ["x", "0", "99999", "smtp:25"])
def test_a_port_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ScsError, match=f"'{text}' is not a port"):
        certs._port(text, "service.yml")


def test_an_ipv6_server_is_named_as_users_write_it() -> None:
    assert Target(name="x", address="2001:db8::1", port=443, leaf="a").at == "[2001:db8::1]:443"


app = typer.Typer()
env.register(app)
secrets_cli.register(app)
certs_cli.register(app)


@pytest.fixture
def berlin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCS_ENVIRONMENTS", str(tmp_path))
    monkeypatch.delenv("SCS_ENVIRONMENT", raising=False)
    run("env", "init", "berlin", "--from", "testbed")
    run("secrets", "init", "--create-vault-password")


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, arguments)
    if isinstance(result.exception, ScsError):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.stdout


@pytest.mark.usefixtures("berlin")
def test_check_fails_when_something_ends_soon() -> None:
    assert "0 problems" in run("certs", "check", "--offline")
    said = run("certs", "check", "--offline", "--days", "400", code=1)
    assert "issued api-internal" in said
    assert "expires in 36" in said
    # the CA lasts ten years
    assert "ca issues" not in said
    found = json.loads(run("certs", "list", "--offline", "--json"))
    cas = {e["name"]: e["days"] for e in found if e["kind"] == "ca"}
    assert cas.keys() >= {"issues", "galera", "libvirt"}
    assert set(cas.values()) == {issuing.CA_DAYS - 1}
    assert {e["name"] for e in found if e["kind"] == "issued"} >= {"api-internal", "api-external", "registry"}


@pytest.mark.usefixtures("berlin")
def test_check_names_what_is_accepted_of_a_removed_host() -> None:
    """As `node remove` and `secrets init` leave it: the host is not in the inventory any more."""
    region = Region.load("berlin")
    wanted = wanted_leaves(region.environment, region.catalog, region.inventory)
    pki.ensure(region.environment, wanted | {"database/gone": server("gone", "internal.example")})
    ends = x509.load_pem_x509_certificate(pki.load(region.environment).leaf("database/gone").cert.encode())
    pki.ensure(region.environment, wanted)
    (said,) = json.loads(run("certs", "check", "--offline", "--json", code=1))["problems"]
    assert said.startswith("removed database/gone (")
    assert f"clients accept it until {ends.not_valid_after_utc:%Y-%m-%d}: scs certs rotate --ca" in said
    found = certs.known(Region.load("berlin"))
    warned = [c for c in doctor.of_certificates(region, found) if c.check == "certificate database/gone"]
    assert [(c.level, c.remedy) for c in warned] == [("warning", "scs certs rotate --ca")]


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nobody"], "no certificate 'nobody'"),
        (["--ca", "api-internal"], "leave out the names"),
        (["--users-trust"], "add --ca"),
        ([], "add --yes"),
    ],
)
def test_a_wrong_rotation_is_refused_and_changes_nothing(arguments: list[str], said: str, tmp_path: Path) -> None:
    before = (tmp_path / "berlin" / "certificates.yml").read_bytes()
    with pytest.raises(RefusedError, match=said):
        run("certs", "rotate", *arguments)
    assert (tmp_path / "berlin" / "certificates.yml").read_bytes() == before
    assert not (tmp_path / "berlin" / "state" / "rotation.json").exists()


@pytest.mark.usefixtures("berlin")
def test_the_steps_are_shown_first(tmp_path: Path) -> None:
    said = run("certs", "rotate", "--ca", "--plan")
    trust, issue = said.index("every service trust both"), said.index("issue every certificate with the new CA")
    assert trust < said.index("all API users have this region's new ca.crt")
    assert trust < issue < said.index("trust only the new one")
    assert not (tmp_path / "berlin" / "state" / "rotation.json").exists()
