# SPDX-License-Identifier: Apache-2.0
"""Help of commands as text. Lines break between words only, and options stay whole at any width."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence

from scs_deploy.cli._outline import Argument, Command, Option

WIDEST = 100
"""Longer lines are hard to read."""

INDENT = 2
COLUMN = 26
"""Where explanations begin, unless the name before them is longer."""


def show(path: Sequence[str], command: Command) -> None:
    """Print a command's help as wide as the terminal."""
    print(text(path, command, width(), coloured()), end="")


def width() -> int:
    """COLUMNS, else the terminal's width; 80 in a pipe."""
    try:
        return int(os.environ["COLUMNS"]) or 80
    except (KeyError, ValueError):
        pass
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def coloured() -> bool:
    """Whether headings and names are bold."""
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def text(path: Sequence[str], command: Command, columns: int, bold: bool = False) -> str:
    """A command's help.

    :param path: its words, e.g. `["scs", "plan"]`
    :param columns: width of the terminal
    """
    columns = max(20, min(columns, WIDEST))
    lines = wrapped(f"Usage: {usage(path, command)}", columns, " " * 11)
    for paragraph in command["help"].split("\n\n"):
        lines += ["", *wrapped(paragraph, columns)]
    lines += _section("Arguments", [(_argument(a), explained(a)) for a in command["arguments"]], columns, bold)
    lines += _section("Options", [(spelled(o), explained(o)) for o in command["options"]], columns, bold)
    members = [(name, summary(member)) for name, member in command["commands"].items()]
    lines += _section("Commands", members, columns, bold)
    if command["example"]:
        lines += ["", *wrapped(f"Example: {command['example']}", columns, " " * 9)]
    return "\n".join(lines) + "\n"


def usage(path: Sequence[str], command: Command) -> str:
    """`scs plan [OPTIONS] [SERVICE|LAYER]...`"""
    if command["commands"]:
        tail = ["[COMMAND]" if command["bare"] else "COMMAND"]
    else:
        tail = [_argument(a) for a in command["arguments"]]
    return " ".join([*path, command["usage"], *tail])


def summary(command: Command) -> str:
    """The first sentence of a command's help, for a list of commands."""
    return " ".join(command["help"].split("\n\n")[0].split()).partition(". ")[0].removesuffix(".")


def spelled(option: Option) -> str:
    """`-e, --environment ENVIRONMENT`; a long option alone is indented like one with a short form."""
    names = sorted(option["names"], key=lambda name: name.startswith("--"))
    # a pair of flags, --deploy and --no-deploy, has two long names
    short = [n for n in names if not n.startswith("--")]
    head = f"{', '.join(short)}, " if short else "    "
    long = ", ".join(n for n in names if n.startswith("--"))
    return f"{head}{long} {option['metavar']}".rstrip()


def _argument(argument: Argument) -> str:
    name = argument["metavar"] if argument["required"] else f"[{argument['metavar']}]"
    return f"{name}..." if argument["many"] else name


def explained(parameter: Argument | Option) -> str:
    """What a parameter means, with its choices."""
    choices = f" One of: {', '.join(parameter['choices'])}." if parameter["choices"] else ""
    return f"{parameter['help']}{choices}".strip()


def _section(title: str, rows: Sequence[tuple[str, str]], columns: int, bold: bool) -> list[str]:
    if not rows:
        return []
    longest = max(len(name) for name, _ in rows)
    column = INDENT + min(longest, COLUMN) + 2
    if columns < 2 * column:
        # in a narrow terminal explanations stand below
        column = 2 * INDENT + 2
    lines = ["", _bold(f"{title}:", bold)]
    for name, said in rows:
        lines += _row(name, said, column, columns, bold)
    return lines


def _row(name: str, said: str, column: int, columns: int, bold: bool) -> list[str]:
    head = f"{' ' * INDENT}{_bold(name, bold)}"
    if not said:
        return [head.rstrip()]
    body = wrapped(said, columns - column)
    if INDENT + len(name) + 2 > column:
        return [head, *(" " * column + line for line in body)]
    gap = " " * (column - INDENT - len(name))
    return [head + gap + body[0], *(" " * column + line for line in body[1:])]


def wrapped(said: str, columns: int, indent: str = "") -> list[str]:
    """Lines of at most this width; a longer word stays whole.

    :param indent: of all lines but the first
    """
    lines: list[str] = []
    line = ""
    for word in _words(said):
        if line.strip() and len(line) + 1 + len(word) > columns:
            lines.append(line)
            line = indent + word
        else:
            line = f"{line} {word}" if line else word
    return [*lines, line]


def _words(said: str) -> Iterable[str]:
    return " ".join(said.split()).split(" ")


def _bold(said: str, on: bool) -> str:
    return f"\x1b[1m{said}\x1b[0m" if on and said else said
