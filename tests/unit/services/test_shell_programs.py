# SPDX-License-Identifier: Apache-2.0
"""Shell programs of the services, as a container runs them: what they decide from what the image's commands say."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from scs_deploy.desired import resolve
from scs_deploy.region.region import Region
from tests.conftest import dummy_region
from tests.support.programs import command, install, path


@pytest.fixture(scope="module")
def three() -> Region:
    return dummy_region("testbed-ha")


def run(commands: Path, *argv: str | Path, error: bool = False) -> tuple[int, str]:
    """Exit code and output of a program, or what it says as an error; `commands` come before those of this machine."""
    done = subprocess.run(argv, env=path(commands), capture_output=True, text=True, check=False)
    assert bool(done.stderr) is error, done.stderr
    return done.returncode, (done.stderr if error else done.stdout).strip()


def answers(commands: Path, name: str, *where: str) -> None:
    """A client, like curl or nc, that reaches only what is named."""
    command(commands, name, "\n".join(['case " $* " in', *(f'*" {w} "*) exit 0 ;;' for w in where), "esac\nexit 1"]))


def assign(settings: Path, **values: object) -> None:
    """Give settings of a program other values: the last one counts."""
    with settings.open("a", encoding="utf-8") as stream:
        stream.writelines(f"{name}={value}\n" for name, value in values.items())


# ---- OVN


RAFT = """e2c4
Name: OVN_Northbound
Cluster ID: 3b5c (3b5c0000-0000-0000-0000-000000000000)
Status: cluster member
Role: follower
Leader: 1a2b
Connections: {connections}
Disconnections: 2
Servers:
    e2c4 (e2c4 at ssl:10.0.0.11:6643) (self)
    1a2b (1a2b at ssl:10.0.0.12:6643) last msg 120 ms ago
    77aa (77aa at ssl:10.0.0.13:6643)
"""


@pytest.mark.parametrize(
    ("connections", "code", "says"),
    [
        ("->1a2b <-1a2b ->77aa <-77aa", 0, ""),
        ("->1a2b <-1a2b (->77aa)", 1, "1 of 2 other members are connected, 2 are needed"),
        ("(->1a2b) (->77aa)", 1, "0 of 2 other members are connected, 2 are needed"),
    ],
)
def test_ovn_lets_a_member_go_while_the_others_have_a_majority(
    three: Region, tmp_path: Path, connections: str, code: int, says: str
) -> None:
    gate = install(three, "ha-1", "ovn_nb", tmp_path / "etc") / "gate-database.sh"
    command(tmp_path / "bin", "ovs-appctl", f"cat <<'E'\n{RAFT.format(connections=connections)}E")
    assert run(tmp_path / "bin", gate) == (code, says)


def test_an_ovn_database_joins_its_peers_or_refuses_to_start_alone(
    three: Region, testbed: Region, tmp_path: Path
) -> None:
    command(tmp_path / "bin", "ovsdb-tool", 'echo "$@"; touch "$2"')
    for name in ("cp", "ovsdb-server"):
        command(tmp_path / "bin", name, ":")
    member = install(three, "ha-2", "ovn_sb", tmp_path / "three")
    assign(member / "database.env", FILE=tmp_path / "sb.db", SOCKET=tmp_path / "socket", CTL=tmp_path / "ctl")
    own, peers = "ssl:172.30.2.12:6644", "ssl:172.30.2.11:6644 ssl:172.30.2.13:6644"
    joined = f"join-cluster {tmp_path}/sb.db.new OVN_Southbound {own} {peers}"
    assert run(tmp_path / "bin", member / "start-database.sh") == (0, joined)
    assert (tmp_path / "sb.db").exists()
    alone = install(testbed, "testbed-1", "ovn_sb", tmp_path / "one")
    assign(alone / "database.env", FILE=tmp_path / "other.db")
    code, says = run(tmp_path / "bin", alone / "start-database.sh", error=True)
    assert (code, "has no other member to join" in says) == (1, True)


# ---- MariaDB


@pytest.mark.parametrize(
    ("synced", "code", "says"),
    [
        ("172.30.2.12 172.30.2.13", 0, ""),
        ("172.30.2.13", 1, "not Synced: ha-2"),
        ("", 1, "not Synced: ha-2 ha-3"),
    ],
)
def test_mariadb_lets_a_member_go_while_a_majority_is_synced(
    three: Region, tmp_path: Path, synced: str, code: int, says: str
) -> None:
    gate = install(three, "ha-1", "mariadb", tmp_path / "etc") / "gate.sh"
    command(tmp_path / "bin", "mariadb", "printf 'wsrep_cluster_status\\nwsrep_ready\\n'")
    answers(tmp_path / "bin", "curl", *(f"http://{address}:4569/" for address in synced.split()))
    assert run(tmp_path / "bin", gate) == (code, says)


def test_a_mariadb_that_does_not_work_may_go(three: Region, tmp_path: Path) -> None:
    gate = install(three, "ha-1", "mariadb", tmp_path / "etc") / "gate.sh"
    command(tmp_path / "bin", "mariadb", "exit 1")
    answers(tmp_path / "bin", "curl")
    assert run(tmp_path / "bin", gate) == (0, "")


def test_the_only_mariadb_may_go(testbed: Region, tmp_path: Path) -> None:
    gate = install(testbed, "testbed-1", "mariadb", tmp_path / "etc") / "gate.sh"
    command(tmp_path / "bin", "mariadb", "printf 'wsrep_cluster_status\\nwsrep_ready\\n'")
    assert run(tmp_path / "bin", gate) == (0, "")


@pytest.mark.parametrize(
    ("files", "up", "bootstraps"),
    [
        (["scs_bootstrap", "scs_initialized"], "", True),  # a new cluster's first member
        (["grastate.dat"], "", True),  # the last one to leave, and no other is up
        (["grastate.dat"], "172.30.2.13", False),
        (["scs_initialized"], "172.30.2.13", False),
    ],
)
def test_mariadb_bootstraps_a_cluster_or_joins_it(
    three: Region, tmp_path: Path, files: list[str], up: str, bootstraps: bool
) -> None:
    start = mariadb(three, "ha-1", tmp_path)
    for file in files:
        (tmp_path / file).write_text("safe_to_bootstrap: 1\nseqno: 7\n")
    answers(tmp_path / "bin", "nc", *up.split())
    code, says = run(tmp_path / "bin", start)
    options = says.splitlines()
    assert code == 0
    assert ("--wsrep-new-cluster" in options) is bootstraps
    assert not (tmp_path / "scs_bootstrap").exists()
    (provider,) = (o for o in options if o.startswith("--wsrep-provider-options="))
    assert "gmcast.listen_addr=ssl://172.30.2.11:4567;ist.recv_addr=172.30.2.11:4568;" in provider
    assert provider.endswith("M")


def test_mariadb_goes_on_where_a_crash_left_it(three: Region, tmp_path: Path) -> None:
    start = mariadb(three, "ha-1", tmp_path)
    (tmp_path / "grastate.dat").write_text("safe_to_bootstrap: 0\nseqno: -1\n")
    position = "6b7c1a52-0000-11f0-8000-0123456789ab:42"
    recovers = f"echo 'WSREP: Recovered position: {position}'"
    server = f"case $* in *--wsrep-recover*) {recovers} ;; *) printf '%s\\n' \"$@\" ;; esac"
    command(tmp_path / "bin", "mariadbd", server)
    code, says = run(tmp_path / "bin", start)
    assert (code, f"--wsrep-start-position={position}" in says.splitlines()) == (0, True)


def test_the_only_mariadb_starts_after_a_crash(testbed: Region, tmp_path: Path) -> None:
    start = mariadb(testbed, "testbed-1", tmp_path)
    assign(start.with_name("cluster.env"), GCACHE_SIZE="1G")
    (tmp_path / "grastate.dat").write_text("safe_to_bootstrap: 0\nseqno: -1\n")
    code, says = run(tmp_path / "bin", start)
    assert (code, ";gcache.size=1G" in says) == (0, True)
    assert "safe_to_bootstrap: 1" in (tmp_path / "grastate.dat").read_text()


def test_mariadb_makes_no_second_cluster(three: Region, tmp_path: Path) -> None:
    init = mariadb(three, "ha-2", tmp_path).with_name("init.sh")
    answers(tmp_path / "bin", "nc", "172.30.2.13")
    assert run(tmp_path / "bin", init) == (0, "the cluster runs on ha-3: this host will join it")


def mariadb(region: Region, host: str, folder: Path) -> Path:
    """start.sh with `folder` as data directory, and a server that prints its options."""
    start = install(region, host, "mariadb", folder / "etc") / "start.sh"
    assign(start.with_name("cluster.env"), DATA=folder)
    command(folder / "bin", "mariadbd", "printf '%s\\n' \"$@\"")
    # the watch over the membership ends with the test
    command(folder / "bin", "sleep", "exit 1")
    return start


# ---- keepalived


@pytest.mark.parametrize(("up", "majority"), [("172.30.2.12 172.30.2.13", True), ("172.30.2.13", True), ("", False)])
def test_keepalived_knows_whether_it_sees_a_majority(three: Region, tmp_path: Path, up: str, majority: bool) -> None:
    folder = install(three, "ha-1", "keepalived", tmp_path / "etc")
    answers(tmp_path / "bin", "nc", *up.split())
    found = re.search(r'script "/etc/keepalived/(check_peers.sh .*)"', (folder / "keepalived.conf").read_text())
    assert found
    program, *arguments = found[1].split()
    assert run(tmp_path / "bin", folder / program, *arguments)[0] == (0 if majority else 1)


@pytest.mark.parametrize(
    ("here", "answering", "healthy"),
    [
        ("172.30.2.9 172.30.2.10", "", True),
        ("172.30.2.9", "172.30.2.10", True),
        ("172.30.2.9", "", False),
        ("", "172.30.2.9 172.30.2.10", True),
        ("", "172.30.2.10", False),
    ],
)
def test_keepalived_is_healthy_while_each_address_answers(
    three: Region, tmp_path: Path, here: str, answering: str, healthy: bool
) -> None:
    folder = install(three, "ha-1", "keepalived", tmp_path / "etc")
    command(tmp_path / "bin", "ip", f"for last; do :; done; case ' {here} ' in *\" $last \"*) echo found ;; esac")
    answers(tmp_path / "bin", "nc", *answering.split())
    health = resolve.resolve(three, "ha-1", {"keepalived"}).containers["keepalived"].health
    assert health and health.command
    program, *arguments = health.command
    assert run(tmp_path / "bin", folder / Path(program).name, *arguments)[0] == (0 if healthy else 1)
