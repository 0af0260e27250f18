# SPDX-License-Identifier: Apache-2.0
"""How the difference of two release locks looks."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from scs_deploy.cli._options import console
from scs_deploy.images.difference import Advisory, ImageChange


def show(changes: Sequence[ImageChange]) -> None:
    """Every changed image with its packages."""
    if not changes:
        console.print("no image changed")
        return
    table = Table("Image", "Package", "Old", "New", "Security", box=None, header_style="bold", pad_edge=False)
    for change in changes:
        if not change.packages:
            why = "new image" if not change.old else "not in the release any more" if not change.new else ""
            table.add_row(change.image, why or "its recipe or parent changed", "", "", "")
        for number, package in enumerate(change.packages):
            table.add_row(
                "" if number else change.image, package.name, package.old or "-", package.new or "removed",
                _advice(package.advisory),
            )  # fmt: skip
    console.print(table)
    packages = {p.name for c in changes for p in c.packages}
    security = {p.name for c in changes for p in c.packages if p.advisory.security}
    console.print(f"{len(changes)} images changed, {len(packages)} packages, {len(security)} of them for security")


def _advice(advisory: Advisory) -> str:
    if not advisory.security:
        return ""
    names = ", ".join(advisory.names[:4])
    more = len(advisory.names) - 4
    return f"[red]yes[/] {names}{f' and {more} more' if more > 0 else ''}".strip()
