#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Keystone's keys, the same on every control host: those that sign tokens (fernet) and encrypt credentials.

  keys.py serve           hands this host's keys to the others, takes theirs, rotates on the first control host
  keys.py setup <kind>    makes the first keys of a new region; takes them from another host when one has them
  keys.py rotate <kind>   rotates now, on the first control host, and waits until every host has the new key
  keys.py check           exits 0 when this host's keys are here and up to date
  keys.py status          versions on all hosts, as JSON

Keys only ever move by fetching: a host that is out of step mends itself, and cannot spoil another.
"""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import peers
from keyset import KeySet, State, hold, locked, may_create, needed_for, read, settle, source, write

REPOSITORIES = {"fernet": Path("/etc/keystone/fernet-keys"), "credential": Path("/etc/keystone/credential-keys")}
CONFIG = "/etc/keystone/keystone.conf"
PORT = 5009
PERIOD = 86400
# As in keystone.conf: a token must outlive the rotations of its lifetime.
LIFETIME = 176400
KEYS = -(-LIFETIME // PERIOD) + 2
ALL_LOST = False
INTERVAL = 10  # seconds between two looks at the other hosts
RETRY = 2  # the same, of a host that is out of step
PATIENCE = 60  # seconds that this host may be out of step
SETUP_TIMEOUT = 60  # seconds that a setup waits for the other hosts


def manage(command: str) -> None:
    """keystone-manage, as the user that runs this program.

    :raises subprocess.SubprocessError: it failed or hangs
    """
    owner = ("--keystone-user", "keystone", "--keystone-group", "keystone")
    subprocess.run(["keystone-manage", command, *owner], check=True, timeout=120)


# ---- other hosts


def ask_states(kind: str) -> "dict[str, State | Exception]":
    """What every other host has of one kind, or why it does not say."""
    return {name: parse(name, kind, answer) for name, answer in peers.ask_all(PORT, "/state").items()}


def parse(name: str, kind: str, answer: "dict | Exception") -> "State | Exception":
    if isinstance(answer, Exception):
        return answer
    try:
        return State(**answer[kind])
    except (KeyError, TypeError):
        return peers.Unreachable(f"{name}: an answer of another version")


def fetch(kind: str, name: str, announced: State) -> KeySet:
    """A host's keys.

    :raises peers.Refused, peers.Unreachable: it does not hand over what it announced
    """
    answer = peers.ask(name, PORT, f"/keys/{kind}") or {}
    try:
        keys = {int(index): str(key) for index, key in answer["keys"].items()}
        found = KeySet(keys, {int(index): float(made) for index, made in answer["made"].items()})
    except (KeyError, ValueError, AttributeError):
        raise peers.Unreachable(f"{name}: not a set of keys") from None
    if found.state != announced:
        raise peers.Unreachable(f"{name}: its {kind} keys changed meanwhile")
    return found


def take(kind: str, own: State, answers: "Mapping[str, State | Exception]") -> str:
    """Take the set that all shall have, when this host has another. Returns what is wrong then; empty: nothing."""
    states = {name: answer for name, answer in answers.items() if isinstance(answer, State)} | {peers.OWN: own}
    holders = source(states, list(peers.MEMBERS))
    if not holders:
        return f"{kind} keys are damaged" if own.count else f"no {kind} keys, here or on a host that answers"
    if peers.OWN in holders:
        return ""
    wanted, failure = states[holders[0]], ""
    for name in holders:
        try:
            found = fetch(kind, name, wanted)
        except (peers.Refused, peers.Unreachable) as error:
            failure = str(error)
            continue
        with locked(REPOSITORIES[kind]):
            write(REPOSITORIES[kind], found)
        peers.log(f"{kind} keys: version {own.version} -> {wanted.version}, from {name}")
        return ""
    return f"{kind} keys of version {own.version}, {holders[0]} has {wanted.version}: {failure}"


# ---- the server


class Keeper:
    """This host's keys: served, kept up to date, and rotated on the first control host."""

    def __init__(self) -> None:
        self.wake = threading.Event()
        self.wrong: dict[str, tuple[str, float]] = {}  # kind: what, since when
        self.waiting = ""  # why a rotation that is due waits
        self.alone: list[str] = []  # hosts that did not answer
        self.looked = time.monotonic()

    def answer(self, method: str, path: str) -> "dict | None":
        match method, path.strip("/").split("/"):
            case "GET", ["state"]:
                return {kind: asdict(own(kind).state) for kind in REPOSITORIES}
            case "GET", ["keys", kind] if kind in REPOSITORIES:
                found = own(kind)
                return {"keys": found.keys, "made": found.made}
            case "GET", ["health"]:
                return {"problems": self.problems()}
            case "POST", ["news"]:
                self.wake.set()
                return {}
        return None

    def run(self) -> None:
        """For ever."""
        while True:
            # Another host's news that come from here on wake the next look.
            self.wake.clear()
            try:
                self.look()
            except (OSError, subprocess.SubprocessError) as error:
                peers.log(f"failed: {error}")
            self.wake.wait(RETRY if self.wrong else INTERVAL)

    def look(self) -> None:
        """Compare with the other hosts once, mend, rotate."""
        answers = peers.ask_all(PORT, "/state")
        for kind in REPOSITORIES:
            self.note(kind, take(kind, own(kind).state, {n: parse(n, kind, a) for n, a in answers.items()}))
        self.alone = [name for name, answer in answers.items() if isinstance(answer, Exception)]
        if peers.OWN == peers.FIRST and own("fernet").age(time.time()) >= PERIOD:
            self.rotate()
        self.looked = time.monotonic()

    def note(self, kind: str, wrong: str) -> None:
        known, since = self.wrong.get(kind, ("", time.monotonic()))
        if wrong != known:
            peers.log(wrong or f"{kind} keys are up to date")
        self.wrong.pop(kind, None)
        if wrong:
            self.wrong[kind] = wrong, since

    def rotate(self) -> None:
        """The key that every host holds as the next one signs from now on, and a new one becomes the next."""
        repository = REPOSITORIES["fernet"]
        with locked(repository):
            reason = hold(read(repository).state, ask_states("fernet"))
            if not reason:
                manage("fernet_rotate")
                settle(repository)
                peers.log(f"rotated: version {read(repository).state.version} signs")
        if reason and reason != self.waiting:
            peers.log(f"a rotation is due and waits: {reason}")
        self.waiting = reason
        if not reason:
            peers.ask_all(PORT, "/news", "POST")

    def problems(self) -> "list[str]":
        """What an operator must know."""
        now = time.monotonic()
        found = []
        for kind, repository in REPOSITORIES.items():
            wrong, since = self.wrong.get(kind, ("", now))
            if not read(repository).state.sound:
                found.append(wrong or f"{kind} keys are missing or damaged")
            elif now - since > PATIENCE:
                found.append(f"{wrong}, for {now - since:.0f} s")
        # The longest look: both hosts hang at every step.
        if now - self.looked > PATIENCE + 120:
            found.append(f"the last look at the other hosts was {now - self.looked:.0f} s ago")
        age = read(REPOSITORIES["fernet"]).age(time.time())
        if peers.OWN == peers.FIRST and age >= 2 * PERIOD and not self.alone:
            late = f"the last rotation was {age:.0f} s ago, the period is {PERIOD} s"
            found.append(f"{late}: {self.waiting}" if self.waiting else late)
        return found


def own(kind: str) -> KeySet:
    with locked(REPOSITORIES[kind]):
        return read(REPOSITORIES[kind])


# ---- commands


def serve() -> None:
    keeper = Keeper()
    peers.serve(PORT, keeper.answer)
    peers.log(f"keys of {peers.OWN} are served to {', '.join(peers.PEERS) or 'nobody, there is one control host'}")
    keeper.run()


def setup(kind: str) -> None:
    """Exits when the keys of one kind are here, made or fetched; fails when it may not make any."""
    present, deadline, said = own(kind).state, time.monotonic() + SETUP_TIMEOUT, ""
    while not present.count:
        answers = ask_states(kind)
        if any(isinstance(a, State) and a.sound for a in answers.values()):
            refusal = take(kind, present, answers)
        else:
            refusal = may_create(peers.OWN, peers.FIRST, answers, has_users() if answers else False)
            if not refusal:
                with locked(REPOSITORIES[kind]):
                    manage(f"{kind}_setup")
                    settle(REPOSITORIES[kind])
        present = own(kind).state
        if not present.count:
            if time.monotonic() > deadline:
                sys.exit(f"no {kind} keys are made: {refusal}")
            if refusal != said:
                peers.log(f"waiting: {refusal}")
            said = refusal
            time.sleep(RETRY)
    peers.log(f"{kind} keys: version {present.version}")


def rotate(kind: str) -> None:
    """Exits when a new key is in use on all hosts; fails, with nothing changed, when it may not rotate."""
    if peers.OWN != peers.FIRST:
        sys.exit(f"keys are rotated on {peers.FIRST}")
    repository = REPOSITORIES[kind]
    with locked(repository):
        present = read(repository)
        reason = hold(present.state, ask_states(kind))
        if not reason and kind == "fernet" and (left := needed_for(present, KEYS, LIFETIME, time.time())) > 0:
            reason = f"the oldest key opens valid tokens for {left:.0f} s yet"
        if reason:
            sys.exit(f"no {kind} keys are rotated: {reason}")
        manage(f"{kind}_rotate")
        settle(repository)
    peers.ask_all(PORT, "/news", "POST")
    deadline = time.monotonic() + SETUP_TIMEOUT
    while behind := hold(own(kind).state, ask_states(kind)):
        if time.monotonic() > deadline:
            sys.exit(f"{kind} keys are rotated here only yet: {behind}")
        time.sleep(RETRY)
    if kind == "credential":
        # the next rotation drops the key that they are encrypted with
        manage("credential_migrate")
    peers.log(f"rotated: version {own(kind).state.version} of {kind} keys, on every host")


def has_users() -> "bool | None":
    """Whether Keystone has been in use: the administrator is made after the keys. None: the database does not say."""
    import database
    import pymysql

    if ALL_LOST:
        return False
    try:
        return bool(database.rows(CONFIG, "SELECT 1 FROM local_user LIMIT 1"))
    except pymysql.MySQLError as error:
        peers.log(f"database: {error}")
        return None


def check() -> None:
    try:
        answer = peers.ask(peers.OWN, PORT, "/health") or {}
    except (peers.Refused, peers.Unreachable) as error:
        sys.exit(str(error))
    if answer.get("problems"):
        sys.exit("; ".join(answer["problems"]))


def status() -> None:
    mine = {kind: asdict(own(kind).state) for kind in REPOSITORIES}
    answers = {peers.OWN: mine, **peers.ask_all(PORT, "/state")}
    age = own("fernet").age(time.time())
    shown = {name: {"error": str(a)} if isinstance(a, Exception) else a for name, a in answers.items()}
    print(json.dumps({"hosts": shown, "rotated_seconds_ago": round(age), "period": PERIOD}, indent=2))


def main(arguments: "list[str]") -> None:
    match arguments:
        case ["serve"]:
            serve()
        case ["setup", kind] if kind in REPOSITORIES:
            setup(kind)
        case ["rotate", kind] if kind in REPOSITORIES:
            rotate(kind)
        case ["check"]:
            check()
        case ["status"]:
            status()
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (OSError, subprocess.SubprocessError) as failure:
        sys.exit(f"{sys.argv[0]}: {failure}")
