# SPDX-License-Identifier: Apache-2.0
"""Runs Ceph's tools for the programs beside this file."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from ceph_settings import CONF, say

CONNECT = 10
"""Seconds for a quorum to answer."""


class FailedError(Exception):
    """A tool failed; in its last words."""


def run(*command: str, given: str = "", timeout: float = 300) -> str:
    """What a command prints.

    :param given: its standard input: secrets are never arguments
    :raises FailedError: it fails, or takes too long
    """
    try:
        done = subprocess.run(command, input=given, capture_output=True, text=True, check=False, timeout=timeout)
    except subprocess.TimeoutExpired:
        raise FailedError(f"{command[0]}: no end after {timeout:.0f} s") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()
        raise FailedError(f"{command[0]}: {said[-1]}")
    return done.stdout


def ask(name: str, keyring: Path, *command: str, given: str = "") -> str:
    """What the monitors answer to a client.

    :raises FailedError: no quorum answers, or it refuses
    """
    client = ("ceph", "--conf", str(CONF / "ceph.conf"), "--name", name, "--keyring", str(keyring))
    return run(*client, "--connect-timeout", str(CONNECT), *command, given=given, timeout=CONNECT + 60)


def patiently(what: str, attempt: Callable[[], str], pause: float = 5) -> str:
    """The result of an attempt that is repeated until the monitors let it succeed; says what it waits for."""
    said = ""
    while True:
        try:
            return attempt()
        except FailedError as error:
            if str(error) != said:
                said = str(error)
                say(f"waits to {what}: {said}")
            time.sleep(pause)
