# SPDX-License-Identifier: Apache-2.0
"""The region CA: TLS libraries accept its certificates, and it issues them only when needed."""

from __future__ import annotations

import datetime
import itertools
import socket
import ssl
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography import x509

from scs_deploy.base.errors import RefusedError
from scs_deploy.environment.environment import Environment
from scs_deploy.region.certificates import wanted_leaves
from scs_deploy.secrets import issuing, pki, vault
from scs_deploy.secrets.issuing import Leaf
from scs_deploy.secrets.pki import Certificates
from tests.conftest import dummy_region
from tests.support.certificates import member, server
from tests.unit.secrets.test_secrets import region

NAMES = ["node-1", "192.0.2.11", "internal.example"]


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    made = region(tmp_path)
    vault.create_password(made)
    return made


def test_issued_once_and_again_only_when_its_names_change(environment: Environment) -> None:
    assert pki.ensure(environment, {"b": server(*NAMES), "a": server("a.example")}) == ["a", "b"]
    first = pki.load(environment)
    before = environment.certificates_file.read_bytes()
    assert pki.ensure(environment, {"b": server(*reversed(NAMES)), "a": server("a.example")}) == []
    assert environment.certificates_file.read_bytes() == before
    assert pki.ensure(environment, {"b": server(*NAMES, "192.0.2.12"), "a": server("a.example")}) == ["b"]
    second = pki.load(environment)
    assert second.ca_pem == first.ca_pem == environment.ca_file.read_text()
    assert second.leaf("a") == first.leaf("a")
    assert second.leaf("b") != first.leaf("b")


@pytest.mark.parametrize(("days", "issued"), [(0, []), (issuing.LEAF_DAYS - 31, []), (issuing.LEAF_DAYS - 29, ["a"])])
def test_renewed_before_it_expires(
    days: int, issued: list[str], environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    pki.ensure(environment, {"a": server(*NAMES)})
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    monkeypatch.setattr(issuing, "now", lambda: later)
    assert pki.ensure(environment, {"a": server(*NAMES)}) == issued


def test_no_certificate_outlives_the_ca(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    pki.ensure(environment, {})
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=issuing.CA_DAYS - 10)
    monkeypatch.setattr(issuing, "now", lambda: later)
    assert pki.ensure(environment, {"a": server(*NAMES)}) == ["a"]
    assert pki.ensure(environment, {"a": server(*NAMES)}) == []
    ca = x509.load_pem_x509_certificate(environment.ca_file.read_bytes())
    leaf = x509.load_pem_x509_certificate(pki.load(environment).leaf("a").cert.encode())
    assert leaf.not_valid_after_utc == ca.not_valid_after_utc


def test_server_and_client_trust_each_other(environment: Environment, tmp_path: Path) -> None:
    pki.ensure(environment, {"a": server(*NAMES), "b": server("client.example", client=True)})
    found = pki.load(environment)
    contexts = {}
    for name, purpose in (("a", ssl.PROTOCOL_TLS_SERVER), ("b", ssl.PROTOCOL_TLS_CLIENT)):
        (tmp_path / f"{name}.pem").write_text(found.leaf(name).cert + found.leaf(name).key)
        contexts[name] = ssl.SSLContext(purpose)
        contexts[name].load_cert_chain(tmp_path / f"{name}.pem")
        contexts[name].load_verify_locations(environment.ca_file)
        contexts[name].verify_mode = ssl.CERT_REQUIRED
        contexts[name].verify_flags |= ssl.VERIFY_X509_STRICT
    for host in ("internal.example", "192.0.2.11", "node-1"):
        ours, theirs = socket.socketpair()
        thread = threading.Thread(target=lambda s=ours: contexts["a"].wrap_socket(s, server_side=True).recv(1))
        thread.start()
        with contexts["b"].wrap_socket(theirs, server_hostname=host) as client:
            client.send(b"x")
            assert client.version() == "TLSv1.3"
        thread.join()


def test_private_keys_are_encrypted_and_hidden(environment: Environment) -> None:
    pki.ensure(environment, {"a": server(*NAMES)})
    assert environment.certificates_file.read_text().startswith("$ANSIBLE_VAULT;1.1;AES256\n")
    assert environment.certificates_file.stat().st_mode & 0o777 == 0o600
    assert environment.ca_file.stat().st_mode & 0o777 == 0o644
    assert "PRIVATE" not in repr(pki.load(environment))


def test_a_missing_certificate_says_how_to_get_it(environment: Environment) -> None:
    with pytest.raises(RefusedError, match=r"certificates\.yml: no such file \(scs secrets init\)"):
        pki.load(environment)
    pki.ensure(environment, {})
    with pytest.raises(RefusedError, match=r"no certificate 'a' \(scs secrets init\)"):
        pki.load(environment).leaf("a")


def test_a_lost_ca_file_is_written_again(environment: Environment) -> None:
    pki.ensure(environment, {"a": server(*NAMES)})
    environment.ca_file.unlink()
    assert pki.ensure(environment, {"a": server(*NAMES)}) == []
    assert environment.ca_file.read_text() == pki.load(environment).ca_pem


def statement(leaf: Leaf) -> tuple[str, list[str], set[str]]:
    """What a certificate says: its subject, its names, and the roles in which TLS accepts it."""
    cert = x509.load_pem_x509_certificate(leaf.cert.encode())
    names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    purposes = cert.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    return cert.subject.rfc4514_string(), [str(n.value) for n in names], {p._name for p in purposes}


def test_each_purpose_has_a_certificate_of_its_own(environment: Environment) -> None:
    """Only what clients reach by the API's name has that name, and a host's other keys do not help with it."""
    ha = dummy_region("testbed-ha")
    wanted = wanted_leaves(ha.environment, ha.catalog, ha.inventory)
    pki.ensure(environment, wanted)
    found = pki.load(environment).leaves
    said = {name: statement(leaf) for name, leaf in found.items()}
    api = ha.environment.settings.api.internal
    assert {n.partition("/")[0] for n, (_, names, _) in said.items() if api.name in names} == {
        "api-internal", "database",
    }  # fmt: skip
    host = ha.inventory.hosts["ha-1"]
    own = [host.name, host.management]
    assert said["galera/ha-1"] == ("CN=ha-1,OU=galera", own, {"serverAuth", "clientAuth"})
    assert said["rabbitmq/ha-1"] == ("CN=ha-1,OU=rabbitmq", own, {"serverAuth"})
    assert said["ovn_controller/ha-1"] == ("CN=ha-1,OU=ovn_controller", ["ha-1"], {"clientAuth"})
    assert {roles for n, (_, _, r) in said.items() if "/" not in n for roles in r} == {"serverAuth"}
    # the region's CA issues servers' only; every other purpose has a CA that issues nothing else
    issuers = {
        n.partition("/")[0]: x509.load_pem_x509_certificate(leaf.cert.encode()).issuer for n, leaf in found.items()
    }
    region = {"api-internal", "api-external", "registry", "database", "rabbitmq", "memcached"}
    assert len({issuers[p] for p in region}) == 1
    groups = issuers.keys() - region
    assert groups >= {"galera", "libvirt", "migration", "ovn_control", "ovn_controller", "keystone_keys", "console"}
    assert len({issuers[p] for p in groups} | {issuers["registry"]}) == len(groups) + 1


def accepts(folder: Path, server: Leaf, client: Leaf, trusted: str) -> bool:
    """Whether a server that accepts these CAs takes a client's certificate, and the client the server's."""
    for name, leaf in (("server", server), ("client", client)):
        (folder / f"{name}.pem").write_text(leaf.cert + leaf.key)
    contexts = []
    for name, side in (("server", ssl.PROTOCOL_TLS_SERVER), ("client", ssl.PROTOCOL_TLS_CLIENT)):
        context = ssl.SSLContext(side)
        context.load_cert_chain(folder / f"{name}.pem")
        context.load_verify_locations(cadata=trusted)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        contexts.append(context)
    ours, theirs = socket.socketpair()
    served = []

    def serve() -> None:
        with suppress(OSError), contexts[0].wrap_socket(ours, server_side=True) as connection:
            served.append(connection.recv(1))
            connection.sendall(b"y")
        ours.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with contexts[1].wrap_socket(theirs) as connection:
            connection.sendall(b"x")
            return connection.recv(1) == b"y"
    except OSError:
        return False
    finally:
        theirs.close()
        thread.join(10)


MEMBERS = {"galera/a": member("galera", "a"), "galera/b": member("galera", "b"), "web": server("a.example")}


def stages(environment: Environment) -> list[Certificates]:
    """What hosts get, one stage after the other, until the exchange of CAs has ended."""
    found = [pki.load(environment)]
    while pki.advance(environment):
        found.append(pki.load(environment))
    return found


def check_stages(found: list[Certificates], folder: Path) -> None:
    """Members of two following stages accept each other: some have the later one already, some do not."""
    for before, after in itertools.pairwise(found):
        for one, other in ((before, after), (after, before), (after, after)):
            assert accepts(folder, one.leaf("galera/a"), other.leaf("galera/b"), one.group_pem["galera"])
            assert accepts(folder, other.leaf("galera/b"), one.leaf("galera/a"), other.group_pem["galera"])


def test_a_region_with_one_certificate_a_host_gets_to_groups_without_cutting_members_off(
    environment: Environment, tmp_path: Path
) -> None:
    earlier = {"a": server("a", "127.0.0.1", client=True), "b": server("b", "127.0.0.1", client=True)}
    pki.ensure(environment, earlier)
    first = pki.load(environment)
    assert pki.stale(environment, MEMBERS) == ["galera/a", "galera/b", "web"]
    assert pki.ensure(environment, MEMBERS) == ["galera/a", "galera/b", "web"]
    assert pki.stale(environment, MEMBERS) == []
    assert pki.moving(environment) == ["galera"]
    found = stages(environment)
    # what was issued for everything stays in use until every host accepts what follows it
    assert [c.leaf("galera/a") == first.leaf("a") for c in found] == [True, False, False]
    # hosts that were not changed yet know the region's CA only
    assert accepts(tmp_path, first.leaf("a"), found[0].leaf("galera/b"), first.ca_pem)
    check_stages(found, tmp_path)
    assert not accepts(tmp_path, found[-1].leaf("galera/a"), first.leaf("b"), found[-1].group_pem["galera"])
    assert pki.moving(environment) == []
    assert pki.load(environment).leaves.keys() == MEMBERS.keys()


def test_a_removed_hosts_certificate_is_not_accepted_any_more(environment: Environment, tmp_path: Path) -> None:
    pki.ensure(environment, MEMBERS | {"galera/c": member("galera", "c"), "other/c": member("other", "c")})
    before = pki.load(environment)
    gone = before.leaf("galera/c")
    assert accepts(tmp_path, before.leaf("galera/a"), gone, before.group_pem["galera"])
    assert pki.ensure(environment, MEMBERS) == ["galera/a", "galera/b"]
    found = stages(environment)
    assert len(found) == 3
    check_stages([before, *found], tmp_path)
    last = found[-1]
    assert not accepts(tmp_path, last.leaf("galera/a"), gone, last.group_pem["galera"])
    assert last.leaves.keys() == MEMBERS.keys()
    assert last.group_pem.keys() == {"galera"}
    assert last.leaf("web") == before.leaf("web")


def test_what_clients_accept_of_a_removed_host_is_known_until_the_ca_is_replaced(environment: Environment) -> None:
    every = MEMBERS | {"database/c": server("c", "internal.example"), "galera/c": member("galera", "c")}
    pki.ensure(environment, every)
    pem = pki.load(environment).leaf("database/c").cert
    assert pki.departed(environment) == []
    for _ in range(2):
        pki.ensure(environment, MEMBERS)
        assert pki.departed(environment) == [("database/c", pem)], "of its group, the CA is another one"
    # it comes back, and goes again
    pki.ensure(environment, every)
    again = pki.load(environment).leaf("database/c").cert
    pki.ensure(environment, MEMBERS)
    assert pki.departed(environment) == [("database/c", pem), ("database/c", again)]
    stages(environment)
    pki.trust_next(environment, MEMBERS)
    pki.issue_with_next(environment, MEMBERS)
    assert len(pki.departed(environment)) == 2, "the old CA is trusted"
    pki.forget_previous(environment)
    assert pki.departed(environment) == []


def test_an_expired_certificate_of_a_removed_host_is_forgotten(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    pki.ensure(environment, MEMBERS | {"database/c": server("c")})
    pki.ensure(environment, MEMBERS)
    assert pki.departed(environment)
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=issuing.LEAF_DAYS + 1)
    monkeypatch.setattr(issuing, "now", lambda: later)
    assert pki.departed(environment) == []


def test_another_host_that_goes_meanwhile_is_not_accepted_either(environment: Environment, tmp_path: Path) -> None:
    some = MEMBERS | {f"galera/{n}": member("galera", n) for n in ("c", "d", "e")}
    pki.ensure(environment, some)
    gone = [pki.load(environment).leaf("galera/c")]
    found = []
    for name in ("c", "d", "e"):
        del some[f"galera/{name}"]
        pki.ensure(environment, some)
        found.append(pki.load(environment))
        gone.append(found[-1].leaf("galera/a"))
        if name == "d":
            pki.advance(environment)
            found.append(pki.load(environment))
    found += stages(environment)
    check_stages(found, tmp_path)
    last = found[-1]
    assert not any(accepts(tmp_path, last.leaf("galera/a"), g, last.group_pem["galera"]) for g in gone)


def test_a_new_member_changes_nothing_for_the_others(environment: Environment) -> None:
    pki.ensure(environment, MEMBERS)
    before = pki.load(environment)
    assert pki.ensure(environment, MEMBERS | {"galera/c": member("galera", "c")}) == ["galera/c"]
    after = pki.load(environment)
    assert after.group_pem == before.group_pem
    assert {n: after.leaves[n] for n in before.leaves} == before.leaves
    assert pki.moving(environment) == []
