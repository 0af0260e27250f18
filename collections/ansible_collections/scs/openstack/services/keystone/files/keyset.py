# SPDX-License-Identifier: Apache-2.0
"""Sets of Fernet keys on disk, and the decisions about them. Keystone's layout has a file per key, named by its index.

The highest index signs now, index 0 signs next, and the others still decrypt what they signed.
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
    """A description of a set of keys that reveals none of them."""

    count: int
    version: int  # index of the key that signs; incremented by every rotation
    digest: str
    sound: bool  # all are valid keys, including the one that signs next (index 0)


@dataclass(frozen=True)
class KeySet:
    """The keys of one repository."""

    keys: dict[int, str] = field(repr=False)
    made: dict[int, float] = field(default_factory=dict)  # creation times, seconds since 1970

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
        """Seconds since the last rotation, which created the newest file."""
        return max(0.0, now - max(self.made.values(), default=now))


def is_key(text: str) -> bool:
    """Whether a text is a Fernet key: 32 bytes, base64 (https://github.com/fernet/spec)."""
    try:
        return len(urlsafe_b64decode(text.encode())) == 32
    except ValueError:
        return False


def source(states: Mapping[str, State], order: list[str]) -> list[str]:
    """The hosts that have the right set: the sound one with the highest version; if there are several, the one that
    most hosts have; if equal, that of the first host in `order`. Empty if there is none.
    """
    sound = [name for name in order if name in states and states[name].sound]
    newest = max((states[name].version for name in sound), default=-1)
    holders: dict[str, list[str]] = {}
    for name in sound:
        if states[name].version == newest:
            holders.setdefault(states[name].digest, []).append(name)
    # max() returns the first of equals, and the sets are in the order of their first host
    return max(holders.values(), key=len, default=[])


def may_create(own: str, first: str, answers: Mapping[str, State | Exception], has_users: bool | None) -> str:
    """The reason why this host must not create the first keys of a region; empty if it may.

    :param answers: of all other hosts
    :param has_users: according to Keystone's database; None: unknown
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
    """The reason why keys must not be rotated now; empty if every host has this set, with the key that signs next."""
    if not own.sound:
        return "keys are missing or damaged"
    for name, answer in answers.items():
        if isinstance(answer, Exception):
            return str(answer)
        if answer.digest != own.digest:
            return f"{name} has version {answer.version}, here is {own.version}"
    return ""


def needed_for(present: KeySet, most: int, lifetime: float, now: float) -> float:
    """Seconds for which the key that a rotation would drop is still needed; 0 or less: a rotation is safe.

    :param most: number of keys that Keystone keeps
    :param lifetime: of a token, in seconds
    """
    if len(present.keys) < most:
        return 0
    # a key is created when its predecessor starts to sign: the oldest one stopped when the third one was created
    order = [*sorted(i for i in present.keys if i), 0]
    ended = present.made.get(order[2], now) if len(order) > 2 else now
    return lifetime - (now - ended)


# ---- files


@contextmanager
def locked(repository: Path) -> Iterator[None]:
    """Exclusive access, among all threads and containers of this host."""
    # in a subfolder, because Keystone reads every file next to its keys, even temporary ones
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
    """Replace this host's keys. At any moment, the keys on disk decrypt what other hosts sign."""
    present = read(repository).keys
    # index 0 last: its old key already signs on the other hosts
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
    """Flush the repository to disk."""
    for path in (*(p for p in repository.iterdir() if p.name.isdecimal()), repository):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
