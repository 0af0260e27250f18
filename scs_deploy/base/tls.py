# SPDX-License-Identifier: Apache-2.0
"""Read the certificate that a TLS server serves, without verifying it."""

from __future__ import annotations

import socket
import ssl
import struct

GREETING = "mysql"
"""A server that speaks MySQL's protocol and switches to TLS after its greeting."""

_PROTOCOL_41, _SSL, _SECURE = 0x200, 0x800, 0x8000
_LONGEST = 65536


def served(address: str, port: int, greeting: str = "", name: str = "", timeout: float = 5) -> bytes:
    """The server's certificate as DER. Nothing is verified.

    In TLS 1.3, a server that requires a client certificate sends its own first, so this works there too.

    :param greeting: `mysql` if the server speaks first
    :param name: server name to request (SNI); '' sends no name
    :param timeout: seconds for the connection and for each response
    :raises OSError: no connection, no TLS, or no response in time
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with socket.create_connection((address, port), timeout) as plain:
        if greeting == GREETING:
            _ask_mysql_for_tls(plain)
        with context.wrap_socket(plain, server_hostname=name or None) as connection:
            certificate = connection.getpeercert(binary_form=True)
    if not certificate:
        raise ConnectionError("the server sent no certificate")
    return certificate


def _ask_mysql_for_tls(plain: socket.socket) -> None:
    """https://mariadb.com/docs/server/reference/clientserver-protocol/1-connecting/connection"""
    head = _exactly(plain, 4)
    size = int.from_bytes(head[:3], "little")
    if not 0 < size < _LONGEST:
        raise ConnectionError("the server sent no MySQL greeting")
    greeting = _exactly(plain, size)
    if greeting[0] == 0xFF:
        raise ConnectionError(greeting[3:].decode(errors="replace"))
    request = struct.pack("<IIB23x", _PROTOCOL_41 | _SSL | _SECURE, 1 << 24, 45)
    plain.sendall(len(request).to_bytes(3, "little") + bytes([head[3] + 1]) + request)


def _exactly(plain: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = plain.recv(size - len(data))
        if not part:
            raise ConnectionError("the server closed the connection")
        data += part
    return data


def say(error: OSError) -> str:
    """The reason for a connection error, in a few words."""
    if isinstance(error, TimeoutError):
        return "no response in time"
    text = getattr(error, "reason", "") or error.strerror or str(error) or type(error).__name__
    return " ".join(str(text).split())
