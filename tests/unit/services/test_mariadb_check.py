# SPDX-License-Identifier: Apache-2.0
"""What load balancers are told of a database member: a real server of a cluster of one, asked over HTTP."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest
import requests

from scs_deploy.desired import resolve
from scs_deploy.region.region import Region
from tests.support.images import needs
from tests.support.live_haproxy import docker
from tests.support.peer_hosts import eventually, free_port

IMAGE = "scs/mariadb:2025.1"
START = """
mkdir -p /run/mysqld && chown mysql /run/mysqld
cat > /tmp/init.sql <<'SQL'
CREATE OR REPLACE USER monitor@'%' IDENTIFIED BY 'm';
CREATE OR REPLACE USER root@'%' IDENTIFIED BY 'r';
GRANT ALL ON *.* TO root@'%';
DELETE FROM mysql.global_priv WHERE Host <> '%';
FLUSH PRIVILEGES;
SQL
if [ ! -d /tmp/data ]; then
  mkdir /tmp/data && chown mysql /tmp/data
  mariadb-install-db --user=mysql --datadir=/tmp/data > /dev/null 2>&1
fi
exec mariadbd --user=mysql --datadir=/tmp/data --init-file=/tmp/init.sql \
  --bind-address=127.0.0.1 --port=$1 --extra-port=$2 \
  --binlog-format=ROW --wsrep-on=ON --wsrep-provider=/usr/lib/galera/libgalera_smm.so --wsrep-cluster-address=gcomm:// \
  --wsrep-provider-options="gmcast.listen_addr=tcp://127.0.0.1:$3" --wsrep-node-address=127.0.0.1
"""

pytestmark = needs(IMAGE)


class Member:
    """A server, and beside it the program of mariadb_check."""

    def __init__(self, name: str, port: int, url: str) -> None:
        self.name, self.port, self.url = name, port, url

    def sql(self, statement: str) -> Any:
        with (
            pymysql.connect(host="127.0.0.1", port=self.port, user="root", password="r") as session,
            session.cursor() as cursor,
        ):
            cursor.execute(statement)
            return cursor.fetchall()

    def told(self) -> tuple[int, str]:
        answer = requests.get(self.url, timeout=3)
        return answer.status_code, answer.text.strip()

    def serves(self) -> bool:
        try:
            return self.told()[0] == 200
        except requests.RequestException:
            return False


@pytest.fixture
def member(testbed: Region, tmp_path: Path) -> Iterator[Member]:
    name = f"scs-test-check-{uuid.uuid4().hex[:8]}"
    ports = [free_port("127.0.0.1") for _ in range(4)]
    desired = resolve.resolve(testbed, "testbed-1", {"mariadb"})
    program = desired.files["/etc/scs/mariadb_check/check.py"].content.replace("PORT = 4569", f"PORT = {ports[3]}")
    (tmp_path / "check.py").write_text(program)
    (tmp_path / "monitor.cnf").write_text(
        f"[client]\nhost = 127.0.0.1\nport = {ports[0]}\nuser = monitor\npassword = m\n"
        f"[client_reserved]\nport = {ports[1]}\n"
    )
    tmp_path.chmod(0o755)
    for path in tmp_path.iterdir():
        path.chmod(0o644)
    host = ("--detach", "--network", "host", "--volume", f"{tmp_path}:/etc/mysql/check:ro")
    server = ("--entrypoint", "sh", IMAGE, "-c", START, "start", *map(str, ports[:3]))
    docker("run", *host, "--name", name, "--user", "root", *server)
    docker(
        "run", *host, "--name", f"{name}-check", "--user", "mysql", "--entrypoint", "python3", IMAGE,
        "-IS", "/etc/mysql/check/check.py", "127.0.0.1",
    )  # fmt: skip
    found = Member(name, ports[0], f"http://127.0.0.1:{ports[3]}/")
    try:
        eventually(found.serves, 60)
        yield found
    finally:
        docker("rm", "--force", "--volumes", name, f"{name}-check")


def connections(member: Member) -> int:
    return int(member.sql("SHOW GLOBAL STATUS LIKE 'Connections'")[0][1])


def test_many_questions_need_one_connection(member: Member) -> None:
    before = connections(member)
    answers = {member.told() for _ in range(20)}
    assert answers == {(200, "WSREP_CLUSTER_STATUS=Primary,WSREP_LOCAL_STATE=4,WSREP_READY=ON")}
    # the one that asks here
    assert connections(member) - before == 1


def test_it_says_why_a_member_does_not_serve(member: Member) -> None:
    # as a member is while it gives all data to a new one
    member.sql("SET GLOBAL wsrep_desync = ON")
    assert member.told() == (200, "WSREP_CLUSTER_STATUS=Primary,WSREP_LOCAL_STATE=2,WSREP_READY=ON")
    docker("kill", "--signal", "KILL", member.name)
    code, said = member.told()
    assert code == 503
    assert "ERROR 2" in said, said
    docker("start", member.name)
    eventually(member.serves, 120)


def test_a_member_that_does_not_answer_is_told_in_time(member: Member) -> None:
    docker("pause", member.name)
    assert member.told() == (503, "the server does not answer")
    docker("unpause", member.name)
    eventually(member.serves, 30)


def test_connections_that_the_server_ends_are_made_again(member: Member) -> None:
    for (number,) in member.sql("SELECT id FROM information_schema.processlist WHERE user = 'monitor'"):
        member.sql(f"KILL {number}")
    assert member.told()[0] == 200
