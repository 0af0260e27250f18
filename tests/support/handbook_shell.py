# SPDX-License-Identifier: Apache-2.0
"""Runs commands of the handbook as somebody who types them does: one shell, at a terminal, who says yes."""

from __future__ import annotations

import os
import pty
import re
import shlex
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.support.handbook import Command

TIMEOUT = 600
UNITS = frozenset({"ms", "s", "min", "B", "KiB", "MiB", "GiB"})
"""Words that differ as numbers do."""

SCRIPT = """
set -a -o pipefail
cd "$1"
eval "$2"
code=$?
pwd > "$3"
env --null >> "$3"
exit $code
"""
"""Runs a command and keeps the folder and all variables for the next one, also those that are not exported."""


class Shell:
    """A shell that keeps its variables and its folder from one command to the next.

    :param folder: where it begins
    :param environ: its variables
    :param state: a file that it may write
    """

    def __init__(self, folder: Path, environ: Mapping[str, str], state: Path) -> None:
        self.folder, self.environ, self.state = folder, dict(environ), state

    def run(self, command: str) -> tuple[int, str]:
        """Exit code and output of a command, which finds a terminal whose user answers each question with yes."""
        words = ["bash", "-c", SCRIPT, "bash", str(self.folder), command, str(self.state)]
        self.state.unlink(missing_ok=True)
        with _terminal() as terminal:
            try:
                done = subprocess.run(
                    words, stdin=terminal, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                    errors="replace", env=self.environ, timeout=TIMEOUT, check=False,
                )  # fmt: skip
            except subprocess.TimeoutExpired as late:
                return 124, f"{late.output!r}\nnot finished after {TIMEOUT} s"
        if self.state.is_file():
            folder, _, variables = self.state.read_text(encoding="utf-8", errors="surrogateescape").partition("\n")
            self.folder = Path(folder)
            self.environ = dict(v.split("=", 1) for v in variables.split("\0") if "=" in v)
        return done.returncode, done.stdout.replace("\r\n", "\n")


@contextmanager
def _terminal() -> Iterator[int]:
    ours, theirs = pty.openpty()
    try:
        os.write(ours, b"y\n" * 3)
        yield theirs
    finally:
        os.close(theirs)
        os.close(ours)


def follow(commands: Iterable[Command], shell: Shell) -> None:
    """Run commands in turn.

    :raises AssertionError: one ends otherwise, or shows something else, than the handbook says
    """
    for command in commands:
        if command.not_run:
            continue
        code, said = shell.run(command.text)
        print(f"--- {command.where}: $ {command.text}\n{said}", flush=True)
        assert code in command.exits, f"{command.where}: {shlex.quote(command.text)}: exit {code}\n{said}"
        missing = [line for line in command.shown if not shows(said, line)]
        assert not missing, f"{command.where}: {command.text}: not in the output: {missing}\n{said}"


def shows(output: str, line: str) -> bool:
    """Whether an output has a line of the handbook: the same words, except for numbers, names with numbers and units.

    `...` stands for anything.
    """
    return re.search(_pattern(line), output, re.MULTILINE) is not None


def _pattern(line: str) -> str:
    return r"^\s*" + r"\s+".join(map(_word, line.split())) + r"\s*$"


def _word(word: str) -> str:
    if word.endswith("...") or "…" in word:
        return r".*"
    return r"\S+" if re.search(r"\d", word) or word in UNITS else re.escape(word)
