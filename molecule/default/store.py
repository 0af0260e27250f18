# SPDX-License-Identifier: Apache-2.0
"""Stores a value in memcached at HOST PORT, whose certificate is of CA, and reads it back; exits 1 when that fails."""

import socket
import ssl
import subprocess
import sys

host, port, ca = sys.argv[1:]
shown = subprocess.run(["scs", "secrets", "show", "memcached_password"], check=True, capture_output=True, text=True)
login = f"scs {shown.stdout.strip()}".encode()
with (
    socket.create_connection((host, int(port)), timeout=5) as plain,
    ssl.create_default_context(cafile=ca).wrap_socket(plain, server_hostname=host) as connection,
):
    connection.sendall(b"set login 0 0 %d\r\n%s\r\n" % (len(login), login))
    connection.sendall(b"set scs 0 60 5\r\nhello\r\nget scs\r\nquit\r\n")
    answer = b""
    while chunk := connection.recv(4096):
        answer += chunk
if answer.count(b"STORED") != 2 or b"hello" not in answer:
    sys.exit(f"memcached answered {answer!r}")
