# SPDX-License-Identifier: Apache-2.0
"""Keeps downloads that a user asks for out of the region: an address is judged when it is connected to.

Glance downloads an image's URL from its host, which reaches what users do not. Its own filter compares names. Here, it
does not matter which name, redirect or notation led to an address.
"""

import http.client
import ipaddress
import socket
from collections.abc import Iterable
from typing import Any

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class RefusedError(OSError):
    """No address of the server may be connected to."""


def meanings(address: Address) -> tuple[Address, ...]:
    """An address, and the IPv4 address that it stands for."""
    if isinstance(address, ipaddress.IPv4Address):
        return (address,)
    inner = address.ipv4_mapped or address.sixtofour or (address.teredo and address.teredo[1])
    if not inner and address in _NAT64:
        inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return (address, inner) if inner else (address,)


class Egress:
    """Where downloads may lead: to the Internet, and to networks that the operator allows.

    :param inside: networks of the region, which may have public addresses
    :param allowed: networks that may be reached nevertheless
    """

    def __init__(self, inside: Iterable[str], allowed: Iterable[str]) -> None:
        self.inside = [ipaddress.ip_network(n) for n in inside]
        self.allowed = [ipaddress.ip_network(n) for n in allowed]

    def refuses(self, text: str) -> bool:
        """Whether an address may not be connected to."""
        found = meanings(ipaddress.ip_address(text))
        if any(a in n for a in found for n in self.allowed):
            return False
        return any(not a.is_global or a.is_multicast or any(a in n for n in self.inside) for a in found)

    def connect(
        self,
        address: tuple[str, int],
        timeout: Any = socket._GLOBAL_DEFAULT_TIMEOUT,  # type: ignore[attr-defined]
        source_address: tuple[str, int] | None = None,
    ) -> socket.socket:
        """As socket.create_connection, to the allowed ones of a server's addresses.

        :raises RefusedError: it has no such address
        """
        host, port = address
        failed: OSError = RefusedError(f"{host}: its address is not on the Internet, or belongs to this region")
        for *_, found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            numeric = str(found[0])
            if self.refuses(numeric):
                continue
            try:
                return socket.create_connection((numeric, port), timeout, source_address)
            except OSError as error:
                failed = error
        raise failed

    def install(self) -> None:
        """Have every connection of http.client go through `connect`. urllib uses that, and with it Glance's downloads;
        clients of the region's own services use other libraries.
        """
        made = http.client.HTTPConnection.__init__

        def made_with_care(connection: Any, *args: Any, **kwargs: Any) -> None:
            made(connection, *args, **kwargs)
            connection._create_connection = self.connect

        http.client.HTTPConnection.__init__ = made_with_care  # type: ignore[method-assign, assignment]
