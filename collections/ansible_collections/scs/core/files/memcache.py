# SPDX-License-Identifier: Apache-2.0
"""What a service imports as `memcache`: the region's cache, over TLS, with a password, and signed.

PYTHONPATH puts it before python-memcached, whose place it takes for oslo.cache and keystonemiddleware. That one
unpickles whatever the server sends: who can write to memcached could run code in every service. This one unpickles only
what the service itself has signed. All else is a miss, like everything that goes wrong: a cache may be empty.
"""

import functools
import hashlib
import hmac
import json
import logging
import pickle
import socket
import ssl
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

LOG = logging.getLogger("scs.memcache")
FILE = Path(__file__).with_name("cache.json")

_DEAD: dict[tuple[str, int], float] = {}
"""Servers that did not answer, of all clients of this process: not asked before this time."""


class Client:
    """Keeps values on several servers: each key on one, or on another one while that does not answer.

    The methods are those of python-memcached that its users call. One thread at a time may use a client.

    :param servers: `address:port`
    :param dead_retry: seconds before a server that does not answer is asked again
    :param socket_timeout: seconds to wait for an answer
    """

    servers = ()
    """For oslo.cache's pool, which passes on which servers are dead: _DEAD does that."""

    def __init__(self, servers: Iterable[str], dead_retry: float = 10, socket_timeout: float = 1, **_: Any) -> None:
        hosts = (s.rpartition(":") for s in servers)
        self._addresses = [(host, int(port)) for host, _colon, port in hosts]
        self._dead_retry, self._timeout = dead_retry or 10, socket_timeout or 1
        self._connections: dict[tuple[str, int], _Connection] = {}
        settings = json.loads(FILE.read_text(encoding="utf-8"))
        self._login = f"{settings['user']} {settings['password']}".encode()
        self._ca: str = settings["ca"]
        self._service: str = settings["service"]
        self._keys = [key.encode() for key in settings["keys"]]

    def get(self, key: str | bytes, default: Any = None) -> Any:
        """The value of a key, or `default`."""
        name = self._name(key)
        _, sealed = self._ask(name, b"get %s\r\n" % name)
        return default if sealed is None else self._open(name, sealed, default)

    def get_multi(self, keys: Iterable[str | bytes], key_prefix: str = "") -> dict[str | bytes, Any]:
        """The values of those keys that have one."""
        missing = object()
        values = {key: self.get(f"{key_prefix}{key!s}" if key_prefix else key, missing) for key in keys}
        return {key: value for key, value in values.items() if value is not missing}

    def set(self, key: str | bytes, value: Any, time: int = 0, min_compress_len: int = 0) -> bool:
        """Keep a value for `time` seconds, 0: until its place is needed; false: it was not kept."""
        return self._store(b"set", key, value, time)

    def add(self, key: str | bytes, value: Any, time: int = 0, min_compress_len: int = 0) -> bool:
        """Keep a value if the key has none; false: it has one, or the value was not kept."""
        return self._store(b"add", key, value, time)

    def set_multi(
        self, mapping: Mapping[str, Any], time: int = 0, key_prefix: str = "", min_compress_len: int = 0
    ) -> list[str]:
        """Keep several values; returns the keys of those that were not kept."""
        return [key for key, value in mapping.items() if not self.set(f"{key_prefix}{key}", value, time)]

    def touch(self, key: str | bytes, time: int = 0) -> bool:
        """Keep the value of a key for so long from now on; false: it has none."""
        name = self._name(key)
        return self._ask(name, b"touch %s %d\r\n" % (name, int(time)))[0] == b"TOUCHED"

    def delete(self, key: str | bytes, time: int = 0) -> bool:
        """Forget the value of a key; false: it had none."""
        name = self._name(key)
        return self._ask(name, b"delete %s\r\n" % name)[0] == b"DELETED"

    def delete_multi(self, keys: Iterable[str | bytes], time: int = 0, key_prefix: str = "") -> bool:
        """Forget the values of several keys."""
        for key in keys:
            self.delete(f"{key_prefix}{key!s}" if key_prefix else key)
        return True

    def flush_all(self) -> None:
        """Forget everything, of all services, on all servers that answer."""
        for address in self._addresses:
            self._ask_server(address, b"flush_all\r\n")

    def disconnect_all(self) -> None:
        """End all connections; the next request makes new ones."""
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()

    def _name(self, key: str | bytes) -> bytes:
        """The key on the server: of this service only, and fit for the protocol whatever the key is."""
        said = key if isinstance(key, bytes) else key.encode("utf-8", errors="surrogatepass")
        return hashlib.sha256(b"%s\0%s" % (self._service.encode(), said)).hexdigest().encode()

    def _store(self, command: bytes, key: str | bytes, value: Any, seconds: int) -> bool:
        name = self._name(key)
        content = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
        sealed = _signature(self._keys[0], name, content) + content
        request = b"%s %s 0 %d %d\r\n%s\r\n" % (command, name, int(seconds), len(sealed), sealed)
        return self._ask(name, request)[0] == b"STORED"

    def _open(self, name: bytes, sealed: bytes, default: Any) -> Any:
        """A value that this service has signed for this key; else `default`."""
        signature, content = sealed[: hashlib.sha256().digest_size], sealed[hashlib.sha256().digest_size :]
        if not any(hmac.compare_digest(signature, _signature(key, name, content)) for key in self._keys):
            LOG.warning("memcached has a value that %s did not sign: ignored", self._service)
            return default
        try:
            return pickle.loads(content)
        except Exception as error:  # noqa: BLE001 - of another release: its classes may be missing in this one
            LOG.info("memcached has a value that this release cannot read: %s", error)
            return default

    def _ask(self, name: bytes, request: bytes) -> tuple[bytes, bytes | None]:
        """The answer of the first server that gives one, in the key's own order of servers."""
        for address in sorted(self._addresses, key=functools.partial(_rank, name)):
            if (answer := self._ask_server(address, request)) is not None:
                return answer
        return b"", None

    def _ask_server(self, address: tuple[str, int], request: bytes) -> tuple[bytes, bytes | None] | None:
        if _DEAD.get(address, 0) > time.monotonic():
            return None
        while True:
            connection = self._connections.pop(address, None)
            fresh = connection is None
            try:
                connection = connection or _Connection(address, self._timeout, self._ca, self._login)
                answer = connection.ask(request)
            except (OSError, ValueError) as error:
                if connection:
                    connection.close()
                if not fresh:
                    continue  # the server may have been restarted since
                LOG.warning("memcached at %s:%d does not answer: %s", *address, error)
                _DEAD[address] = time.monotonic() + self._dead_retry
                return None
            except BaseException:
                # e.g. a green thread that is ended: an answer on its way must not become that of another question
                if connection:
                    connection.close()
                raise
            self._connections[address] = connection
            return answer


class _Connection:
    """A connection that has logged in.

    :raises OSError: the server does not answer, does not prove its name, or refuses the password
    """

    def __init__(self, address: tuple[str, int], timeout: float, ca: str, login: bytes) -> None:
        plain = socket.create_connection(address, timeout)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket = _context(ca).wrap_socket(plain, server_hostname=address[0])
        except BaseException:
            plain.close()
            raise
        self._answers = self._socket.makefile("rb")
        # https://docs.memcached.org/protocols/basic/#authentication
        if self.ask(b"set login 0 0 %d\r\n%s\r\n" % (len(login), login))[0] != b"STORED":
            self.close()
            raise ConnectionRefusedError("it refuses the password")

    def ask(self, request: bytes) -> tuple[bytes, bytes | None]:
        """The answer's first line, and the value that follows it."""
        self._socket.sendall(request)
        line = self._line()
        if not line.startswith(b"VALUE "):
            return line, None
        length = int(line.split()[3])
        value = self._answers.read(length + 2)
        if len(value) != length + 2 or self._line() != b"END":
            raise ConnectionError("it sent half an answer")
        return line, value[:-2]

    def _line(self) -> bytes:
        line = self._answers.readline(4096)
        if not line.endswith(b"\r\n"):
            raise ConnectionError("it ended the connection")
        return line[:-2]

    def close(self) -> None:
        self._answers.close()
        self._socket.close()


def _rank(name: bytes, address: tuple[str, int]) -> bytes:
    """Orders the servers of a key: one that joins or leaves takes or gives its own share of the keys only."""
    return hashlib.sha256(b"%s:%d %s" % (address[0].encode(), address[1], name)).digest()


@functools.lru_cache(maxsize=1)
def _context(ca: str) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca)


def _signature(key: bytes, name: bytes, content: bytes) -> bytes:
    """Of a value for one key: elsewhere it is worth nothing."""
    return hmac.new(key, b"%s\0%s" % (name, content), hashlib.sha256).digest()
