# SPDX-License-Identifier: Apache-2.0
"""Sets of Fernet keys: on disk, and the decisions about them. Keystone's layout: a file per key, named by its index.

Index 0 signs next, the highest one signs now, the others still open what they signed.
https://docs.openstack.org/keystone/latest/admin/fernet-token-faq.html
"""

import fcntl
import hashlib
import os
from base64 import urlsafe_b64decode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from peers import RefusedError


@dataclass(frozen=True)
class State:
    """What one may know of a set of keys without being shown a key."""

    count: int
    version: int  # index of the key that signs; every rotation adds one
    digest: str
    sound: bool  # each is a key, with the one that signs next (index 0) among them


@dataclass(frozen=True)
class KeySet:
    """The keys of one repository."""

    keys: dict[int, str] = field(repr=False)
    made: dict[int, float] = field(default_factory=dict)  # when, seconds since 1970

    @property
    def state(self) -> State:
        text = "\n".join(f"{index}:{self.keys[index]}" for index in sorted(self.keys))
        return State(
            count=len(self.keys),
            version=max(self.keys, default=-1),
            digest=hashlib.sha256(text.encode()).hexdigest() if self.keys else "",
            sound=0 in self.keys and len(self.keys) > 1 and all(map(is_key, self.keys.values())),
        )

    def age(self, now: float) -> float:
        """Seconds since the last rotation, which made the newest file."""
        return max(0.0, now - max(self.made.values(), default=now))


def is_key(text: str) -> bool:
    """Whether it is a Fernet key: 32 bytes, base64 (https://github.com/fernet/spec)."""
    try:
        return len(urlsafe_b64decode(text.encode())) == 32
    except ValueError:
        return False


def source(states: Mapping[str, State], order: list[str]) -> list[str]:
    """The hosts whose set all shall have: of the sound ones those of the highest version, of these the set that most
    hosts hold; among equals the one of the host that comes first in `order`. Empty: there is none.
    """
    sound = [name for name in order if name in states and states[name].sound]
    newest = max((states[name].version for name in sound), default=-1)
    holders: dict[str, list[str]] = {}
    for name in sound:
        if states[name].version == newest:
            holders.setdefault(states[name].digest, []).append(name)
    # max() keeps the first of equals, and the sets stand in the order of their first host
    return max(holders.values(), key=len, default=[])


def may_create(own: str, first: str, answers: Mapping[str, State | Exception], has_users: bool | None) -> str:
    """Why this host must not make the first keys of a region; empty: it may.

    :param answers: of every other host
    :param has_users: what Keystone's database says; None: not known
    """
    if own != first:
        return f"{first} makes the keys, and no host has any to fetch"
    silent = [n for n, a in answers.items() if isinstance(a, Exception) and not isinstance(a, RefusedError)]
    if silent:
        return f"{', '.join(silent)} may have keys and cannot be asked: {answers[silent[0]]}"
    damaged = [n for n, a in answers.items() if isinstance(a, State) and a.count]
    if damaged:
        return f"{', '.join(damaged)} has keys, but damaged ones"
    refusing = [n for n, a in answers.items() if isinstance(a, RefusedError)]
    if refusing and has_users is not False:
        what = "Keystone has users already" if has_users else "whether Keystone has users is not known"
        return f"{what}, so {', '.join(refusing)} may have keys, but keystone_fernet does not run there"
    return ""


def hold(own: State, answers: Mapping[str, State | Exception]) -> str:
    """Why no key may be rotated now; empty: every host has this very set, with the key that is to sign next."""
    if not own.sound:
        return "keys are missing or damaged"
    for name, answer in answers.items():
        if isinstance(answer, Exception):
            return str(answer)
        if answer.digest != own.digest:
            return f"{name} has version {answer.version}, here is {own.version}"
    return ""


def needed_for(present: KeySet, most: int, lifetime: float, now: float) -> float:
    """Seconds that the key which a rotation would drop is needed yet; at most 0: it drops none that is.

    :param most: keys that Keystone keeps
    :param lifetime: seconds that a token is accepted
    """
    if len(present.keys) < most:
        return 0
    # A key begins to stand by when the one before begins to sign: the oldest ended when the third one was made.
    order = [*sorted(i for i in present.keys if i), 0]
    ended = present.made.get(order[2], now) if len(order) > 2 else now
    return lifetime - (now - ended)


# ---- files


@contextmanager
def locked(repository: Path) -> Iterator[None]:
    """One writer or reader at a time, of all threads and containers of this host."""
    # A folder: Keystone reads every file beside its keys, also while it is being replaced.
    work = repository / ".incoming"
    work.mkdir(mode=0o700, exist_ok=True)
    with (work / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def read(repository: Path) -> KeySet:
    """The keys of this host."""
    keys, made = {}, {}
    for path in repository.iterdir():
        if path.name.isdecimal() and path.is_file():
            keys[int(path.name)] = path.read_text(encoding="utf-8", errors="replace").strip()
            made[int(path.name)] = path.stat().st_mtime
    return KeySet(keys, made)


def write(repository: Path, wanted: KeySet) -> None:
    """Make this host's keys the wanted ones. At any moment, all that it has of them opens what other hosts sign."""
    present = read(repository).keys
    # Index 0 last: on the other hosts, what it was signs already.
    for index in [*sorted(i for i in wanted.keys if i), 0]:
        if present.get(index) != wanted.keys[index]:
            new = repository / ".incoming" / str(index)
            new.unlink(missing_ok=True)
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
                stream.write(wanted.keys[index])
                stream.flush()
                os.fsync(stream.fileno())
            if index in wanted.made:
                os.utime(new, (wanted.made[index],) * 2)
            new.replace(repository / str(index))
    settle(repository)
    for index in set(present) - set(wanted.keys):
        (repository / str(index)).unlink()
    settle(repository)


def settle(repository: Path) -> None:
    """What is in the repository survives a power failure."""
    for path in (*(p for p in repository.iterdir() if p.name.isdecimal()), repository):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
