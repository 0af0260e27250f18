# SPDX-License-Identifier: Apache-2.0
"""A real database is copied in full and incrementally, and verified; takes about half a minute and scs/mariadb.

The `ssh` here runs commands on this machine, and `docker exec mariadb` reaches the test's own container.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from scs_deploy.base.errors import ScsError
from scs_deploy.clusters.galera import backup as physical
from scs_deploy.engine.events import ignore
from scs_deploy.operations.backup import chain, crypt, manifest, scratch, source, stream, verify
from scs_deploy.operations.backup.create import load
from scs_deploy.operations.backup.manifest import Database, Kind, Manifest, Part
from scs_deploy.operations.backup.target import Folder
from scs_deploy.secrets import signing, vault
from scs_deploy.secrets import store as secrets
from scs_deploy.spec import users
from tests.unit.secrets.test_secrets import region as made_region

IMAGE = "scs/mariadb:2025.1"

SERVER = """
cat > /tmp/server.cnf <<X
[mariadbd]
datadir=/var/lib/mysql
socket=/run/mysqld/mysqld.sock
bind_address=127.0.0.1
wsrep_on=ON
wsrep_provider=/usr/lib/galera/libgalera_smm.so
wsrep_cluster_address=gcomm://
wsrep_cluster_name=test
binlog_format=ROW
innodb_autoinc_lock_mode=2
X
mariadb-install-db --defaults-file=/tmp/server.cnf --auth-root-authentication-method=normal \\
  --skip-test-db --wsrep-on=OFF
exec mariadbd --defaults-file=/tmp/server.cnf --wsrep-new-cluster
"""

CLIENT = "[client]\nhost = 127.0.0.1\nport = 3306\nuser = root\n"

MEMBER = "a"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A cluster of one member; its container's name."""
    name = f"scs-test-backup-{os.getpid()}"
    file = tmp_path_factory.mktemp("server") / "client.cnf"
    file.write_text(CLIENT)
    file.chmod(0o644)
    start = ("docker", "run", "--detach", f"--name={name}", "--network=none", "--user=mysql")
    mounts = (f"--volume={file}:/etc/mysql/client.cnf:ro", "--tmpfs=/run/mysqld:uid=607,gid=607")
    subprocess.run([*start, *mounts, IMAGE, "sh", "-ec", SERVER], check=True, capture_output=True)
    try:
        deadline = time.monotonic() + 120
        while "Synced" not in sql(name, "SHOW STATUS LIKE 'wsrep_local_state_comment'", check=False):
            assert time.monotonic() < deadline, "the server does not start"
            time.sleep(0.5)
        yield name
    finally:
        subprocess.run(["docker", "rm", "--force", "--volumes", name], capture_output=True)


def sql(name: str, statement: str, check: bool = True) -> str:
    command = ["docker", "exec", name, *physical.SQL, "mysql", "--execute", statement]
    done = subprocess.run(command, capture_output=True, text=True)
    assert not check or done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def region(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A region of that member, as far as backups look at one."""
    folder = tmp_path / "bin"
    folder.mkdir()
    docker = subprocess.run(["which", "docker"], capture_output=True, text=True, check=True).stdout.strip()
    scripts = {
        "ssh": '#!/bin/sh\nfor last; do :; done\nexec sh -c "$last"\n',
        "docker": f"""#!/bin/sh
if [ "$1 $2 $3" = "exec --interactive mariadb" ]; then
  shift 3
  set -- exec --interactive {server} "$@"
fi
exec {docker} "$@"
""",
    }
    for name, text in scripts.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    environment = made_region(tmp_path / "region")
    environment.path.mkdir()
    vault.create_password(environment)
    vault.save(environment, environment.secrets_file, secrets.dump({}))
    host = SimpleNamespace(address="192.0.2.1", connection={})
    return SimpleNamespace(environment=environment, inventory=SimpleNamespace(hosts={MEMBER: host}), users=users.load())


def back_up(region: Any, target: Folder, at: datetime, base: Manifest | None) -> Manifest:
    """One backup of the database alone."""
    secret, _ = crypt.ensure_identity(region.environment)
    about = source.identify(region, MEMBER)
    known = [base] if base else []
    assert chain.next_base(known, about, at, 7).base == (base.id if base else ""), "it can be continued"
    since, before = source.clock(region, MEMBER), source.count(region, MEMBER)
    log, backup = physical.Log(), manifest.new_id(at)
    lsn = base.database.to_lsn if base and base.database else None
    with stream.Remote(region, MEMBER, source.copy_command(lsn), log) as process:
        recipients = [crypt.public(secret, "x")]
        made = stream.keep(target, backup, "m.age", process.output, recipients, stream.Meter(ignore, "m"))
    log.check(MEMBER)
    found = Manifest(
        id=backup, region=region.environment.settings.region, environment="test", started=at, seconds=1,
        release="2025.1", images={}, recipients=tuple(recipients),
        parts=(
            Part(
                name="mariadb", file="m.age", image=IMAGE, size=made.size, sha256=made.sha256, pieces=made.pieces,
                encrypted=True,
            ),
        ),
        database=Database(
            kind=Kind.INCREMENTAL if base else Kind.FULL, base=base.id if base else "",
            base_signature=base.signature if base else "", host=MEMBER,
            version=about.version, directory=about.directory, directory_size=about.directory_size,
            from_lsn=lsn or 0, to_lsn=log.to_lsn, position=log.position,
            tables=source.rows_of(before, source.count(region, MEMBER), source.touched(region, MEMBER, since)),
        ),
    )  # fmt: skip
    found = manifest.signed(found, signing.ensure(region.environment)[0])
    target.commit(backup, manifest.dump(found))
    return found


def test_what_changed_comes_back_with_the_chain_and_a_wrong_row_is_noticed(
    region: Any, server: str, tmp_path: Path
) -> None:
    target = Folder(tmp_path / "backups")
    target.prepare()
    sql(server, "CREATE DATABASE shop; CREATE TABLE shop.orders (n INT PRIMARY KEY, note VARCHAR(200))")
    sql(server, "INSERT INTO shop.orders SELECT seq, REPEAT('x', 200) FROM seq_1_to_5000")
    now = datetime.now(UTC).replace(microsecond=0)
    full = back_up(region, target, now, None)
    sql(server, "DELETE FROM shop.orders WHERE n <= 10; CREATE TABLE shop.later (n INT PRIMARY KEY)")
    sql(server, "INSERT INTO shop.later VALUES (1), (2)")
    later = back_up(region, target, now + timedelta(seconds=1), full)
    assert later.size < full.size
    assert later.database
    assert {n: r.before for n, r in later.database.tables.items()} == {"shop.orders": 4990, "shop.later": 2}

    stored = load(region.environment, target, signing.ensure(region.environment))
    assert (stored.unsigned, stored.bad) == ({}, {})
    links = chain.links_of(stored.good, later.id)
    proved = verify.verify(region, target, later, links, ["mariadb"], ignore)
    assert (proved.tables, proved.rows, proved.links) == (2, 4992, (full.id, later.id))
    assert proved.position == later.database.position

    lost = later.database.tables["shop.later"].model_copy(update={"before": 3, "after": 3, "touched": False})
    tables = {**later.database.tables, "shop.later": lost}
    other = later.model_copy(update={"database": later.database.model_copy(update={"tables": tables})})
    with pytest.raises(ScsError, match=r"shop\.later has 2, the region had 3"):
        verify.verify(region, target, other, (full, other), ["mariadb"], ignore)
    left = subprocess.run(["docker", "ps", "-aq", "--filter", f"label={scratch.LABEL}=test"], capture_output=True)
    assert left.stdout == b"", "the trial's container is gone"


def test_a_copy_ends_when_the_manager_is_gone(region: Any, server: str) -> None:
    sql(server, "CREATE DATABASE IF NOT EXISTS large; CREATE TABLE large.t (n INT PRIMARY KEY, b VARBINARY(8000))")
    sql(server, "INSERT INTO large.t SELECT seq, RANDOM_BYTES(1000) FROM seq_1_to_60000")
    remote = stream.Remote(region, MEMBER, source.copy_command(None))
    remote.output.read(1 << 16)
    assert copies(server) == 1, "it waits for somebody to read on"
    # what a kill of the manager closes
    remote.process.kill()
    remote.process.wait()
    for pipe in (remote.input, remote.output):
        pipe.close()
    deadline = time.monotonic() + 20
    while copies(server):
        assert time.monotonic() < deadline, "mariadb-backup goes on for nobody"
        time.sleep(0.2)


def copies(server: str) -> int:
    done = subprocess.run(["docker", "exec", server, "pgrep", "-xc", "mariadb-backup"], capture_output=True, text=True)
    return int(done.stdout or 0)
