# SPDX-License-Identifier: Apache-2.0
"""Who may see the page: its password, sessions, and the pace of login attempts."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path

from pydantic import Field

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import Model, load_model
from scs_deploy.environment import sharing
from scs_deploy.environment.environment import Environment
from scs_deploy.secrets import vault

FILE = "page.json"
"""In the state folder; only its owner can read it."""

SHORTEST, LONGEST = 12, 1024
"""Characters of a password."""

COST, BLOCK, LANES = 2**15, 8, 1
"""Parameters of scrypt: 32 MiB and about a tenth of a second. RFC 7914; https://cheatsheetseries.owasp.org"""

LASTS = 8 * 3600.0
"""Seconds of a session."""

FREE, FIRST_DELAY, LONGEST_DELAY = 3, 2.0, 300.0
"""Failures of a client that cost no time; seconds that the next one costs, twice as many with each further one."""

CLIENTS, SESSIONS = 10_000, 1_000
"""How many are remembered; the oldest are forgotten first."""


class Password(Model):
    """The file: a salted hash."""

    cost: int = Field(ge=2**14, le=2**20)
    block: int = Field(ge=8, le=32)
    lanes: int = Field(ge=1, le=16)
    salt: str
    hash: str

    def fits(self, text: str) -> bool:
        """Whether this is the password."""
        found = _hash(text, bytes.fromhex(self.salt), self.cost, self.block, self.lanes)
        return hmac.compare_digest(found, bytes.fromhex(self.hash))


def file_of(environment: Environment) -> Path:
    """Where a region's password is."""
    return environment.state / FILE


def set_password(environment: Environment, text: str) -> Path:
    """Store the page's password as a hash. Open sessions end.

    :raises RefusedError: it is too short, or this user may not change the region
    """
    sharing.check_may_change(environment)
    if not SHORTEST <= len(text) <= LONGEST:
        raise RefusedError(f"the password must have {SHORTEST} to {LONGEST} characters", "choose a longer one")
    salt = secrets.token_bytes(16)
    hashed = _hash(text, salt, COST, BLOCK, LANES)
    made = Password(cost=COST, block=BLOCK, lanes=LANES, salt=salt.hex(), hash=hashed.hex())
    sharing.make_state(environment)
    vault.write(file_of(environment), made.model_dump_json() + "\n", mode=0o600)
    return file_of(environment)


def load_password(environment: Environment) -> Password | None:
    """The page's password; None: none is set.

    :raises RefusedError: the file has an error
    """
    file = file_of(environment)
    return load_model(Password, file) if file.is_file() else None


def _hash(text: str, salt: bytes, cost: int, block: int, lanes: int) -> bytes:
    return hashlib.scrypt(
        text.encode(), salt=salt, n=cost, r=block, p=lanes, maxmem=256 * cost * block, dklen=32
    )  # fmt: skip


class Sessions:
    """Who is logged in. In memory only: a restart ends all sessions.

    :param clock: seconds
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._guard = threading.Lock()
        self._open: dict[str, tuple[float, str]] = {}

    def begin(self, password: Password) -> str:
        """A new session's token."""
        token = secrets.token_urlsafe(32)
        with self._guard:
            while len(self._open) >= SESSIONS:
                del self._open[next(iter(self._open))]
            self._open[_digest(token)] = self._clock() + LASTS, password.salt
        return token

    def valid(self, token: str, password: Password | None) -> bool:
        """Whether a token is one of an open session that began with this password."""
        with self._guard:
            until, salt = self._open.get(_digest(token), (0.0, ""))
        return bool(token) and password is not None and salt == password.salt and self._clock() < until

    def end(self, token: str) -> None:
        """Log out."""
        with self._guard:
            self._open.pop(_digest(token), None)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


class Throttle:
    """Slows down clients that try passwords.

    :param clock: seconds
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._guard = threading.Lock()
        self._failed: dict[str, tuple[int, float]] = {}

    def wait(self, client: str) -> float:
        """Seconds until the client may try again; 0: it may."""
        with self._guard:
            _, until = self._failed.get(client, (0, 0.0))
        return max(until - self._clock(), 0.0)

    def failed(self, client: str) -> None:
        """It tried a wrong password."""
        with self._guard:
            count = self._failed.pop(client, (0, 0.0))[0] + 1
            while len(self._failed) >= CLIENTS:
                del self._failed[next(iter(self._failed))]
            exponent = min(count - FREE - 1, 20)
            delay = 0.0 if count <= FREE else min(FIRST_DELAY * 2**exponent, LONGEST_DELAY)
            self._failed[client] = count, self._clock() + delay

    def succeeded(self, client: str) -> None:
        """It knew the password."""
        with self._guard:
            self._failed.pop(client, None)
