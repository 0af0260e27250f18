# SPDX-License-Identifier: Apache-2.0
"""The region CA: TLS libraries accept its certificates, and it issues them only when needed."""

from __future__ import annotations

import datetime
import socket
import ssl
import threading
from pathlib import Path

import pytest
from cryptography import x509

from scs_deploy.base.errors import RefusedError
from scs_deploy.environment.environment import Environment
from scs_deploy.inventory.model import Host, Inventory
from scs_deploy.region.certificates import wanted_leaves
from scs_deploy.secrets import pki, vault
from tests.unit.secrets.test_secrets import region

NAMES = ["node-1", "192.0.2.11", "internal.example"]


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    made = region(tmp_path)
    vault.create_password(made)
    return made


def test_issued_once_and_again_only_when_its_names_change(environment: Environment) -> None:
    assert pki.ensure(environment, {"b": NAMES, "a": ["a.example"]}) == ["a", "b"]
    first = pki.load(environment)
    before = environment.certificates_file.read_bytes()
    assert pki.ensure(environment, {"b": list(reversed(NAMES)), "a": ["a.example"]}) == []
    assert environment.certificates_file.read_bytes() == before
    assert pki.ensure(environment, {"b": [*NAMES, "192.0.2.12"], "a": ["a.example"]}) == ["b"]
    second = pki.load(environment)
    assert second.ca_pem == first.ca_pem == environment.ca_file.read_text()
    assert second.leaf("a") == first.leaf("a")
    assert second.leaf("b") != first.leaf("b")


@pytest.mark.parametrize(("days", "issued"), [(0, []), (pki.LEAF_DAYS - 31, []), (pki.LEAF_DAYS - 29, ["a"])])
def test_renewed_before_it_expires(
    days: int, issued: list[str], environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    pki.ensure(environment, {"a": NAMES})
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    monkeypatch.setattr(pki, "_now", lambda: later)
    assert pki.ensure(environment, {"a": NAMES}) == issued


def test_no_certificate_outlives_the_ca(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    pki.ensure(environment, {})
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=pki.CA_DAYS - 10)
    monkeypatch.setattr(pki, "_now", lambda: later)
    assert pki.ensure(environment, {"a": NAMES}) == ["a"]
    assert pki.ensure(environment, {"a": NAMES}) == []
    ca = x509.load_pem_x509_certificate(environment.ca_file.read_bytes())
    leaf = x509.load_pem_x509_certificate(pki.load(environment).leaf("a").cert.encode())
    assert leaf.not_valid_after_utc == ca.not_valid_after_utc


def test_server_and_client_trust_each_other(environment: Environment, tmp_path: Path) -> None:
    pki.ensure(environment, {"a": NAMES, "b": ["client.example"]})
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
        server = threading.Thread(target=lambda s=ours: contexts["a"].wrap_socket(s, server_side=True).recv(1))
        server.start()
        with contexts["b"].wrap_socket(theirs, server_hostname=host) as client:
            client.send(b"x")
            assert client.version() == "TLSv1.3"
        server.join()


def test_private_keys_are_encrypted_and_hidden(environment: Environment) -> None:
    pki.ensure(environment, {"a": NAMES})
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
    pki.ensure(environment, {"a": NAMES})
    environment.ca_file.unlink()
    assert pki.ensure(environment, {"a": NAMES}) == []
    assert environment.ca_file.read_text() == pki.load(environment).ca_pem


def test_certificates_that_a_region_needs(environment: Environment) -> None:
    networks = {
        "management": {"interface": "eth0", "address": "192.0.2.11"},
        "provider": {"interface": "eth1"},
        "tunnel": {"interface": "eth2", "address": "198.51.100.11"},
    }
    host = Host.model_validate(
        {"name": "node-1", "address": "192.0.2.11", "networks": networks, "groups": (), "settings": {}}
    )
    assert wanted_leaves(environment, Inventory(hosts={"node-1": host}, groups={})) == {
        "api-internal": ["internal.example", "192.0.2.9"],
        "api-external": ["api.example", "192.0.2.10"],
        "registry": ["192.0.2.1", "127.0.0.1", "localhost"],
        "node-1": ["node-1", "192.0.2.11", "198.51.100.11", "internal.example", "192.0.2.9"],
    }
