# SPDX-License-Identifier: Apache-2.0
"""`scs report`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.plural import counted
from scs_deploy.base.since import since
from scs_deploy.cli._options import EnvironmentOption, JsonOption, Waiting, console, errors, print_json

if TYPE_CHECKING:
    from scs_deploy.operations.report import Part


def register(app: typer.Typer) -> None:
    """Add `scs report`."""
    app.command(epilog="Example: scs report --since 3h --until 1h")(report)


def report(
    begin: Annotated[
        str,
        typer.Option("--since", metavar="TIME", help="Of logs and runs: 30m, 12h, 7d, or a date with or without time."),
    ] = "1h",
    end: Annotated[str | None, typer.Option("--until", metavar="TIME", help="As --since. Default: now.")] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Default: one here, named after the region and the time."),
    ] = None,
    environment: EnvironmentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Collect what colleagues and upstream need: versions, state, plan, and runs and logs around a time; no secrets.

    Changes nothing. Passwords, keys and tokens are replaced; names and addresses of hosts are not. Exits 1 if a part is
    missing.
    """
    from scs_deploy.environment.environment import load
    from scs_deploy.operations import report as operation

    now = datetime.now(UTC)
    first, last = since(begin, now=now), since(end, "--until", now) if end else now
    if first >= last:
        raise RefusedError(
            f"--since {begin} is not before {f'--until {end}' if end else 'now'}", "give an earlier time"
        )
    found = load(environment)
    target = output or Path(f"scs-report-{found.name}-{now:%Y%m%dT%H%M%SZ}.tar.gz")
    if target.exists() or not target.parent.is_dir():
        reason = "exists" if target.exists() else "no such folder"
        raise RefusedError(f"{target}: {reason}", "--output FILE names another file")
    clean = operation.redaction(found)
    parts: list[Part] = []
    with Waiting("collecting") as waiting:

        def told() -> Iterator[Part]:
            for part in operation.collect(found, operation.run_scs(found), clean, first, last):
                waiting.update(f"collecting: {part.file}")
                parts.append(part)
                yield part

        operation.write(target, found.name, first, last, told())
    missing = [p for p in parts if p.missing]
    if as_json:
        print_json({"file": str(target), "parts": [p.model_dump() for p in parts]})
    else:
        replaced = sum(p.redacted for p in parts)
        console.print(f"{target}: {counted(len(parts), 'part')}, {counted(replaced, 'secret')} replaced", markup=False)
        console.print("It names hosts and addresses: read it before you give it to others.")
    for part in missing:
        last_line = part.note.splitlines()[-1] if part.note else f"exit code {part.code}"
        errors.print(f"missing: {part.file}: {last_line}", markup=False)
    if missing:
        raise typer.Exit(1)
