# SPDX-License-Identifier: Apache-2.0
"""Says whether a command line of scs could work: its command and options exist, and its values are of their kind."""

from __future__ import annotations

import importlib
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePath
from typing import Any

import typer

from scs_deploy.cli import main
from scs_deploy.cli._root import app

SEPARATORS = re.compile(r"[();<>|&]+")
ASSIGNMENT = re.compile(r"\w+=")
BEFORE = ("sudo", "env", "exec", "time")
"""Words that another command follows."""

MANAGER = "scs/manager"
"""The image whose program is scs."""

PLACEHOLDER = re.compile(r"[A-Z][A-Z0-9_-]*|\.\.\.|\$.*")


@cache
def program() -> Any:
    """The command `scs` with all its commands."""
    for name in main.COMMANDS:
        importlib.import_module(f"scs_deploy.cli.{name}").register(app)
    return typer.main.get_command(app)


def of_scs(line: str) -> Iterator[list[str]]:
    """The arguments of each `scs` in a line of shell, also in pipes and `$(...)`.

    :raises ValueError: a quotation has no end
    """
    lexer = shlex.shlex(line.replace("\\\n", " "), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if not SEPARATORS.fullmatch(word):
            words.append(word)
            continue
        while words and (ASSIGNMENT.match(words[0]) or words[0] in BEFORE or words[0].startswith("-")):
            words.pop(0)
        if words and PurePath(words[0]).name == "scs":
            yield words[1:]
        if words[:2] == ["docker", "run"] and MANAGER in words:
            yield words[words.index(MANAGER) + 1 :]
        words = []


def wrong(arguments: list[str], whole: bool) -> str | None:
    """What is wrong with the arguments of `scs`; None: nothing.

    :param whole: a command to be typed, so it names a command and has each required argument; otherwise a mention
    """
    reason = _wrong([w for w in arguments if w != "..."], whole)
    if reason and not whole and arguments[-1].startswith("-"):
        # a mention of an option may omit its value
        return _wrong([*arguments, "VALUE"], whole) and reason
    return reason


def _wrong(arguments: list[str], whole: bool) -> str | None:
    command, context, rest = program(), None, arguments
    while hasattr(command, "get_command"):
        context = command.context_class(command, parent=context, info_name=command.name, **command.context_settings)
        try:
            given, rest, _ = command.make_parser(context).parse_args(rest)
        except Exception as error:  # noqa: BLE001 - whichever of click's errors, it is the answer
            return str(error)
        if not rest or PLACEHOLDER.fullmatch(rest[0]):
            return "names no command" if whole and not given else None
        found = command.get_command(context, rest[0])
        if found is None:
            return f"no command '{rest[0]}'"
        command, rest = found, rest[1:]
    context = command.context_class(command, parent=context, info_name=command.name, **command.context_settings)
    try:
        given, surplus, _ = command.make_parser(context).parse_args(rest)
        if surplus:
            return f"too many arguments: {' '.join(surplus)}"
        for parameter in command.params:
            value = given.get(parameter.name)
            if isinstance(value, str | list | tuple) and value and not _placeholder(value):
                # whether a file is there is another question
                if parameter.type_descriptor.annotation is not Path:
                    parameter.process_value(context, value)
            elif whole and parameter.required and not _placeholder(value):
                return f"{parameter.name} is missing"
    except Exception as error:  # noqa: BLE001 - as above
        return str(error)
    return None


def _placeholder(value: Any) -> bool:
    words = [value] if isinstance(value, str) else value if isinstance(value, list | tuple) else []
    return any(PLACEHOLDER.fullmatch(str(word)) for word in words)
