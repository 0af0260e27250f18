# SPDX-License-Identifier: Apache-2.0
"""Reads the commands of the handbook: fenced blocks of the kind `console`, and what comments above them say.

A block's commands begin with `$ `; a line that ends in a backslash continues. The other lines are output. Comments
directly above a block say what cannot be run, and why:

    <!-- not run: needs NetBox -->
    <!-- not run: `make testbed`: the region is there -->          only this command, or those that begin so
    <!-- may exit 1: `scs status`: a container may be starting -->  otherwise a command must exit 0
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^ *```(\S*) *$")
COMMENT = re.compile(r"^ *<!-- (?P<word>not run|may exit \d+): (?:`(?P<command>[^`]+)`: )?(?P<reason>\S.*?) -->$")
AFTER = re.compile(r"\s+# .*$")
"""A comment after a command."""

PROMPT = "$ "
COMMANDS = "console"
NEED_NO_REGION = ("install.md", "bring-your-own-hosts.md")
"""Guides whose commands are run with a new region that is not deployed."""

LANGUAGES = (COMMANDS, "yaml", "text")


@dataclass(frozen=True)
class Note:
    """A comment above a block."""

    word: str
    """`not run` or `may exit 1`"""
    command: str
    """what the commands that it means begin with; empty: all of the block"""
    reason: str


@dataclass(frozen=True)
class Command:
    """A command of the handbook."""

    file: Path
    line: int
    text: str
    shown: tuple[str, ...]
    """the output that the handbook shows"""
    notes: tuple[Note, ...]

    @property
    def where(self) -> str:
        """File and line, as an editor takes them."""
        return f"{self.file.relative_to(ROOT)}:{self.line}"

    @property
    def not_run(self) -> str:
        """Why it is not run; empty: it is run."""
        return next((n.reason for n in self.notes if n.word == "not run"), "")

    @property
    def exits(self) -> frozenset[int]:
        """The exit codes that are as they should be."""
        return frozenset({0, *(int(n.word.split()[-1]) for n in self.notes if n.word.startswith("may exit"))})


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    file: Path
    line: int
    language: str
    lines: tuple[str, ...]
    comments: tuple[str, ...]
    """lines with comments directly above"""

    @property
    def where(self) -> str:
        """File and line, as an editor takes them."""
        return f"{self.file.relative_to(ROOT)}:{self.line}"


def pages() -> list[Path]:
    """All pages of the handbook, README first."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(file: Path) -> list[Block]:
    """The fenced blocks of a page.

    :raises ValueError: a block has no end
    """
    found: list[Block] = []
    lines = file.read_text(encoding="utf-8").splitlines()
    number = 0
    while number < len(lines):
        if not (fence := FENCE.match(lines[number])):
            number += 1
            continue
        ends = [n for n in range(number + 1, len(lines)) if FENCE.match(lines[n])]
        if not ends:
            raise ValueError(f"{file}:{number + 1}: block without an end")
        above = number
        while above and lines[above - 1].lstrip().startswith("<!--"):
            above -= 1
        inner = tuple(lines[number + 1 : ends[0]])
        found.append(Block(file, number + 1, fence[1], inner, tuple(lines[above:number])))
        number = ends[0] + 1
    return found


def commands(file: Path) -> list[Command]:
    """The commands of a page, in order.

    :raises ValueError: a block of commands begins with something else, or a comment above it is not understood
    """
    return [command for block in blocks(file) if block.language == COMMANDS for command in _commands(block)]


def _commands(block: Block) -> list[Command]:
    notes = [_note(block, comment) for comment in block.comments]
    found: list[tuple[int, list[str], list[str]]] = []
    open_line = False
    for offset, line in enumerate(map(str.lstrip, block.lines), start=1):
        if open_line:
            found[-1][1].append(line)
        elif line.startswith(PROMPT):
            found.append((block.line + offset, [line.removeprefix(PROMPT)], []))
        elif found:
            found[-1][2].append(line)
        elif line != "...":
            raise ValueError(f"{block.where}: a block of the kind `{COMMANDS}` begins with a command after `{PROMPT}`")
        # what the output shows ends in no backslash that counts
        open_line = line.endswith("\\") and (open_line or line.startswith(PROMPT))
    texts = ["\n".join(text) for _, text, _ in found]
    meant = [_meant(block, note, texts) for note in notes]
    return [
        Command(
            block.file, number, texts[at], tuple(shown), tuple(n for n, m in zip(notes, meant, strict=True) if at in m)
        )
        for at, (number, _, shown) in enumerate(found)
    ]


def _meant(block: Block, note: Note, texts: list[str]) -> set[int]:
    """Which commands of the block a note means: the one that it says in full, otherwise those that begin so."""
    full = {at for at, text in enumerate(texts) if AFTER.sub("", text) == note.command}
    meant = full or {at for at, text in enumerate(texts) if text.startswith(note.command)}
    if not meant:
        raise ValueError(f"{block.where}: no command begins with `{note.command}`")
    return meant


def _note(block: Block, comment: str) -> Note:
    if not (said := COMMENT.match(comment)):
        raise ValueError(f"{block.where}: the comment above is not understood: {comment}")
    return Note(said["word"], said["command"] or "", said["reason"])


def inline(file: Path) -> list[tuple[int, str]]:
    """(line, command) of each `scs ...` in backticks within the text, on one line even where the page wraps it."""
    text = file.read_text(encoding="utf-8")
    for block in blocks(file):
        # keeps the numbers of lines
        text = text.replace("\n".join(block.lines), "\n" * (len(block.lines) - 1), 1) if block.lines else text
    spans = re.finditer(r"(?<!`)`(scs\s[^`]+)`(?!`)", text)
    return [(text.count("\n", 0, s.start()) + 1, " ".join(s[1].split())) for s in spans]
