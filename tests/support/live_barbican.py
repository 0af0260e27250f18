# SPDX-License-Identifier: Apache-2.0
"""A real Barbican of the region's image on loopback, with the region's barbican.conf and a MariaDB of the region's.

Keystone is not there: a middleware in its place takes user, project and roles from the token, `user:project:role,...`,
and the roles of a service that asks for the user, if they follow.
Barbican's policies, database, worker and crypto are its own.
"""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from scs_deploy.desired import resolve
from tests.conftest import dummy_region
from tests.support.live_haproxy import docker
from tests.support.peer_hosts import free_port

IMAGE, DATABASE_IMAGE = "scs/barbican:2025.1", "scs/mariadb:2025.1"
PASTE = "/etc/barbican/barbican-api-paste.ini"
DATABASE = """
set -eu
mkdir -p /run/mysqld /srv/data
mariadb-install-db --user=root --datadir=/srv/data --skip-test-db > /dev/null
echo "CREATE DATABASE barbican;" > /srv/init.sql
exec mariadbd --user=root --datadir=/srv/data --bind-address=127.0.0.1 --port="$1" --skip-grant-tables \\
  --init-file=/srv/init.sql --socket=/srv/socket
"""
TOKENS = """
from oslo_config import cfg

def factory(global_conf, **local_conf):
    def wrap(app):
        def call(environ, start_response):
            user, project, roles, *service = environ.get("HTTP_X_AUTH_TOKEN", "::").split(":")
            if service:
                environ["HTTP_X_SERVICE_ROLES"] = service[0]
            environ.update({
                "HTTP_X_USER_ID": user, "HTTP_X_PROJECT_ID": project, "HTTP_X_ROLES": roles,
                "HTTP_X_IDENTITY_STATUS": "Confirmed",
            })
            return app(environ, start_response)
        return call
    return wrap
"""
START = """
set -eu
export PYTHONPATH=/etc/test
until barbican-manage db upgrade > /dev/null; do sleep 1; done
exec uwsgi_python3 --ini /etc/test/uwsgi.ini
"""


class LiveBarbican:
    """Barbican's address, and requests to it."""

    def __init__(self, folder: Path, name: str, port: int, database: int) -> None:
        self.folder, self.name, self.url = folder, name, f"http://127.0.0.1:{port}"
        self.port, self.database = port, database

    def ask(
        self, method: str, path: str, who: str, body: Any = None, accept: str = "application/json"
    ) -> requests.Response:
        """The answer to `user:project:role,...`."""
        url = path if path.startswith("http") else self.url + path
        headers = {"X-Auth-Token": who, "Accept": accept}
        return requests.request(method, url, json=body, headers=headers, timeout=60)

    def store(self, who: str, payload: str, **more: Any) -> str:
        """Store a secret. Returns its URL."""
        body = {"name": "s", "payload": payload, "payload_content_type": "text/plain", **more}
        answer = self.ask("POST", "/v1/secrets", who, body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["secret_ref"])

    def read(self, url: str, who: str) -> str | int:
        """A secret's payload, or the status of a refusal."""
        answer = self.ask("GET", f"{url}/payload", who, accept="text/plain")
        return answer.text if answer.status_code == 200 else answer.status_code

    def program(self, *command: str, code: int = 0) -> str:
        """What one of the service's programs says, run as its container does."""
        words = ["docker", "exec", "--user", "barbican", self.name, "python3", *command]
        done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=120)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def sql(self, query: str) -> str:
        """The answer of the database, without a head."""
        return docker(
            "exec", f"{self.name}-database", "mariadb", "--socket=/srv/socket", "--batch", "--skip-column-names",
            "barbican", "--execute", query,
        ).strip()  # fmt: skip

    def configure(self, values: Mapping[str, str]) -> None:
        """Start with these secrets, beside the usual ones."""
        write(self, values)
        docker("restart", "--time", "5", self.name)
        self.wait()

    def wait(self) -> None:
        """Wait until it answers."""
        deadline = time.monotonic() + 300
        while True:
            try:
                if requests.get(f"{self.url}/healthcheck", timeout=5).status_code == 200:
                    return
            except requests.RequestException:
                pass
            assert time.monotonic() < deadline, f"see docker logs {self.name}"
            time.sleep(0.5)


def write(live: LiveBarbican, values: Mapping[str, str]) -> None:
    """Render what Barbican reads. Orders are carried out while a request waits: there is no broker."""
    made = dummy_region("testbed")
    if values:
        secrets = {**made.secrets, **values}
        made = dataclasses.replace(made, load_secrets=lambda _environment: secrets)
    files = resolve.resolve(made, next(iter(made.inventory.hosts)), {"barbican"}).files
    text = files["/etc/scs/barbican_api/barbican.conf"].content
    database = f"connection = mysql+pymysql://root@127.0.0.1:{live.database}/barbican?charset=utf8mb4"
    text = re.sub(r"(?m)^connection = .*", database, text)
    text = re.sub(r"(?m)^enable = true$", "enable = false", text)
    (live.folder / "barbican.conf").write_text(text)
    uwsgi = files["/etc/scs/barbican_api/uwsgi.ini"].content
    socket = f"http-socket = 127.0.0.1:{live.port}"
    (live.folder / "policy.yaml").write_text(files["/etc/scs/barbican_api/policy.yaml"].content)
    (live.folder / "barbican_clean.json").write_text(files["/etc/scs/barbican_cleaner/barbican_clean.json"].content)
    (live.folder / "uwsgi.ini").write_text(re.sub(r"(?m)^http-socket = .*", socket, uwsgi))


@contextmanager
def barbican(folder: Path) -> Iterator[LiveBarbican]:
    """Start it; a few seconds."""
    folder.chmod(0o755)
    store, port = free_port("127.0.0.1"), free_port("127.0.0.1")
    name = f"scs-test-barbican-{uuid.uuid4().hex[:8]}"
    live = LiveBarbican(folder, name, port, store)
    write(live, {})
    (folder / "tokens.py").write_text(TOKENS)
    (folder / "start").write_text(START)
    programs = dummy_region("testbed").catalog.services["barbican"].directory / "files"
    for program in programs.glob("*.py"):
        shutil.copy(program, folder)
    docker(
        "run", "--detach", "--name", f"{name}-database", "--network", "host", DATABASE_IMAGE,
        "sh", "-c", DATABASE, "sh", str(store),
    )  # fmt: skip
    paste = docker("run", "--rm", IMAGE, "cat", PASTE)
    (folder / "paste.ini").write_text(
        re.sub(r"(?m)^(paste.filter_factory = )keystonemiddleware.*auth_token.*", r"\1tokens:factory", paste)
    )
    files = {
        folder: "/etc/test",
        folder / "policy.yaml": "/etc/barbican/policy.yaml",
        folder / "barbican.conf": "/etc/barbican/barbican.conf",
        folder / "paste.ini": PASTE,
    }
    mounts = [word for file, path in files.items() for word in ("--volume", f"{file}:{path}:ro")]
    docker(
        "run", "--detach", "--name", name, "--network", "host", "--read-only", "--tmpfs", "/tmp", "--user", "barbican",
        "--cap-drop", "ALL", *mounts, IMAGE, "sh", "/etc/test/start",
    )  # fmt: skip
    try:
        live.wait()
        yield live
    finally:
        docker("rm", "--force", "--volumes", name, f"{name}-database")
