# SPDX-License-Identifier: Apache-2.0
"""Timers of this manager: unit files, and the commands that make systemd read them.

Sources: systemd.unit(5), systemd.service(5), systemd.syntax(7), systemd-analyze(1).
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.base.files import replace

UNITS = Path("/etc/systemd/system")
RUNNING = Path("/run/systemd/system")
"""There while systemd is the machine's init. sd_booted(3)."""

INSTALL = "[Install]"
"""Section of a unit that starts with the machine."""

KEPT = ("SCS_ROOT", "SCS_ENVIRONMENTS", "DOCKER_HOST")
"""Environment variables of the installing command that its timer's runs need too."""


def quoted(text: str) -> str:
    """One word of a unit file: the path of a program, or an assignment. systemd expands no `$` in either."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%") + '"'


def assignments(variables: Mapping[str, str]) -> str:
    """Lines `Environment=` of a unit."""
    return "".join(f"Environment={quoted(f'{k}={v}')}\n" for k, v in sorted(variables.items()))


def variables() -> dict[str, str]:
    """Variables that a unit must set, because systemd starts it without this shell's environment."""
    return {k: os.environ[k] for k in KEPT if k in os.environ}


def program() -> str:
    """The path of scs.

    :raises ScsError: scs is not installed as a program
    """
    beside = Path(sys.executable).parent / "scs"
    found = str(beside) if beside.is_file() else shutil.which("scs")
    if not found:
        raise ScsError("the program scs is missing next to this Python", "make setup")
    return found


def next_elapse(expression: str, what: str, instead: str) -> str:
    """When a timer would run next, according to systemd.

    :param expression: as in OnCalendar=, e.g. `*-*-* 05:00`
    :param what: where the expression comes from, for errors
    :param instead: what to run with another scheduler
    :raises RefusedError: not a calendar expression, or this manager has no systemd
    """
    try:
        done = subprocess.run(["systemd-analyze", "calendar", expression], capture_output=True, text=True, timeout=30)
    except FileNotFoundError:
        raise RefusedError(
            "this manager has no systemd", f"run `{instead}` with another scheduler, e.g. cron"
        ) from None
    if done.returncode:
        said = " ".join(done.stderr.split())
        raise RefusedError(f"{what}'{expression}': {said}", 'see systemd.time(7), e.g. "*-*-* 05:00"')
    return next((w.strip() for line in done.stdout.splitlines() if (w := line.partition("Next elapse:")[2])), "")


def install(units: Mapping[str, str], instead: str, folder: Path = UNITS) -> list[Path]:
    """Write units, and start those that are to be started with the machine: timers, or services. Returns the files.

    :param units: file name: content
    :param instead: what to run with another scheduler
    :raises RefusedError: systemd is not running, or the user is not root
    :raises ScsError: systemctl failed
    """
    if not RUNNING.is_dir():
        raise RefusedError("systemd is not running", f"run `{instead}` with another scheduler, e.g. cron")
    written = []
    try:
        for name, text in units.items():
            replace(folder / name, text)
            (folder / name).chmod(0o644)
            written.append(folder / name)
    except OSError as error:
        raise RefusedError(f"{folder}: {error.strerror}", "run as root") from None
    _systemctl("daemon-reload")
    for name in (n for n, text in units.items() if INSTALL in text):
        if name.endswith(".service"):
            _systemctl("enable", name)
            # one that runs already takes its new unit
            _systemctl("restart", name)
        else:
            _systemctl("enable", "--now", name)
    return written


def remove(name: str, folder: Path = UNITS) -> list[Path]:
    """Stop a timer or a service and remove its units, if there are any. Returns the removed files.

    :param name: of the units, without suffix
    :raises ScsError: systemctl failed
    """
    files = [f for f in (folder / f"{name}{suffix}" for suffix in (".timer", ".service")) if f.exists()]
    if files:
        for file in (f for f in files if INSTALL in f.read_text(encoding="utf-8")):
            _systemctl("disable", "--now", file.name)
        for file in files:
            file.unlink()
        _systemctl("daemon-reload")
    return files


def _systemctl(*words: str) -> None:
    done = subprocess.run(["systemctl", *words], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise ScsError(f"systemctl {shlex.join(words)}: {' '.join(done.stderr.split())[:300]}")
