# SPDX-License-Identifier: Apache-2.0
"""Stores a value in memcached at HOST PORT and reads it back; exits 1 when that fails."""

import socket
import sys

with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=5) as connection:
    connection.sendall(b"set scs 0 60 5\r\nhello\r\nget scs\r\nquit\r\n")
    answer = b""
    while chunk := connection.recv(4096):
        answer += chunk
if b"STORED" not in answer or b"hello" not in answer:
    sys.exit(f"memcached answered {answer!r}")
