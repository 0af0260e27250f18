# SPDX-License-Identifier: Apache-2.0
"""ICMP echo: does an address answer?"""

from __future__ import annotations

import os
import select
import socket
import struct
import time


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071) of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ping(address: str, timeout: float = 2.0, sequence: int = 1) -> float:
    """Send one ICMP echo request (RFC 792) to an IPv4 address and return the seconds until the reply.

    Uses an unprivileged ICMP socket where the kernel allows one, otherwise a raw socket.

    :raises TimeoutError: no reply in time
    :raises OSError: no route, or no permission to open the socket
    """
    try:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
        raw = False
    except PermissionError:
        sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        raw = True
    payload = os.urandom(16)
    packet = struct.pack("!BBHHH", 8, 0, 0, os.getpid() & 0xFFFF, sequence) + payload
    packet = packet[:2] + struct.pack("!H", checksum(packet)) + packet[4:]
    with sock:
        start = time.monotonic()
        sock.sendto(packet, (address, 0))
        while (left := start + timeout - time.monotonic()) > 0:
            if not select.select([sock], [], [], left)[0]:
                break
            data, source = sock.recvfrom(1024)
            answer = data[(data[0] & 15) * 4 :] if raw else data
            if source[0] == address and answer[0] == 0 and answer[8:] == payload:
                return time.monotonic() - start
    raise TimeoutError(f"{address}: no ICMP reply within {timeout:g} s")
