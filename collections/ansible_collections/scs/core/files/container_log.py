#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Prints a container's log on its host, filtered there, so that only what was asked for crosses the network.

`scs logs` sends this program over SSH: standard library only. Its argument is a JSON object:

- container: its name
- containers: in place of it, names of several; each line has its container's name behind its time, and those that are
  not there are left out
- file: read this file of the engine's JSON lines instead of the container's log, e.g. that of its predecessor
- since, until: RFC 3339 times in UTC with nine digits of fraction, or empty
- request: what occurs in a line beside that, or empty
- grep: a regular expression that occurs in a line, or empty
- level: the least severe level to print, one of LEVELS, or empty
- lines: how many of the lines that match to print, from the end; null: all
- follow: go on with new lines until the connection ends

Prints each line as `<time> <text>`. Other output is a message of the engine; the exit code is then not 0.
"""

import json
import re
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

LEVELS = ("debug", "info", "warning", "error", "critical")
OTHER_NAMES = {
    "trace": "debug", "note": "info", "notice": "info", "audit": "info", "warn": "warning", "err": "error",
    "crit": "critical", "fatal": "critical", "alert": "critical", "emerg": "critical", "panic": "critical",
}  # fmt: skip
"""What programs call a level."""

_WORD = "|".join((*LEVELS, *OTHER_NAMES))
_LEVEL = re.compile(
    # oslo.log and Open vSwitch
    rf"\b(?P<plain>{_WORD.upper()})\b"
    # MariaDB, RabbitMQ, HAProxy; Apache: [wsgi:error]
    rf"|\[(?:\w+:)?(?P<bracket>(?i:{_WORD}))\]"
    # libvirt
    rf"|: (?P<colon>{_WORD}) :"
    # logfmt and JSON
    rf"|\b(?:level|lvl|severity)\"?[=:]\s?\"?(?P<key>(?i:{_WORD}))\b"
)
HEAD = 200
"""Characters at the beginning of a line in which its level stands."""

CONTINUES = ("\t", " ", "Traceback (most recent call last):")
"""Beginnings of lines that belong to the one before."""


def level_of(text: str) -> str:
    """The level that a line names; empty if it names none."""
    found = _LEVEL.search(text, 0, HEAD)
    if not found:
        return ""
    word = next(w for w in found.groups() if w).lower()
    return OTHER_NAMES.get(word, word)


class Levels:
    """Whether lines are as severe as asked for, one after the other: some belong to the line before."""

    def __init__(self, least: str) -> None:
        self.least = LEVELS.index(least)
        self.now = LEVELS.index("info")
        self.continued = False
        """whether the line before was indented: an exception's own line follows"""

    @property
    def name(self) -> str:
        """Of the last line's level."""
        return LEVELS[self.now]

    def accept(self, text: str) -> bool:
        """Whether to print a line. One without a level is information."""
        named = level_of(text)
        continues = text.startswith(CONTINUES)
        if named and not continues:
            self.now = LEVELS.index(named)
        elif not continues and not self.continued:
            self.now = LEVELS.index("info")
        self.continued = continues
        return self.now >= self.least


def filters(asked: dict[str, Any]) -> list[Callable[[str, str], bool]]:
    """Functions of a line's time and text; a line is printed if all agree."""
    chosen: list[Callable[[str, str], bool]] = []
    since, until = asked["since"], asked["until"]
    # times have the same width, so they sort as text
    if since:
        chosen.append(lambda time, _: time >= since)
    if until:
        chosen.append(lambda time, _: time <= until)
    if asked["level"]:
        levels = Levels(asked["level"])
        chosen.append(lambda _, text: levels.accept(text))
    if request := asked["request"]:
        chosen.append(lambda _, text: request in text)
    if asked["grep"]:
        wanted = re.compile(asked["grep"])
        chosen.append(lambda _, text: bool(wanted.search(text)))
    return chosen


def selected(lines: Iterable[str], chosen: list[Callable[[str, str], bool]]) -> Iterator[str]:
    """The lines that all filters accept, and what is no line of a log."""
    for line in lines:
        time, _, text = line.partition(" ")
        if not time[:4].isdigit() or not time.endswith("Z") or all(accept(time, text) for accept in chosen):
            yield line


def stored(entries: Iterable[str]) -> Iterator[str]:
    """The lines in the engine's log file. Source: Docker's json-file logging driver."""
    for entry in entries:
        try:
            found = json.loads(entry)
            second, _, fraction = found["time"].rstrip("Z").partition(".")
            yield f"{second}.{fraction:0<9}Z {found['log'].rstrip()}"
        except (ValueError, KeyError, TypeError, AttributeError):
            # a line that a full disk cut
            continue


def show(lines: Iterable[str]) -> None:
    """Print lines at once."""
    for line in lines:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def engine(asked: dict[str, Any], options: list[str], take: Callable[[Iterator[str]], None]) -> int:
    """Hand over what `docker logs` prints, in the order in which it was written; returns its exit code."""
    command = ["docker", "logs", "--timestamps", *options, asked["container"]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout
        take(raw.decode("utf-8", "replace").rstrip("\n") for raw in process.stdout)
    return process.returncode


def window(asked: dict[str, Any], until: str) -> list[str]:
    """The engine's own options for a time window and, if nothing else is filtered, the number of lines."""
    options = ["--since", asked["since"]] if asked["since"] else []
    options += ["--until", until] if until else []
    if asked["lines"] is not None and not (asked["grep"] or asked["level"] or asked["request"]):
        options += ["--tail", str(asked["lines"])]
    return options


def several(asked: dict[str, Any]) -> int:
    """Print what was asked for of several containers, by time."""
    found: list[tuple[str, str, str]] = []

    for name in asked["containers"]:

        def end(lines: Iterator[str], name: str = name) -> None:
            kept = selected(lines, filters(asked))
            for line in kept if asked["lines"] is None else deque(kept, maxlen=asked["lines"]):
                time, _, text = line.partition(" ")
                if time.endswith("Z"):
                    found.append((time, name, text))

        engine({**asked, "container": name}, window(asked, asked["until"]), end)
    show(f"{time} {name} {text}" for time, name, text in sorted(found, key=lambda row: row[0]))
    return 0


def run(asked: dict[str, Any]) -> int:
    """Print what was asked for; returns the exit code."""
    if asked.get("containers"):
        return several(asked)
    chosen = filters(asked)

    def end(lines: Iterator[str]) -> None:
        kept = selected(lines, chosen)
        show(kept if asked["lines"] is None else deque(kept, maxlen=asked["lines"]))

    if asked["file"]:
        try:
            with open(asked["file"], encoding="utf-8", errors="replace") as stream:
                end(stored(stream))
        except OSError as error:
            print(f"{asked['file']}: {error.strerror}")
            return 1
        return 0
    if not asked["follow"]:
        return engine(asked, window(asked, asked["until"]), end)
    # first what is there, then what comes
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
    code = engine(asked, window(asked, now), end)
    if code:
        return code
    return engine(asked, ["--follow", "--since", now], lambda lines: show(selected(lines, chosen)))


if __name__ == "__main__":
    sys.exit(run(json.loads(sys.argv[1])))
