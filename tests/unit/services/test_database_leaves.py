# SPDX-License-Identifier: Apache-2.0
"""A database member that is about to stop: idle sessions end, a transaction is finished. The script, a real server."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest

from scs_deploy.desired import resolve
from scs_deploy.region.region import Region
from tests.support.images import needs
from tests.support.live_haproxy import docker
from tests.support.peer_hosts import eventually, free_port

IMAGE = "scs/mariadb:2025.1"
START = """
mkdir -p /run/mysqld /tmp/data && chown mysql /run/mysqld /tmp/data
mariadb-install-db --user=mysql --datadir=/tmp/data --auth-root-authentication-method=normal > /dev/null 2>&1
cat > /tmp/init.sql <<'SQL'
CREATE USER root@'%' IDENTIFIED BY 'r';
GRANT ALL ON *.* TO root@'%';
CREATE USER nova@'%' IDENTIFIED BY 'n';
DELETE FROM mysql.global_priv WHERE Host NOT IN ('%');
FLUSH PRIVILEGES;
CREATE DATABASE nova;
GRANT ALL ON nova.* TO nova@'%';
CREATE TABLE nova.t (i INT) ENGINE=InnoDB;
SQL
exec mariadbd --user=mysql --datadir=/tmp/data --port=$1 --bind-address=127.0.0.1 --init-file=/tmp/init.sql
"""

pytestmark = needs(IMAGE)


@pytest.fixture
def server(testbed: Region, tmp_path: Path) -> Iterator[tuple[str, int]]:
    port, name = free_port("127.0.0.1"), f"scs-test-mariadb-{uuid.uuid4().hex[:8]}"
    desired = resolve.resolve(testbed, "testbed-1", {"mariadb"})
    (tmp_path / "leave.sh").write_text(desired.files["/etc/scs/mariadb/leave.sh"].content)
    (tmp_path / "client.cnf").write_text(f"[client]\nuser = root\npassword = r\nhost = 127.0.0.1\nport = {port}\n")
    docker(
        "run", "--detach", "--name", name, "--network", "host", "--user", "root",
        "--volume", f"{tmp_path}/client.cnf:/etc/mysql/client.cnf:ro", "--volume", f"{tmp_path}/leave.sh:/leave.sh:ro",
        "--entrypoint", "sh", IMAGE, "-c", START, "start", str(port),
    )  # fmt: skip
    try:
        eventually(lambda: up(port), 60)
        yield name, port
    finally:
        docker("rm", "--force", "--volumes", name)


def session(port: int) -> Any:
    return pymysql.connect(host="127.0.0.1", port=port, user="nova", password="n", database="nova")


def up(port: int) -> bool:
    try:
        session(port).close()
    except pymysql.Error:
        time.sleep(0.2)
        return False
    return True


def alive(connection: Any) -> bool:
    try:
        connection.ping(reconnect=False)
    except (pymysql.Error, OSError):
        return False
    return True


def test_idle_sessions_end_and_a_transaction_is_finished(server: tuple[str, int]) -> None:
    name, port = server
    idle = [session(port) for _ in range(5)]
    for connection in idle:
        connection.cursor().execute("SELECT COUNT(*) FROM t")
        connection.commit()
    working = session(port)
    working.cursor().execute("INSERT INTO t VALUES (1)")
    errors: list[Exception] = []

    def finish() -> None:
        time.sleep(3)
        try:
            working.cursor().execute("INSERT INTO t VALUES (2)")
            working.commit()
        except Exception as error:  # noqa: BLE001 - told below
            errors.append(error)

    thread = threading.Thread(target=finish)
    thread.start()
    begin = time.monotonic()
    docker("exec", name, "sh", "/leave.sh")
    took = time.monotonic() - begin
    thread.join()
    assert errors == []
    assert 2.5 < took < 15
    assert [alive(c) for c in (*idle, working)] == [False] * 6
    with session(port) as again, again.cursor() as cursor:
        cursor.execute("SELECT i FROM t ORDER BY i")
        assert cursor.fetchall() == ((1,), (2,))
