# SPDX-License-Identifier: Apache-2.0
"""A program `ssh` whose hosts are folders of a test: what is run there runs here, with a Docker engine of the test.

Ansible and the manager find it in PATH alike. A host's name says what is wrong with it.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from typing import Any

PROGRAM = """\
#!/bin/sh
# one line for each call: its arguments
call=$(printf '%s ' "$@" | tr '\\n' ' ')
echo "$call" >> {folder}/calls
for word; do address=$command command=$word; done
case $address in
*gone*) echo "ssh: connect to host $address port 22: No route to host" >&2; exit 255 ;;
*stranger*) echo "Host key verification failed." >&2; exit 255 ;;
*sudo*) echo "sudo: a password is required" >&2; exit 1 ;;
*bare*) command=$(echo "$command" | sed 's#/usr/bin/python3#/usr/bin/no-python3#') ;;
*noisy*) echo "welcome to $address" ;;
esac
PATH={folder}/bin:$PATH
export PATH
sed -e 's#/var/run/docker.sock#{folder}/docker.sock#' -e 's#/run/scs-engine.lock#{folder}/lock#' \\
  -e 's#"/etc/scs"#"{folder}/etc"#' -e 's#"/var/lib/scs#"{folder}/lib#g' | sh -c "$command" | case $address in
*cut*) dd bs=1 count=150 status=none ;;
*) cat ;;
esac
"""
SUDO = '#!/bin/sh\nwhile [ "$1" != /bin/sh ]; do shift; done\nexec "$@"\n'
CONTAINER = {
    "Id": "aaaa", "Name": "/keepalived", "Created": "2026-11-01T00:00:00.0Z", "Image": "sha256:" + "b2" * 32,
    "Config": {"Image": "scs/keepalived", "Labels": {"scs.container": "keepalived"}, "Env": ["A=ä"]}, "HostConfig": {},
    "State": {"Status": "running", "StartedAt": "2026-11-01T00:00:01.0Z", "Health": {"Status": "healthy"}},
}  # fmt: skip


class Server(ThreadingUnixStreamServer):
    daemon_threads = True
    answers: dict[str, Any]
    asked: list[tuple[str, Any]]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def address_string(self) -> str:
        return ""

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self.path.removeprefix("/v1.41")
        self.server.asked.append((f"{self.command} {path}", json.loads(body or b"null")))
        known = path in self.server.answers
        data = json.dumps(self.server.answers.get(path, {"message": f"no {path}"})).encode()
        self.send_response(200 if known else 404)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """`ssh` and `sudo` in the folder `bin`, and an engine with one container."""
    for name in ("bin", "etc/keepalived", "lib"):
        (folder / name).mkdir(parents=True)
    (folder / "etc/keepalived/own").write_text("a file\n", encoding="utf-8")
    for name, text in (("ssh", PROGRAM.format(folder=folder)), ("sudo", SUDO)):
        (folder / "bin" / name).write_text(text, encoding="utf-8")
        (folder / "bin" / name).chmod(0o755)
    with Server(str(folder / "docker.sock"), Handler) as server:
        server.asked = []
        server.answers = {
            "/info": {"DockerRootDir": str(folder)},
            "/images/json": [{"Id": "sha256:b2", "RepoDigests": ["scs/keepalived@sha256:1"]}],
            "/containers/json?all=1": [{"Id": "aaaa", "Labels": {"scs.container": "keepalived"}}],
            "/containers/aaaa/json": CONTAINER,
            "/volumes": {"Volumes": [{"Name": "mariadb"}]},
        }
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
