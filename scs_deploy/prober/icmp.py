# SPDX-License-Identifier: Apache-2.0
"""Send ICMP echo requests. Sources: RFC 792, RFC 4443; icmp(7) for unprivileged sockets."""

from __future__ import annotations

import itertools
import os
import socket
import struct
import time
from ipaddress import ip_address

REQUEST = {4: 8, 6: 128}
REPLY = {4: 0, 6: 129}
"""ICMP types by IP version."""

LOST = 3.0
"""Seconds after which a reply counts as lost. An emulated guest on busy processors can take one second."""


class Ping:
    """ICMP echo requests to one address.

    :raises PermissionError: this user may not open ICMP sockets (net.ipv4.ping_group_range) and is not root
    """

    def __init__(self, address: str, timeout: float = LOST) -> None:
        self._address, self._timeout = address, timeout
        self._version = ip_address(address).version
        self._numbers = itertools.count(1)
        self._socket().close()

    def __call__(self) -> None:
        """Send one echo request and wait for its reply.

        :raises TimeoutError: no reply in time
        :raises OSError: the request cannot be sent
        """
        number = next(self._numbers) & 0xFFFF
        mark = os.urandom(16)
        with self._socket() as sock:
            sock.connect((self._address, 0))
            head = struct.pack(">BBHHH", REQUEST[self._version], 0, 0, os.getpid() & 0xFFFF, number)
            total = checksum(head + mark) if self._version == 4 else 0  # the kernel computes it for ICMPv6
            sock.send(head[:2] + struct.pack(">H", total) + head[4:] + mark)
            end = time.monotonic() + self._timeout
            while (left := end - time.monotonic()) > 0:
                sock.settimeout(left)
                packet = sock.recv(2048)
                if self._version == 4 and sock.type == socket.SOCK_RAW:
                    packet = packet[(packet[0] & 15) * 4 :]
                if packet[0] == REPLY[self._version] and packet[8:24] == mark:
                    return
            raise TimeoutError

    def _socket(self) -> socket.socket:
        family = socket.AF_INET if self._version == 4 else socket.AF_INET6
        protocol = socket.IPPROTO_ICMP if self._version == 4 else socket.IPPROTO_ICMPV6
        try:
            return socket.socket(family, socket.SOCK_DGRAM, protocol)
        except PermissionError:
            return socket.socket(family, socket.SOCK_RAW, protocol)


def checksum(data: bytes) -> int:
    """The Internet checksum, RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
