#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Synchronises Keystone's keys between the control hosts: keys that sign tokens (fernet) or encrypt credentials.

  keys.py serve           serves this host's keys, fetches newer ones, rotates on the first control host
  keys.py setup <kind>    creates the first keys of a new region, or fetches them from a host that has them
  keys.py rotate <kind>   rotates now, on the first control host, and waits until every host has the new key
  keys.py check           exits 0 if this host's keys exist and are up to date
  keys.py status          prints the versions on all hosts as JSON

Keys are only fetched, never pushed: an outdated host repairs itself, and cannot damage another one.
"""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from keyset import KeySet, State, hold, locked, may_create, needed_for, read, settle, source, write
from peers import Json, Peers, RefusedError, UnreachableError, log

KINDS = ("fernet", "credential")


@dataclass(frozen=True)
class Settings:
    """keys.json. Times are in seconds."""

    port: int  # of the exchange between control hosts
    period: int  # of the rotation
    lifetime: int  # of a token
    all_lost: bool  # the operator confirms that no host has keys any more
    interval: float = 10  # between two comparisons with the other hosts
    retry: float = 2  # the same on a host with outdated keys
    patience: float = 60  # for which this host's keys may be outdated
    setup_timeout: float = 60  # for which a setup waits for the other hosts
    folder: str = "/etc/keystone"  # of keystone.conf and of the repositories

    @property
    def most(self) -> int:
        """Number of keys that Keystone keeps, as in keystone.conf: enough for the rotations in a token's lifetime."""
        return -(-self.lifetime // self.period) + 2


def manage(command: str) -> None:
    """Run keystone-manage as the current user.

    :raises subprocess.SubprocessError: it failed or hangs
    """
    owner = ("--keystone-user", "keystone", "--keystone-group", "keystone")
    subprocess.run(["keystone-manage", command, *owner], check=True, timeout=120)


# ---- this host's keys and the other hosts'


class Keys:
    """The keys of this host, and the states of the other hosts' keys."""

    def __init__(self, settings: Settings, peers: Peers) -> None:
        self.settings, self.peers = settings, peers

    @classmethod
    def read(cls, folder: Path) -> "Keys":
        """Read the rendered settings in a folder.

        :raises OSError: they cannot be read
        """
        settings = Settings(**json.loads((folder / "keys.json").read_text(encoding="utf-8")))
        return cls(settings, Peers.read(folder / "peers.json"))

    def repository(self, kind: str) -> Path:
        """The folder of the keys of one kind."""
        return Path(self.settings.folder) / f"{kind}-keys"

    def own(self, kind: str) -> KeySet:
        """This host's keys of one kind."""
        with locked(self.repository(kind)):
            return read(self.repository(kind))

    def ask_states(self, kind: str) -> dict[str, State | Exception]:
        """The states of all other hosts' keys of one kind, or the errors."""
        answers = self.peers.ask_all(self.settings.port, "/state")
        return {name: parse(name, kind, answer) for name, answer in answers.items()}

    def fetch(self, kind: str, name: str, announced: State) -> KeySet:
        """A host's keys.

        :raises RefusedError, UnreachableError: it does not return the announced keys
        """
        answer = self.peers.ask(name, self.settings.port, f"/keys/{kind}") or {}
        try:
            keys = {int(index): str(key) for index, key in answer["keys"].items()}
            fetched = KeySet(keys, {int(index): float(made) for index, made in answer["made"].items()})
        except (KeyError, ValueError, AttributeError):
            raise UnreachableError(f"{name}: not a set of keys") from None
        if fetched.state != announced:
            raise UnreachableError(f"{name}: its {kind} keys changed meanwhile")
        return fetched

    def take(self, kind: str, own: State, answers: Mapping[str, State | Exception]) -> str:
        """Fetch the right set of keys if this host has another one. Returns the problem; empty without one."""
        states = {name: answer for name, answer in answers.items() if isinstance(answer, State)} | {self.peers.own: own}
        holders = source(states, list(self.peers.members))
        if not holders:
            return f"{kind} keys are damaged" if own.count else f"no {kind} keys, here or on a host that answers"
        if self.peers.own in holders:
            return ""
        wanted, failure = states[holders[0]], ""
        for name in holders:
            try:
                fetched = self.fetch(kind, name, wanted)
            except (RefusedError, UnreachableError) as error:
                failure = str(error)
                continue
            with locked(self.repository(kind)):
                write(self.repository(kind), fetched)
            log(f"{kind} keys: version {own.version} -> {wanted.version}, from {name}")
            return ""
        return f"{kind} keys of version {own.version}, {holders[0]} has {wanted.version}: {failure}"

    def held(self, kind: str) -> str:
        """The reason why keys must not be rotated now; empty if they may. The caller holds their lock."""
        present = read(self.repository(kind))
        if reason := hold(present.state, self.ask_states(kind)):
            return reason
        # earlier rotations, also those by hand, may have been close together
        now = time.time()
        left = needed_for(present, self.settings.most, self.settings.lifetime, now) if kind == "fernet" else 0
        until = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(round(now + left)))
        return f"the oldest key opens valid tokens until {until}" if left > 0 else ""

    def has_users(self) -> bool | None:
        """Whether Keystone has been in use: the administrator is created after the keys. None: unknown."""
        # not needed by health checks, which are faster without them
        import database
        import pymysql

        if self.settings.all_lost:
            return False
        try:
            return bool(database.rows(f"{self.settings.folder}/keystone.conf", "SELECT 1 FROM local_user LIMIT 1"))
        except pymysql.MySQLError as error:
            log(f"database: {error}")
            return None


def parse(name: str, kind: str, answer: Json | Exception) -> State | Exception:
    """The state of one kind in a host's response to /state."""
    if isinstance(answer, Exception):
        return answer
    try:
        return State(**answer[kind])
    except (KeyError, TypeError):
        return UnreachableError(f"{name}: an answer of another version")


# ---- the server


class Keeper:
    """This host's keys: served, kept up to date, and rotated on the first control host."""

    def __init__(self, keys: Keys) -> None:
        self.keys, self.settings, self.peers = keys, keys.settings, keys.peers
        self.wake = threading.Event()
        self.wrong: dict[str, tuple[str, float]] = {}  # kind: problem, since when
        self.waiting = ""  # why a due rotation waits
        self.alone: list[str] = []  # hosts that did not answer
        self.looked = time.monotonic()

    def answer(self, method: str, path: str) -> Json | None:
        match method, path.strip("/").split("/"):
            case "GET", ["state"]:
                return {kind: asdict(self.keys.own(kind).state) for kind in KINDS}
            case "GET", ["keys", kind] if kind in KINDS:
                own = self.keys.own(kind)
                return {"keys": own.keys, "made": own.made}
            case "GET", ["health"]:
                return {"problems": self.problems()}
            case "POST", ["news"]:
                self.wake.set()
                return {}
        return None

    def run(self) -> None:
        """Run forever."""
        while True:
            # news from another host that arrive from now on trigger the next comparison
            self.wake.clear()
            try:
                self.look()
            except (OSError, subprocess.SubprocessError) as error:
                log(f"failed: {error}")
            self.wake.wait(self.settings.retry if self.wrong else self.settings.interval)

    def look(self) -> None:
        """Compare with the other hosts once, fetch newer keys, and rotate if due."""
        answers = self.peers.ask_all(self.settings.port, "/state")
        for kind in KINDS:
            states = {name: parse(name, kind, answer) for name, answer in answers.items()}
            self.note(kind, self.keys.take(kind, self.keys.own(kind).state, states))
        self.alone = [name for name, answer in answers.items() if isinstance(answer, Exception)]
        if self.peers.own == self.peers.first and self.keys.own("fernet").age(time.time()) >= self.settings.period:
            self.rotate()
        self.looked = time.monotonic()

    def note(self, kind: str, wrong: str) -> None:
        known, since = self.wrong.get(kind, ("", time.monotonic()))
        if wrong != known:
            log(wrong or f"{kind} keys are up to date")
        self.wrong.pop(kind, None)
        if wrong:
            self.wrong[kind] = wrong, since

    def rotate(self) -> None:
        """Rotate: the next key, which every host has, signs from now on, and a new key becomes the next one."""
        repository = self.keys.repository("fernet")
        with locked(repository):
            reason = self.keys.held("fernet")
            if not reason:
                manage("fernet_rotate")
                settle(repository)
                log(f"rotated: version {read(repository).state.version} signs")
        if reason and reason != self.waiting:
            log(f"a rotation is due and waits: {reason}")
        self.waiting = reason
        if not reason:
            self.peers.ask_all(self.settings.port, "/news", "POST")

    def problems(self) -> list[str]:
        """Problems that need the operator's attention."""
        now = time.monotonic()
        problems = []
        for kind in KINDS:
            wrong, since = self.wrong.get(kind, ("", now))
            if not read(self.keys.repository(kind)).state.sound:
                problems.append(wrong or f"{kind} keys are missing or damaged")
            elif now - since > self.settings.patience:
                problems.append(f"{wrong}, for {now - since:.0f} s")
        # the longest comparison: both hosts time out at every step
        if now - self.looked > self.settings.patience + 120:
            problems.append(f"the last look at the other hosts was {now - self.looked:.0f} s ago")
        age = read(self.keys.repository("fernet")).age(time.time())
        if self.peers.own == self.peers.first and age >= 2 * self.settings.period and not self.alone:
            late = f"the last rotation was {age:.0f} s ago, the period is {self.settings.period} s"
            problems.append(f"{late}: {self.waiting}" if self.waiting else late)
        return problems


# ---- commands


def serve(keys: Keys) -> None:
    keeper = Keeper(keys)
    keys.peers.serve(keys.settings.port, keeper.answer)
    log(f"keys of {keys.peers.own} are served to {', '.join(keys.peers.others) or 'no other host'}")
    keeper.run()


def setup(keys: Keys, kind: str) -> None:
    """Create or fetch the keys of one kind. Fails if it must not create them."""
    present, deadline, said = keys.own(kind).state, time.monotonic() + keys.settings.setup_timeout, ""
    while not present.count:
        answers = keys.ask_states(kind)
        if any(isinstance(a, State) and a.sound for a in answers.values()):
            refusal = keys.take(kind, present, answers)
        else:
            refusal = may_create(keys.peers.own, keys.peers.first, answers, keys.has_users() if answers else False)
            if not refusal:
                with locked(keys.repository(kind)):
                    manage(f"{kind}_setup")
                    settle(keys.repository(kind))
        present = keys.own(kind).state
        if not present.count:
            if time.monotonic() > deadline:
                sys.exit(f"no {kind} keys are made: {refusal}")
            if refusal != said:
                log(f"waiting: {refusal}")
            said = refusal
            time.sleep(keys.settings.retry)
    log(f"{kind} keys: version {present.version}")


def rotate(keys: Keys, kind: str) -> None:
    """Rotate, and wait until all hosts use the new key. Fails without changes if it must not rotate."""
    if keys.peers.own != keys.peers.first:
        sys.exit(f"keys are rotated on {keys.peers.first}")
    repository = keys.repository(kind)
    with locked(repository):
        if reason := keys.held(kind):
            sys.exit(f"no {kind} keys are rotated: {reason}")
        manage(f"{kind}_rotate")
        settle(repository)
    keys.peers.ask_all(keys.settings.port, "/news", "POST")
    deadline = time.monotonic() + keys.settings.setup_timeout
    while behind := hold(keys.own(kind).state, keys.ask_states(kind)):
        if time.monotonic() > deadline:
            sys.exit(f"{kind} keys are rotated here only yet: {behind}")
        time.sleep(keys.settings.retry)
    if kind == "credential":
        # the next rotation drops the key that encrypts the credentials now
        manage("credential_migrate")
    log(f"rotated: version {keys.own(kind).state.version} of {kind} keys, on every host")


def check(keys: Keys) -> None:
    try:
        answer = keys.peers.ask(keys.peers.own, keys.settings.port, "/health") or {}
    except (RefusedError, UnreachableError) as error:
        sys.exit(str(error))
    if answer.get("problems"):
        sys.exit("; ".join(answer["problems"]))


def status(keys: Keys) -> None:
    mine = {kind: asdict(keys.own(kind).state) for kind in KINDS}
    answers = {keys.peers.own: mine, **keys.peers.ask_all(keys.settings.port, "/state")}
    age = keys.own("fernet").age(time.time())
    shown = {name: {"error": str(a)} if isinstance(a, Exception) else a for name, a in answers.items()}
    print(json.dumps({"hosts": shown, "rotated_seconds_ago": round(age), "period": keys.settings.period}, indent=2))


def main(arguments: list[str], folder: Path) -> None:
    """:param folder: of the rendered settings"""
    match arguments:
        case ["serve"]:
            serve(Keys.read(folder))
        case ["setup", kind] if kind in KINDS:
            setup(Keys.read(folder), kind)
        case ["rotate", kind] if kind in KINDS:
            rotate(Keys.read(folder), kind)
        case ["check"]:
            check(Keys.read(folder))
        case ["status"]:
            status(Keys.read(folder))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    try:
        main(sys.argv[1:], Path(__file__).parent)
    except (OSError, subprocess.SubprocessError) as failure:
        sys.exit(f"{sys.argv[0]}: {failure}")
