# SPDX-License-Identifier: Apache-2.0
"""A real Keystone of the region's image on loopback, with the region's keystone.conf and a MariaDB of the region's."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from scs_deploy.desired import resolve
from scs_deploy.shared.keystone import Keystone
from tests.conftest import dummy_region
from tests.support.live_haproxy import docker
from tests.support.peer_hosts import free_port

IMAGE, DATABASE_IMAGE = "scs/keystone:2025.1", "scs/mariadb:2025.1"
ADMINISTRATOR = "administrators-password"
LOCAL = """
[database]
connection = mysql+pymysql://root@127.0.0.1:{port}/keystone?charset=utf8mb4
[cache]
enabled = false
"""
DATABASE = """
set -eu
mkdir -p /run/mysqld /srv/data
mariadb-install-db --user=root --datadir=/srv/data --skip-test-db > /dev/null
echo "CREATE DATABASE keystone;" > /srv/init.sql
exec mariadbd --user=root --datadir=/srv/data --bind-address=127.0.0.1 --port="$1" --skip-grant-tables \\
  --init-file=/srv/init.sql --socket=/srv/socket
"""
START = """
set -eu
mkdir -p /etc/keystone/fernet-keys /etc/keystone/credential-keys
chown keystone: /etc/keystone/fernet-keys /etc/keystone/credential-keys
cat /etc/test/keystone.conf /etc/test/local.conf > /etc/keystone/keystone.conf
chmod 0644 /etc/keystone/keystone.conf
until keystone-manage db_sync; do sleep 1; done
keystone-manage fernet_setup --keystone-user keystone --keystone-group keystone
OS_BOOTSTRAP_PASSWORD="$(cat /etc/test/password)" keystone-manage bootstrap --bootstrap-region-id RegionOne
exec uwsgi_python3 --ini /etc/test/uwsgi.ini --uid keystone
"""


class LiveKeystone:
    """Keystone's address, and requests to it."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/v3"

    def session(self) -> Keystone:
        """The manager's."""
        return Keystone(self.url, (ADMINISTRATOR,), Path("/dev/null"))

    def log_in(self, user: str, password: str, scope: dict[str, Any] | None = None) -> requests.Response:
        """The answer to a login with a password."""
        who = {"name": user, "domain": {"id": "default"}, "password": password}
        auth: dict[str, Any] = {"identity": {"methods": ["password"], "password": {"user": who}}}
        if scope:
            auth["scope"] = scope
        return requests.post(f"{self.url}/auth/tokens", json={"auth": auth}, timeout=30)

    def admin(self, method: str, path: str, body: Any = None) -> Any:
        """The answer to a request of the administrator."""
        scope = {"project": {"name": "admin", "domain": {"id": "default"}}}
        token = self.log_in("admin", ADMINISTRATOR, scope).headers["X-Subject-Token"]
        answer = requests.request(method, self.url + path, json=body, headers={"X-Auth-Token": token}, timeout=30)
        answer.raise_for_status()
        return answer.json() if answer.content else None


@contextmanager
def keystone(folder: Path) -> Iterator[LiveKeystone]:
    """Start it; a few seconds."""
    made = dummy_region("testbed")
    files = resolve.resolve(made, next(iter(made.inventory.hosts)), {"keystone"}).files.values()
    rendered = {f.name: f.content for f in files if f.name in ("keystone.conf", "uwsgi.ini")}
    folder.chmod(0o755)
    store = free_port("127.0.0.1")
    live = LiveKeystone(port := free_port("127.0.0.1"))
    rendered["uwsgi.ini"] = re.sub(r"(?m)^http-socket = .*", f"http-socket = 127.0.0.1:{port}", rendered["uwsgi.ini"])
    texts = {**rendered, "local.conf": LOCAL.format(port=store), "password": ADMINISTRATOR, "start": START}
    for name, text in texts.items():
        (folder / name).write_text(text)
    name = f"scs-test-keystone-{uuid.uuid4().hex[:8]}"
    database = f"{name}-database"
    docker(
        "run", "--detach", "--name", database, "--network", "host", DATABASE_IMAGE,
        "sh", "-c", DATABASE, "sh", str(store),
    )  # fmt: skip
    docker(
        "run", "--detach", "--name", name, "--network", "host", "--volume", f"{folder}:/etc/test:ro", IMAGE,
        "sh", "/etc/test/start",
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 180
        while True:
            try:
                requests.get(live.url, timeout=5)
                break
            except requests.RequestException:
                assert time.monotonic() < deadline, docker("logs", "--tail", "30", name)
                time.sleep(0.5)
        yield live
    finally:
        docker("rm", "--force", "--volumes", name, database)
