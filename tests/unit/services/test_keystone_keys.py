# SPDX-License-Identifier: Apache-2.0
"""Keystone's keys on three control hosts: who makes them, how they spread, rotate and heal, and what an operator sees.

The shipped program runs on loopback addresses with the region's certificates. `keystone-manage`, which is not installed
here, is a program that does to the files what Keystone's does.
"""

from __future__ import annotations

import json
import os
import re
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keyset
import peers
import pytest
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from tests.support.peer_hosts import Hosts, eventually

PERIOD = 5000
# Tokens that live for two periods, so that Keystone keeps four keys.
CHANGE = {
    "keys.json": {
        "interval": 0.5, "retry": 0.2, "patience": 2, "setup_timeout": 3, "folder": "HOST/etc", "lifetime": 2 * PERIOD,
    }
}  # fmt: skip
MANAGE = f"""#!{sys.executable}
import os, sys, time
from pathlib import Path
from cryptography.fernet import Fernet
kind, _, what = sys.argv[1].partition("_")
home = Path(os.environ["HOST"])
keys = home / "etc" / f"{{kind}}-keys"
with (home / "manage.log").open("a") as log:
    log.write(sys.argv[1] + "\\n")
def create(name):
    os.umask(0o177)
    (keys / "0.tmp").write_text(Fernet.generate_key().decode())
    (keys / "0.tmp").rename(keys / name)
def rotate():
    top = max(int(p.name) for p in keys.iterdir() if p.name.isdecimal())
    (keys / "0").rename(keys / str(top + 1))
    time.sleep(0.1)
    create("0")
    for old in sorted(int(p.name) for p in keys.iterdir() if p.name.isdecimal() and p.name != "0")[:-3]:
        (keys / str(old)).unlink()
if what == "setup" and not (keys / "0").exists():
    create("0")
    rotate()
elif what == "rotate":
    rotate()
"""
# Keystone's database, as far as the program asks: whether there are users, or no answer.
PYMYSQL = """
import os
class MySQLError(Exception): pass
class connect:
    def __init__(self, **how):
        assert how["host"] and how["database"] == "keystone" and how["password"] == "dummy-keystone-database-password"
        assert how["ssl_ca"] == "/etc/scs/ca.crt", how
        if os.environ["USERS"] == "?":
            raise MySQLError("(2003, \\"Can't connect\\")")
    def __enter__(self): return self
    def __exit__(self, *_): pass
    cursor = lambda self: self
    def execute(self, query, values): assert "local_user" in query
    fetchall = lambda self: [(1,)] * int(os.environ["USERS"])
"""


# A program in the place of keys.py begins so.
SERVE = "import time, keys\nfrom pathlib import Path\nown = keys.Keys.read(Path(__file__).parent)\n"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Hosts:
    return make(tmp_path_factory.mktemp("keys"), "testbed-ha")


def make(folder: Path, environment: str, **settings: Any) -> Hosts:
    settings = {"keystone_fernet_rotation_seconds": PERIOD, "keystone_keys_port": 45009, **settings}
    hosts = Hosts(folder, environment, "keystone", settings, CHANGE)
    (folder / "bin").mkdir()
    (folder / "bin" / "keystone-manage").write_text(MANAGE)
    (folder / "bin" / "keystone-manage").chmod(0o755)
    for name in hosts.names:
        hosts.path(name, "etc", "pymysql.py").write_text(PYMYSQL)
    clean(hosts)
    return hosts


def clean(hosts: Hosts) -> None:
    """No host has a key."""
    hosts.stop()
    for name in hosts.names:
        hosts.environment[name] = {"USERS": "0"}
        for path in (hosts.path(name, "log"), hosts.path(name, "manage.log")):
            path.unlink(missing_ok=True)
        for kind in ("fernet", "credential"):
            lose(hosts, name, kind)


def repository(hosts: Hosts, name: str, kind: str = "fernet") -> Path:
    return hosts.path(name, "etc", f"{kind}-keys")


def lose(hosts: Hosts, name: str, kind: str) -> None:
    folder = repository(hosts, name, kind)
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        if path.is_file():
            path.unlink()


@pytest.fixture
def region(installed: Hosts) -> Iterator[Hosts]:
    """Three hosts without keys; nothing runs."""
    clean(installed)
    yield installed
    installed.stop()


@pytest.fixture
def running(region: Hosts) -> Hosts:
    """Three hosts with the same keys, served."""
    for kind in ("fernet", "credential"):
        assert region.run("ha-1", "keys.py", "setup", kind).returncode == 0
    for name in region.names:
        region.start(name, "keys.py", "serve")
        region.environment[name]["USERS"] = "1"
    eventually(lambda: same(region) and same(region, "credential"))
    return region


def keys(hosts: Hosts, name: str, kind: str = "fernet") -> dict[int, str]:
    return {int(p.name): p.read_text() for p in repository(hosts, name, kind).iterdir() if p.name.isdecimal()}


def same(hosts: Hosts, kind: str = "fernet") -> bool:
    first, *others = (keys(hosts, name, kind) for name in hosts.names)
    return bool(first) and all(o == first for o in others)


def token(found: dict[int, str]) -> bytes:
    """Signed as Keystone does: by the key of the highest index."""
    return Fernet(found[max(found)]).encrypt(b"token")


def valid(found: dict[int, str], signed: bytes) -> bool:
    try:
        return MultiFernet([Fernet(k) for k in found.values()]).decrypt(signed) == b"token"
    except InvalidToken:
        return False


def grow_old(hosts: Hosts, seconds: float, *names: str) -> None:
    for name in names or hosts.names:
        for path in repository(hosts, name).iterdir():
            if path.is_file():
                os.utime(path, (time.time() - seconds,) * 2)


def grow_older(hosts: Hosts, seconds: float) -> None:
    """Each key by that, so that the times between rotations stay."""
    for name in hosts.names:
        for path in repository(hosts, name).iterdir():
            if path.is_file():
                os.utime(path, (path.stat().st_mtime - seconds,) * 2)


def manage(hosts: Hosts, name: str) -> list[str]:
    path = hosts.path(name, "manage.log")
    return path.read_text().split() if path.exists() else []


def check(hosts: Hosts, name: str) -> str:
    """Empty: healthy."""
    result = hosts.run(name, "keys.py", "check")
    assert (result.returncode == 0) == (not result.stderr)
    return result.stderr.strip()


# ---- (a) a new region


def test_in_a_new_region_the_first_host_makes_keys_and_the_others_fetch_them(region: Hosts) -> None:
    for name in ("ha-2", "ha-3"):
        region.start(name, "keys.py", "serve")
    eventually(lambda: "no fernet keys" in region.log("ha-3"))
    assert "no fernet keys" in check(region, "ha-3")
    for kind in ("fernet", "credential"):
        done = region.run("ha-1", "keys.py", "setup", kind)
        assert (done.returncode, done.stdout) == (0, f"{kind} keys: version 1\n"), done.stderr
    region.start("ha-1", "keys.py", "serve")
    eventually(lambda: same(region) and same(region, "credential"))
    assert sorted(keys(region, "ha-3")) == sorted(keys(region, "ha-3", "credential")) == [0, 1]
    assert keys(region, "ha-3") != keys(region, "ha-3", "credential")
    assert [manage(region, n) for n in region.names] == [["fernet_setup", "credential_setup"], [], []]
    for name in region.names:
        assert check(region, name) == ""
        for path in (*repository(region, name).iterdir(), *repository(region, name, "credential").iterdir()):
            if path.is_file():
                assert stat.S_IMODE(path.stat().st_mode) == 0o600
    logs = "".join(region.log(n) for n in region.names)
    for kind in ("fernet", "credential"):
        assert not any(key in logs for key in keys(region, "ha-1", kind).values())


def test_another_host_never_makes_keys(region: Hosts) -> None:
    done = region.run("ha-2", "keys.py", "setup", "fernet")
    assert (done.returncode, keys(region, "ha-2"), manage(region, "ha-2")) == (1, {}, [])
    assert done.stderr == "no fernet keys are made: ha-1 makes the keys, and no host has any to fetch\n"


def test_setup_again_leaves_keys_alone(running: Hosts) -> None:
    before = keys(running, "ha-1")
    assert running.run("ha-1", "keys.py", "setup", "fernet").returncode == 0
    assert keys(running, "ha-1") == before
    assert manage(running, "ha-1") == ["fernet_setup", "credential_setup"]


def test_one_control_host_makes_its_keys_without_asking_anybody(tmp_path: Path) -> None:
    hosts = make(tmp_path, "testbed")
    (name,) = hosts.names
    hosts.environment[name]["USERS"] = "?"
    for kind in ("fernet", "credential"):
        assert hosts.run(name, "keys.py", "setup", kind).returncode == 0
    hosts.start(name, "keys.py", "serve")
    try:
        eventually(lambda: check(hosts, name) == "")
        before = keys(hosts, name)
        grow_old(hosts, PERIOD + 1)
        eventually(lambda: max(keys(hosts, name)) == 2 and 0 in keys(hosts, name))
        assert valid(keys(hosts, name), token(before))
        assert check(hosts, name) == ""
    finally:
        hosts.stop()


# ---- (b) a first host that lost its disk


def test_a_first_host_that_lost_its_keys_fetches_them(running: Hosts) -> None:
    before = keys(running, "ha-1")
    running.stop("ha-1")
    lose(running, "ha-1", "fernet")
    done = running.run("ha-1", "keys.py", "setup", "fernet")
    assert (done.returncode, keys(running, "ha-1")) == (0, before)
    lose(running, "ha-1", "credential")
    running.start("ha-1", "keys.py", "serve")
    eventually(lambda: same(running, "credential"))
    assert manage(running, "ha-1") == ["fernet_setup", "credential_setup"]


@pytest.mark.parametrize(
    ("users", "reason"),
    [
        ("1", "Keystone has users already, so ha-2, ha-3 may have keys, but keystone_fernet does not run there"),
        ("?", "whether Keystone has users is not known, so ha-2, ha-3 may have keys"),
    ],
)
def test_it_makes_none_while_the_hosts_with_keys_are_stopped(users: str, reason: str, running: Hosts) -> None:
    running.stop()
    lose(running, "ha-1", "fernet")
    running.environment["ha-1"]["USERS"] = users
    done = running.run("ha-1", "keys.py", "setup", "fernet")
    assert (done.returncode, keys(running, "ha-1")) == (1, {})
    assert reason in done.stderr


def test_it_makes_none_while_a_host_cannot_be_asked(region: Hosts) -> None:
    # A stopped process accepts connections and never answers.
    region.start("ha-2", "keys.py", "serve")
    eventually(lambda: "no fernet keys" in region.log("ha-2"))
    os.kill(region.running["ha-2"].pid, 19)
    done = region.run("ha-1", "keys.py", "setup", "fernet")
    assert (done.returncode, keys(region, "ha-1")) == (1, {})
    assert "ha-2 may have keys and cannot be asked" in done.stderr


def test_all_keys_lost_is_for_the_operator_to_say(tmp_path: Path) -> None:
    hosts = make(tmp_path, "testbed-ha", keystone_keys_all_lost=True)
    hosts.environment["ha-1"]["USERS"] = "1"
    assert hosts.run("ha-1", "keys.py", "setup", "fernet").returncode == 0
    assert sorted(keys(hosts, "ha-1")) == [0, 1]


# ---- (c) rotation


def test_a_rotation_reaches_all_hosts_and_every_token_stays_valid(running: Hosts) -> None:
    before = keys(running, "ha-1")
    old = token(before)
    grow_old(running, PERIOD + 1)
    watched: list[bool] = []

    def rotated() -> bool:
        # Whatever a host signs with at this moment, the others accept.
        now = {name: keys(running, name) for name in running.names}
        watched.append(all(valid(mine, token(theirs)) for mine in now.values() for theirs in now.values()))
        return all(max(k) == 2 for k in now.values()) and same(running)

    eventually(rotated)
    assert all(watched)
    after = keys(running, "ha-3")
    assert sorted(after) == [0, 1, 2]
    assert after[2] == before[0]
    assert valid(after, old)
    assert [manage(running, n).count("fernet_rotate") for n in running.names] == [1, 0, 0]
    for _ in range(3):
        grow_older(running, PERIOD + 1)
        version = max(keys(running, "ha-1"))
        eventually(lambda v=version: max(keys(running, "ha-3")) == v + 1 and same(running))  # type: ignore[misc]
    assert sorted(keys(running, "ha-3")) == [0, 3, 4, 5], "as many as Keystone keeps"


def test_a_host_that_is_away_defers_the_rotation(running: Hosts) -> None:
    running.stop("ha-3")
    grow_old(running, 2 * PERIOD + 1)
    eventually(lambda: "a rotation is due and waits: ha-3 refuses the connection" in running.log("ha-1"))
    time.sleep(1)
    assert max(keys(running, "ha-1")) == 1
    assert check(running, "ha-1") == "", "a host that is away is its own trouble, not this one's"
    running.start("ha-3", "keys.py", "serve")
    eventually(lambda: max(keys(running, "ha-3")) == 2 and same(running))
    assert running.log("ha-1").count("a rotation is due and waits") == 1


def test_a_key_that_tokens_need_defers_the_rotation(running: Hosts) -> None:
    """After rotations by hand, which were close together."""
    signed = token(keys(running, "ha-1"))
    for _ in range(2):
        assert running.run("ha-1", "keys.py", "rotate", "fernet").returncode == 0
    assert len(keys(running, "ha-1")) == 4, "as many as Keystone keeps"
    refused = running.run("ha-1", "keys.py", "rotate", "fernet")
    assert "the oldest key opens valid tokens until" in refused.stderr
    grow_older(running, PERIOD + 1)
    eventually(lambda: "waits: the oldest key opens valid tokens until" in running.log("ha-1"))
    time.sleep(1)
    assert valid(keys(running, "ha-2"), signed)
    assert running.log("ha-1").count("a rotation is due and waits") == 1
    grow_older(running, PERIOD + 1)
    eventually(lambda: max(keys(running, "ha-3")) == 4 and same(running))


def test_a_host_without_the_next_key_defers_the_rotation(running: Hosts) -> None:
    running.stop("ha-2")
    staged = repository(running, "ha-2") / "0"
    staged.write_text(Fernet.generate_key().decode())
    # In the place of ha-2's, one that serves and never mends itself.
    script = running.path("ha-2", "etc", "stuck.py")
    script.write_text(SERVE + "own.peers.serve(own.settings.port, keys.Keeper(own).answer)\ntime.sleep(60)\n")
    running.start("ha-2", "stuck.py")
    grow_old(running, PERIOD + 1)
    eventually(lambda: "a rotation is due and waits: ha-2 has" in running.log("ha-1"))
    time.sleep(1)
    assert max(keys(running, "ha-1")) == 1


def test_an_overdue_rotation_is_told(running: Hosts) -> None:
    running.stop("ha-1")
    grow_old(running, 2 * PERIOD + 60)
    running.environment["ha-1"]["PATH"] = "/nowhere"
    running.start("ha-1", "keys.py", "serve")
    eventually(lambda: "the last rotation was" in check(running, "ha-1"))
    assert check(running, "ha-2") == "", "only the host that rotates"


def test_the_time_of_the_last_rotation_survives_a_lost_disk(running: Hosts) -> None:
    grow_old(running, PERIOD - 1000)
    running.stop("ha-1")
    lose(running, "ha-1", "fernet")
    running.start("ha-1", "keys.py", "serve")
    eventually(lambda: same(running))
    shown = json.loads(running.run("ha-1", "keys.py", "status").stdout)
    assert shown["rotated_seconds_ago"] == pytest.approx(PERIOD - 1000, abs=60)


# ---- (d) out of step


def test_an_older_set_is_replaced(running: Hosts) -> None:
    running.stop("ha-3")
    grow_old(running, PERIOD - 1)
    running.stop("ha-1", "ha-2")
    wanted = {**keys(running, "ha-1"), 2: keys(running, "ha-1")[0], 0: Fernet.generate_key().decode()}
    for name in ("ha-1", "ha-2"):
        for index, key in wanted.items():
            (repository(running, name) / str(index)).write_text(key)
    for name in running.names:
        running.start(name, "keys.py", "serve")
    eventually(lambda: "fernet keys: version 1 -> 2, from ha-" in running.log("ha-3"))
    assert keys(running, "ha-3") == wanted


@pytest.mark.parametrize("odd", ["ha-1", "ha-2"])
def test_other_keys_of_the_same_version_are_replaced_by_what_most_hold(odd: str, running: Hosts) -> None:
    wanted = keys(running, "ha-3")
    running.stop(odd)
    for index in wanted:
        (repository(running, odd) / str(index)).write_text(Fernet.generate_key().decode())
    running.start(odd, "keys.py", "serve")
    eventually(lambda: keys(running, odd) == wanted)
    time.sleep(1)
    assert same(running)
    assert keys(running, "ha-3") == wanted


@pytest.mark.parametrize("harm", ["", "half a ke", None])
def test_a_damaged_set_is_replaced(harm: str | None, running: Hosts) -> None:
    wanted = keys(running, "ha-2")
    if harm is None:
        (repository(running, "ha-1") / "0").unlink()
    else:
        (repository(running, "ha-1") / "1").write_text(harm)
    eventually(lambda: keys(running, "ha-1") == wanted)
    assert same(running)


def test_an_interrupted_replacement_is_finished(running: Hosts) -> None:
    running.stop("ha-2")
    ((repository(running, "ha-2") / ".incoming") / "0").write_text("half")
    lose(running, "ha-2", "fernet")
    running.start("ha-2", "keys.py", "serve")
    eventually(lambda: same(running))


# ---- (e) what an operator sees


def test_a_host_that_stays_out_of_step_is_told_after_a_while(running: Hosts) -> None:
    running.stop("ha-1")
    for index, key in {2: keys(running, "ha-1")[0], 0: Fernet.generate_key().decode()}.items():
        (repository(running, "ha-1") / str(index)).write_text(key)
    # ha-1 announces the newer keys and does not hand them out.
    script = running.path("ha-1", "etc", "mean.py")
    script.write_text(
        SERVE + "keeper = keys.Keeper(own)\n"
        "own.peers.serve(own.settings.port, lambda m, p: None if 'keys' in p else keeper.answer(m, p))\n"
        "time.sleep(60)\n"
    )
    running.start("ha-1", "mean.py")
    eventually(lambda: "fernet keys of version 1, ha-1 has 2" in running.log("ha-2"))
    told = r"fernet keys of version 1, ha-1 has 2.*, for (\d+) s"
    eventually(lambda: re.search(told, check(running, "ha-2")))
    found = re.search(told, check(running, "ha-2"))
    assert found and int(found[1]) >= 2, "it was told at once"
    running.stop("ha-1")
    running.start("ha-1", "keys.py", "serve")
    eventually(lambda: check(running, "ha-2") == "" and same(running))


def test_the_status_of_all_hosts(running: Hosts) -> None:
    running.stop("ha-3")
    shown = json.loads(running.run("ha-2", "keys.py", "status").stdout)
    assert shown["hosts"]["ha-1"] == shown["hosts"]["ha-2"]
    assert shown["hosts"]["ha-1"]["fernet"]["version"] == 1
    assert shown["hosts"]["ha-3"] == {"error": "ha-3 refuses the connection"}
    assert check(running, "ha-3") == "ha-3 refuses the connection"


# ---- decisions, in tables


@pytest.mark.parametrize(
    ("states", "holders"),
    [
        ("", ""),
        ("a0x", ""),  # damaged
        ("a1x", "a"),
        ("a1x b1x c1x", "a b c"),
        ("a2y b1x c1x", "a"),  # the newest, though one has it
        ("a1x b2y c1x", "b"),
        ("a1y b1x c1x", "b c"),  # the rotating host is outvoted
        ("a1x b1y c1z", "a"),  # a tie: the rotating host
        ("b1y c1x", "b"),  # a tie without it
        ("c1x b1y", "b"),
        ("a0x b1y c1z", "b"),
        ("a3x b3y c3y", "b c"),
        ("a3x b3y c2y", "a"),
    ],
)
def test_source(states: str, holders: str) -> None:
    """host, version (0: damaged), content."""
    made = {s[0]: keyset.State(2, int(s[1]), s[2], s[1] != "0") for s in states.split()}
    assert keyset.source(made, ["a", "b", "c"]) == holders.split()


@pytest.mark.parametrize(
    ("own", "b", "c", "users", "may"),
    [
        ("a", "none", "none", False, True),
        ("a", "none", "none", True, True),  # everybody said that there are none
        ("a", "none", "none", None, True),
        ("a", "refused", "none", False, True),
        ("a", "refused", "refused", False, True),
        ("a", "refused", "none", True, False),
        ("a", "refused", "refused", None, False),
        ("a", "away", "none", False, False),
        ("a", "away", "refused", False, False),
        ("a", "damaged", "none", False, False),
        ("b", "none", "none", False, False),
    ],
)
def test_may_create(own: str, b: str, c: str, users: bool | None, may: bool) -> None:
    kinds: dict[str, keyset.State | Exception] = {
        "none": keyset.State(0, -1, "", False),
        "damaged": keyset.State(1, 1, "x", False),
        "refused": peers.RefusedError("x"),
        "away": peers.UnreachableError("x"),
    }
    assert (keyset.may_create(own, "a", {"b": kinds[b], "c": kinds[c]}, users) == "") is may


def test_an_operator_rotates_now(running: Hosts) -> None:
    before = keys(running, "ha-1", "credential")
    assert running.run("ha-1", "keys.py", "rotate", "credential").returncode == 0
    # it came back when every host had them
    after = [keys(running, n, "credential") for n in running.names]
    assert after[0] == after[1] == after[2]
    assert max(after[0]) == max(before) + 1
    assert after[0][max(after[0])] == before[0]
    # what was encrypted with the old key is encrypted anew
    assert manage(running, "ha-1")[-2:] == ["credential_rotate", "credential_migrate"]


def test_a_rotation_by_hand_is_refused_where_it_would_harm(running: Hosts) -> None:
    before = keys(running, "ha-1")
    elsewhere = running.run("ha-2", "keys.py", "rotate", "fernet")
    assert (elsewhere.returncode, "rotated on ha-1" in elsewhere.stderr) == (1, True)
    running.stop("ha-3")
    alone = running.run("ha-1", "keys.py", "rotate", "fernet")
    assert alone.returncode == 1
    assert "no fernet keys are rotated: ha-3" in alone.stderr
    assert keys(running, "ha-1") == before


@pytest.mark.parametrize(
    ("made", "most", "left"),
    [
        # there is room for one more
        ({1: 0, 2: 900, 0: 990}, 4, 0),
        # key 1 signed until key 2 did, which was when key 3 was made, 600 s ago
        ({1: 0, 2: 100, 3: 400, 0: 900}, 4, 400),
        ({1: 0, 2: 100, 3: -100, 0: 900}, 4, -100),
        # key 1 signed until key 2 did, when the one that stands by was made
        ({1: 0, 2: 100, 0: 700}, 3, 700),
        # key 1 signs
        ({1: 0, 0: 100}, 2, 1000),
    ],
)
def test_a_key_is_kept_as_long_as_tokens_need_it(made: dict[int, float], most: int, left: float) -> None:
    present = keyset.KeySet(dict.fromkeys(made, "k"), made)
    assert keyset.needed_for(present, most, 1000, 1000) == left
