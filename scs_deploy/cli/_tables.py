# SPDX-License-Identifier: Apache-2.0
"""Tables that stay readable in a narrow terminal: names are never cut."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

GAP = 2
"""Spaces between columns."""

NARROW = 12
"""Width to which a column may shrink before other columns are left out."""

Cell = str | Text
"""A string is plain text, never markup; a Text carries a style."""


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    title: str
    key: bool = False
    """names a thing: printed on one line, never cut"""
    leave: int = 0
    """order in which columns are left out if space is short, the highest number first; 0: never"""
    justify: Literal["left", "right"] = "left"


def fitted(columns: Sequence[Column], rows: Iterable[Sequence[Cell]], width: int) -> RenderableType:
    """The table for a terminal of this width.

    Columns fold first, then the dispensable ones are left out. If the rest is still too wide, each row becomes a
    paragraph: its keys, and below them the other cells with their titles.
    """
    cells = [[c if isinstance(c, Text) else Text(c) for c in row] for row in rows]
    kept = list(range(len(columns)))
    needs = [_needed(column, [row[i] for row in cells]) for i, column in enumerate(columns)]
    while sum(needs[i] for i in kept) + GAP * (len(kept) - 1) > width:
        leaving = [i for i in kept if columns[i].leave]
        if not leaving:
            return Group(*(_paragraph([columns[i] for i in kept], [row[i] for i in kept], width) for row in cells))
        kept.remove(max(leaving, key=lambda i: columns[i].leave))
    return _table([columns[i] for i in kept], [[row[i] for i in kept] for row in cells])


def show_table(console: Console, columns: Sequence[Column], rows: Iterable[Sequence[Cell]]) -> None:
    """Print the table as wide as the console."""
    console.print(fitted(columns, rows, console.width))


def _needed(column: Column, cells: Sequence[Text]) -> int:
    widest = max((c.cell_len for c in (Text(column.title), *cells)), default=0)
    return widest if column.key else min(widest, max(NARROW, len(column.title)))


def _table(columns: Sequence[Column], rows: Sequence[Sequence[Text]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, GAP, 0, 0))
    for number, column in enumerate(columns):
        least = _needed(column, [row[number] for row in rows])
        table.add_column(column.title, justify=column.justify, no_wrap=column.key, overflow="fold", min_width=least)
    for row in rows:
        table.add_row(*row)
    return table


def _paragraph(columns: Sequence[Column], row: Sequence[Text], width: int) -> RenderableType:
    pairs = list(zip(columns, row, strict=True))
    lines: list[RenderableType] = list(_key_lines([cell for column, cell in pairs if column.key], width))
    lines += [
        Padding(Text.assemble(f"{column.title}: ", cell, overflow="fold"), (0, 0, 0, GAP))
        for column, cell in pairs
        if not column.key and cell.plain
    ]
    return Group(*lines)


def _key_lines(keys: Sequence[Text], width: int) -> list[Text]:
    """As many keys on a line as fit; a key that is wider than the terminal folds."""
    lines: list[Text] = []
    for key in keys:
        bold = Text(key.plain, "bold", overflow="fold")
        bold.stylize(key.style)
        if lines and lines[-1].cell_len + GAP + bold.cell_len <= width:
            lines[-1].append(" " * GAP)
            lines[-1].append_text(bold)
        elif bold.plain:
            lines.append(bold)
    return lines
