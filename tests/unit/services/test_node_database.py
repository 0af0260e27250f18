# SPDX-License-Identifier: Apache-2.0
"""Node programs log in to the database only after the server proved who it is: a real TLS server on loopback.

Source of the protocol: https://mariadb.com/docs/server/reference/clientserver-protocol
"""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import database
import pymysql
import pytest

from scs_deploy.secrets import pki, vault
from scs_deploy.secrets.issuing import Leaf
from tests.support.certificates import server
from tests.unit.secrets.test_secrets import region

SECURE_AUTH, PROTOCOL_41, PLUGIN_AUTH, TLS = 0x8000, 0x200, 0x80000, 0x800
OK = b"\0\0\0\2\0\0\0"
END = b"\xfe\0\0\2\0"


class Server:
    """Accepts connections as MariaDB does, any login, and has one table of one row."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self.tls, self.logins = tls, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.listener.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
                with connection:
                    self._session(connection)
            except (OSError, EOFError):
                if self.listener.fileno() < 0:
                    return

    def _session(self, connection: socket.socket) -> None:
        connection.settimeout(10)
        capabilities = SECURE_AUTH | PROTOCOL_41 | PLUGIN_AUTH | (TLS if self.tls else 0)
        low, high = struct.pack("<I", capabilities)[:2], struct.pack("<I", capabilities)[2:]
        salt = b"0123456789abcdefghij"
        about = b"\x0a11.8.3-MariaDB\0" + struct.pack("<I", 1) + salt[:8] + b"\0" + low + b"\x2d\2\0" + high
        send(connection, 0, about + b"\x15" + bytes(10) + salt[8:] + b"\0mysql_native_password\0")
        if self.tls:
            receive(connection)
            connection = self.tls.wrap_socket(connection, server_side=True)
        sequence, _ = receive(connection)
        self.logins += 1
        send(connection, sequence + 1, OK)
        while True:
            _, command = receive(connection)
            if command[:1] == b"\1":
                return
            if command[1:].startswith(b"SELECT"):
                name = b"\3def\0\0\0\1a\0\x0c" + struct.pack("<HIBHB", 45, 4, 253, 0, 0) + b"\0\0"
                for number, packet in enumerate((b"\1", name, END, b"\5alice", END), 1):
                    send(connection, number, packet)
            else:
                send(connection, 1, OK)


def send(connection: socket.socket, sequence: int, payload: bytes) -> None:
    connection.sendall(struct.pack("<I", len(payload))[:3] + bytes([sequence]) + payload)


def receive(connection: socket.socket) -> tuple[int, bytes]:
    head = exactly(connection, 4)
    return head[3], exactly(connection, struct.unpack("<I", head[:3] + b"\0")[0])


def exactly(connection: socket.socket, size: int) -> bytes:
    text = b""
    while len(text) < size:
        more = connection.recv(size - len(text))
        if not more:
            raise EOFError
        text += more
    return text


@contextmanager
def serving(certificate: Leaf | None, folder: Path) -> Iterator[Server]:
    tls = None
    if certificate:
        (folder / "server.pem").write_text(certificate.cert + certificate.key)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(folder / "server.pem")
    server = Server(tls)
    try:
        yield server
    finally:
        server.listener.close()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Leaf]:
    """`own`, `named` for another host, their `ca`, and `foreign`: of another CA, with the right name."""
    found: dict[str, Leaf] = {}
    for names in ({"foreign": server("127.0.0.1")}, {"own": server("127.0.0.1"), "named": server("127.0.0.2")}):
        made = region(tmp_path_factory.mktemp("region"))
        vault.create_password(made)
        pki.ensure(made, names)
        found |= {**pki.load(made).leaves, "ca": Leaf(cert=pki.load(made).ca_pem, key="")}
    return found


def configuration(folder: Path, port: int, ca: str) -> str:
    (folder / "ca.crt").write_text(ca)
    url = f"mysql+pymysql://glance:p%40ss@127.0.0.1:{port}/glance?charset=utf8mb4&ssl_ca={folder}/ca.crt"
    (folder / "glance-api.conf").write_text(f"[database]\nconnection = {url}\n")
    return str(folder / "glance-api.conf")


def test_rows_come_from_a_server_that_proves_its_name(certificates: dict[str, Leaf], tmp_path: Path) -> None:
    with serving(certificates["own"], tmp_path) as server:
        file = configuration(tmp_path, server.port, certificates["ca"].cert)
        assert database.rows(file, "SELECT name FROM users") == [("alice",)]


@pytest.mark.parametrize("certificate", ["foreign", "named", None])
def test_no_password_goes_to_a_server_that_does_not(
    certificate: str | None, certificates: dict[str, Leaf], tmp_path: Path
) -> None:
    with serving(certificates[certificate] if certificate else None, tmp_path) as server:
        file = configuration(tmp_path, server.port, certificates["ca"].cert)
        with pytest.raises(pymysql.MySQLError, match=r"certificate verify failed|SSL|TLS"):
            database.rows(file, "SELECT name FROM users")
        assert server.logins == 0
