# SPDX-License-Identifier: Apache-2.0
"""Prints the difference between two release locks."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from scs_deploy.base.plural import counted
from scs_deploy.cli._options import console
from scs_deploy.cli._tables import Cell, Column, show_table
from scs_deploy.images.difference import Advisory, ImageChange


def show(changes: Sequence[ImageChange], to: Console = console) -> None:
    """Print every changed image with its changed packages."""
    if not changes:
        to.print("no image changed")
        return
    rows: list[tuple[Cell, ...]] = []
    for change in changes:
        if not change.packages:
            why = "new image" if not change.old else "no longer in the release" if not change.new else ""
            rows.append((change.image, why or "its recipe or parent changed", "", "", ""))
        for number, package in enumerate(change.packages):
            image = "" if number else change.image
            versions = (package.old or "-", package.new or "removed")
            rows.append((image, package.name, *versions, _advice(package.advisory)))
    columns = (
        Column("image", key=True), Column("package"), Column("old"), Column("new"), Column("security", leave=1),
    )  # fmt: skip
    show_table(to, columns, rows)
    packages = {p.name for c in changes for p in c.packages}
    security = {p.name for c in changes for p in c.packages if p.advisory.security}
    to.print(
        f"{counted(len(changes), 'image')} changed, {counted(len(packages), 'package')}, "
        f"{len(security)} with security fixes"
    )


def _advice(advisory: Advisory) -> Cell:
    if not advisory.security:
        return ""
    names = ", ".join(advisory.names[:4])
    more = len(advisory.names) - 4
    return Text.assemble(("yes", "red"), f" {names}{f' and {more} more' if more > 0 else ''}".rstrip())
