# SPDX-License-Identifier: Apache-2.0
"""Answers a shell that completes a command line: commands, options, choices and names, without loading a region.

The shells' functions are those that typer installs, so the answers have the form that these functions read.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from scs_deploy.cli import _names, _outline
from scs_deploy.cli._help import summary
from scs_deploy.cli._outline import Argument, Command, Option, Place

ASKS = "_SCS_COMPLETE"
"""Environment variable with what a shell asks for, e.g. complete_bash."""

REGION = ("-e", "--environment")


def asked() -> bool:
    """Whether a shell asks this process."""
    return ASKS in os.environ


def answer() -> bool:
    """Print the candidates; returns whether that was all that the shell wanted.

    Nothing that is missing or broken disturbs a command line: there are no candidates then.
    """
    shell = SHELLS.get(os.environ[ASKS])
    if shell is None:
        return False
    # a message would land in the line that somebody types
    with suppress(Exception):
        print(shell(os.environ), end="")
    return True


def candidates(words: Sequence[str], incomplete: str) -> Mapping[str, str]:
    """What may stand at the end of a command line, with a short description.

    :param words: the arguments of scs before the last
    :param incomplete: the beginning of the last one
    """
    # bash splits --host=a into three words
    joined = [w for before, w in zip(["", *words], words, strict=False) if w != "=" or not before.startswith("--")]
    if incomplete == "=" and words and words[-1].startswith("--"):
        incomplete = ""
    place = _outline.locate(_outline.load(), joined)
    if place is None:
        return {}
    head, equals, _ = incomplete.partition("=")
    option = _outline.named(place.command, head) if equals and not place.pending else None
    if option:
        found = {f"{head}={name}": said for name, said in _values(option, joined).items()}
    else:
        found = _offered(place, joined, incomplete)
    return {name: said for name, said in found.items() if name.startswith(incomplete)}


def _offered(place: Place, words: Sequence[str], incomplete: str) -> dict[str, str]:
    command = place.command
    if place.pending:
        return _values(place.pending, words)
    if incomplete.startswith("-") and not place.ended:
        return {name: o["help"] for o in command["options"] for name in o["names"] if o["many"] or name not in words}
    if command["commands"]:
        return {name: summary(member) for name, member in command["commands"].items()}
    argument = _argument(command, place.given)
    if argument is None:
        return {}
    return {name: said for name, said in _values(argument, words).items() if name not in words}


def _argument(command: Command, given: int) -> Argument | None:
    """The argument that comes after `given` ones."""
    arguments = command["arguments"]
    if given < len(arguments):
        return arguments[given]
    return arguments[-1] if arguments and arguments[-1]["many"] else None


def _values(parameter: Argument | Option, words: Sequence[str]) -> dict[str, str]:
    if parameter["choices"]:
        return dict.fromkeys(parameter["choices"], "")
    found: dict[str, str] = {}
    for kind in parameter["metavar"].split("|"):
        # a word in small letters stands for itself
        found |= {kind: ""} if kind.islower() else _names.known(kind, _region(words))
    return found


def _region(words: Sequence[str]) -> str:
    """The value of --environment; empty without it."""
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word in REGION:
            return following
        if word.startswith("--environment="):
            return word.partition("=")[2]
    return ""


def _bash(variables: Mapping[str, str]) -> str:
    words, last = _split(variables["COMP_WORDS"]), int(variables["COMP_CWORD"])
    found = candidates(words[1:last], words[last] if last < len(words) else "")
    return "\n".join(found)


def _typed(variables: Mapping[str, str]) -> Mapping[str, str]:
    line = variables["_TYPER_COMPLETE_ARGS"]
    words = _split(line)[1:]
    incomplete = words.pop() if words and not line.endswith(" ") else ""
    return candidates(words, incomplete)


def _zsh(variables: Mapping[str, str]) -> str:
    found = [f'"{_escaped(n)}":"{_escaped(said)}"' if said else f'"{_escaped(n)}"'
             for n, said in _typed(variables).items()]  # fmt: skip
    return "_arguments '*: :(({}))'".format("\n".join(found)) if found else "_files"


def _escaped(text: str) -> str:
    """Text between double quotes in what zsh evaluates."""
    for character, instead in (('"', '""'), ("'", "''"), ("$", "\\$"), ("`", "\\`"), (":", r"\\:")):
        text = text.replace(character, instead)
    return text


def _fish(variables: Mapping[str, str]) -> str:
    found = _typed(variables)
    if variables.get("_TYPER_COMPLETE_FISH_ACTION") == "is-args":
        # otherwise fish completes files
        sys.exit(0 if found else 1)
    return "\n".join(f"{name}\t{' '.join(said.split())}" if said else name for name, said in found.items())


def _split(line: str) -> list[str]:
    """The words of a line that may end within quotes."""
    reader = shlex.shlex(line, posix=True)
    reader.whitespace_split = True
    reader.commenters = ""
    words: list[str] = []
    try:
        words.extend(reader)
    except ValueError:
        words.append(reader.token)
    return words


SHELLS: Mapping[str, Callable[[Mapping[str, str]], str]] = {
    "complete_bash": _bash,
    "complete_zsh": _zsh,
    "complete_fish": _fish,
}
"""By what they ask. Others are answered by typer, which also prints the functions."""
