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


ALL = "172.30.2.11:3306,172.30.2.12:3306,172.30.2.13:3306"
OTHERS = "172.30.2.12:3306,172.30.2.13:3306"
REFUSED, SILENT, FULL = "Connection refused", "timed out", "ERROR 1040 (08004): Too many connections"


def member(state: str = "4", seen: str = ALL, status: str = "Primary", more: str = "") -> str:
    where = f"WSREP_INCOMING_ADDRESSES={seen}"
    return f" WSREP_CLUSTER_STATUS={status} {where} WSREP_LOCAL_STATE={state} WSREP_READY=ON{more} "


def servers(commands: Path, *states: str, listening: str = "") -> None:
    """What clients get from the servers of ha-1, ha-2 and so on: a status, or an error.

    :param listening: addresses where other members are accepted
    """
    asked, reached = ['case " $* " in'], ['case " $* " in']
    for number, state in enumerate(states, 11):
        address, ok = f"172.30.2.{number}", state.startswith(" ")
        # the client says the same of a host that is away and of one without a server
        text = state if ok or state == FULL else f"ERROR 2002 (HY000): Can't connect to server on '{address}' (115)"
        asked.append(f'*" --host={address} "*) echo "{text}"; exit {0 if ok else 1} ;;')
        reached.append(f'*" {address} 4567 "*) exit {0 if address in listening else 1} ;;')
        reached.append(f'*" {address} "*) echo "nc: connect to {address}: {state}" >&2; exit 1 ;;')
    command(commands, "mariadb", "\n".join([*asked, "esac", "exit 1"]))
    command(commands, "nc", "\n".join([*reached, "esac", "exit 1"]))


GATES = {
    "all work": ([member(), member(), member()], ""),
    "it is out of connections": ([FULL, member(), member()], ""),
    "another one is out of connections": (
        [member(), member(more=" full"), member()],
        "ha-2 is out of connections; 2 of 3 members must be Synced and take connections without this one",
    ),
    "another one is down": ([member(), REFUSED, member()], "ha-2 does not answer"),
    "it is out of connections, and another one is down": ([FULL, REFUSED, member()], "ha-2 does not answer"),
    "it is out of connections, and the others are down": ([FULL, REFUSED, REFUSED], "ha-3 does not answer"),
    "it is hung, and another one is silent": ([SILENT, member(), SILENT], "ha-3 does not answer"),
    "it is hung, and the only other one does not count it": ([SILENT, member(seen=OTHERS), REFUSED], ""),
    "it copies data from the only other one": ([REFUSED, member(state="2"), REFUSED], "ha-3 does not answer"),
    "a donor works": ([member(), member(state="2"), member()], ""),
    "another one copies data": ([member(), member(state="1"), member()], "ha-2 is not Synced"),
    "it is in no primary component": ([member(status="non-Primary"), member(seen=OTHERS), REFUSED], ""),
    "nobody is in a primary component": ([REFUSED, REFUSED, SILENT], ""),
    "it is the only one": ([member(seen="172.30.2.11:3306"), REFUSED, REFUSED], "ha-2 does not answer, ha-3"),
}


@pytest.mark.parametrize("case", GATES)
def test_whether_the_cluster_can_do_without_a_mariadb(three: Region, tmp_path: Path, case: str) -> None:
    states, reason = GATES[case]
    gate = install(three, "ha-1", "mariadb", tmp_path / "etc") / "gate.sh"
    servers(tmp_path / "bin", *states)
    code, says = run(tmp_path / "bin", gate)
    assert (code, reason in says) == (1 if reason else 0, True)


def test_the_only_mariadb_may_go(testbed: Region, tmp_path: Path) -> None:
    gate = install(testbed, "testbed-1", "mariadb", tmp_path / "etc") / "gate.sh"
    servers(tmp_path / "bin")
    assert run(tmp_path / "bin", gate) == (0, "")


def test_a_mariadb_from_before_the_reserved_connections_is_asked_at_the_usual_port(
    three: Region, tmp_path: Path
) -> None:
    health = install(three, "ha-1", "mariadb", tmp_path / "etc") / "health.sh"
    old = "case $* in *--port=3307*) echo 'ERROR 2002 (HY000): ... (115)'; exit 1 ;; esac"
    command(tmp_path / "bin", "nc", "echo 'nc: connect to it failed: Connection refused' >&2; exit 1")
    command(tmp_path / "bin", "mariadb", f"{old}\nprintf 'wsrep_cluster_status\\tPrimary\\nwsrep_ready\\tON\\n'")
    assert run(tmp_path / "bin", health) == (0, "")
    command(tmp_path / "bin", "mariadb", f"{old}\necho 'ERROR 1040 (08004): Too many connections'; exit 1")
    assert run(tmp_path / "bin", health) == (1, "")


@pytest.mark.parametrize(
    ("files", "others", "listening", "bootstraps"),
    [
        # a new cluster's first member
        (["scs_bootstrap", "scs_initialized"], [SILENT, SILENT], "", True),
        # the last one to leave, and no other serves
        (["grastate.dat"], [REFUSED, REFUSED], "", True),
        # all others have begun to look for each other
        (["grastate.dat"], [REFUSED, REFUSED], "172.30.2.12 172.30.2.13", True),
        (["grastate.dat"], [REFUSED, SILENT], "", True),
        (["grastate.dat"], [member(), REFUSED], "172.30.2.12", False),
        # cut off: the others may have begun without it
        (["grastate.dat"], [SILENT, SILENT], "", False),
        # the other one may be copying from one that this host does not reach
        (["grastate.dat"], [REFUSED, SILENT], "172.30.2.12", False),
        (["scs_initialized"], [REFUSED, member()], "172.30.2.13", False),
    ],
)
def test_mariadb_bootstraps_a_cluster_or_joins_it(
    three: Region, tmp_path: Path, files: list[str], others: list[str], listening: str, bootstraps: bool
) -> None:
    start = mariadb(three, "ha-1", tmp_path)
    for file in files:
        (tmp_path / file).write_text("safe_to_bootstrap: 1\nseqno: 7\n")
    servers(tmp_path / "bin", REFUSED, *others, listening=listening)
    # each look at the clock is a minute later
    clock = f"echo 60 >> {tmp_path}/clock; awk '{{ s += $1 }} END {{ print s }}' {tmp_path}/clock"
    command(tmp_path / "bin", "date", clock)
    code, says = run(tmp_path / "bin", start)
    options = says.splitlines()
    assert code == 0
    assert ("--wsrep-new-cluster" in options) is bootstraps
    assert ("whether the cluster runs is not known" in says) is (not bootstraps and SILENT in others)
    assert not (tmp_path / "scs_bootstrap").exists()
    (provider,) = (o for o in options if o.startswith("--wsrep-provider-options="))
    assert "gmcast.listen_addr=ssl://172.30.2.11:4567;ist.recv_addr=172.30.2.11:4568;" in provider
    assert provider.endswith("M")


@pytest.mark.parametrize(("setting", "of_one"), [("", None), ("max_connections = 100\n", 75)])
def test_one_account_leaves_connections_to_the_others(
    testbed: Region, tmp_path: Path, setting: str, of_one: int | None
) -> None:
    start = mariadb(testbed, "testbed-1", tmp_path)
    server = start.with_name("server.cnf")
    server.write_text(server.read_text().replace("[mariadbd]\n", f"[mariadbd]\n{setting}"))
    _, says = run(tmp_path / "bin", start)
    given = dict(o.removeprefix("--").split("=", 1) for o in says.splitlines() if "connections=" in o)
    if not setting:
        most = int(given["max-connections"])
        of_one = most - most // 4
    assert given.get("max-user-connections") == str(of_one)
    assert ("max-connections" in given) is (not setting)


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
