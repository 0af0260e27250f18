# SPDX-License-Identifier: Apache-2.0
"""All commands with their options, read from commands.json: for help and completion, which must not wait for imports.

`make docs` writes the file (tools/outline.py). Imports only what Python has loaded at its start anyway.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypedDict

FILE = Path(__file__).with_name("commands.json")
"""Beside this module."""

HELP = ("-h", "--help")


class Argument(TypedDict):
    """A positional argument."""

    metavar: str
    help: str
    choices: list[str]
    many: bool
    required: bool


class Option(TypedDict):
    """An option."""

    names: list[str]
    metavar: str
    """empty: a flag"""
    help: str
    choices: list[str]
    many: bool


class Command(TypedDict):
    """A command, or a group of commands."""

    help: str
    example: str
    usage: str
    """stands for the options in the first line of the help"""
    arguments: list[Argument]
    options: list[Option]
    commands: dict[str, Command]
    """by name; not empty: a group"""
    bare: bool
    """a group that does something without a command"""
    passes: bool
    """words after the first argument belong to another program"""


class Place(NamedTuple):
    """Where in a command line its last word ends."""

    path: tuple[str, ...]
    """names of group and command, without `scs`"""
    command: Command
    pending: Option | None
    """the option whose value comes next"""
    given: int
    """positional arguments of the command so far"""
    help: bool
    """whether help was asked for"""
    ended: bool
    """after `--`, or among the words of another program"""


def load() -> Command:
    """The command `scs`.

    :raises OSError: the file cannot be read
    :raises ValueError: it is no JSON
    """
    root: Command = json.loads(FILE.read_text(encoding="utf-8"))
    return root


def locate(root: Command, words: Sequence[str]) -> Place | None:
    """The place that `words`, the arguments of scs, lead to; None: a word is no command of its group."""
    path: list[str] = []
    command, pending, given, wants_help, ended = root, None, 0, False, False
    for word in words:
        if pending:
            pending = None
        elif ended or not word.startswith("-") or word == "-":
            if not ended and command["commands"]:
                if word not in command["commands"]:
                    return None
                command = command["commands"][word]
                path.append(word)
            else:
                given += 1
                ended = ended or command["passes"]
        elif word == "--":
            ended = True
        elif word in HELP:
            wants_help = True
        else:
            pending = _valued(command, word)
    return Place(tuple(path), command, pending, given, wants_help, ended)


def _valued(command: Command, word: str) -> Option | None:
    """The option of this spelling, if it takes its value from the next word."""
    if word.startswith("--") and "=" in word:
        return None
    if not word.startswith("--"):
        # -abc: flags, of which the last may take a value; what follows one that does is its value
        for number, letter in enumerate(word[1:], 2):
            option = named(command, f"-{letter}")
            if option and option["metavar"]:
                return option if number == len(word) else None
        return None
    option = named(command, word)
    return option if option and option["metavar"] else None


def named(command: Command, name: str) -> Option | None:
    """The option with this spelling."""
    return next((o for o in command["options"] if name in o["names"]), None)


def walk(command: Command, path: tuple[str, ...] = ("scs",)) -> Iterator[tuple[tuple[str, ...], Command]]:
    """The command and all below it, each with its words."""
    yield path, command
    for name, member in command["commands"].items():
        yield from walk(member, (*path, name))
