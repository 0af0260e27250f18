# SPDX-License-Identifier: Apache-2.0
"""`scs validate`: tests that the region works for its users, and how fast."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.text import Text

from scs_deploy.cli._options import EnvironmentOption, JsonOption, Waiting, console, errors, print_json
from scs_deploy.cli._progress import VERDICTS
from scs_deploy.cli._tables import Column, show_table
from scs_deploy.environment.environment import load as load_environment

if TYPE_CHECKING:
    from scs_deploy.validate import Report, Result


def register(app: typer.Typer) -> None:
    """Add `scs validate`."""
    app.command(epilog="Example: scs validate floating-ip --junit report.xml")(validate)


def validate(
    checks: Annotated[
        list[str] | None,
        typer.Argument(metavar="CHECK", help="Checks to run, with the checks that they require. Default: all."),
    ] = None,
    environment: EnvironmentOption = None,
    json: JsonOption = False,
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write a JUnit XML report to this file.", dir_okay=False)
    ] = None,
    keep: Annotated[
        bool,
        typer.Option(
            "--keep", help="Keep the server and other test objects for inspection. The next validation removes them."
        ),
    ] = False,
    list_checks: Annotated[bool, typer.Option("--list", help="List the checks and exit.")] = False,
) -> None:
    """Use the region as its users do: get tokens, call APIs, boot a server and connect to it. Cleans up afterwards.

    Exits 1 if a check fails.
    """
    from scs_deploy import validate as validation

    if list_checks:
        _list(json)
        return
    with Waiting("connecting") as status:
        report = validation.run(
            load_environment(environment), tuple(checks or ()), keep,
            lambda name, result: _progress(status, name, result),
        )  # fmt: skip
    if junit:
        junit.write_text(report.junit(), encoding="utf-8")
    if json:
        print_json(report.model_dump(mode="json"))
    else:
        _show(report)
    raise typer.Exit(0 if report.passed else 1)


def _progress(status: Waiting, name: str, result: Result | None) -> None:
    if result is None:
        status.update(name)
        return
    took = f"{result.seconds:.1f} s"
    errors.print(f"[{VERDICTS[result.verdict]}]{result.verdict:<8}[/]{name:<16} {took:>8}  {escape(result.message)}")


def _list(json: bool) -> None:
    from scs_deploy import validate as validation

    available = validation.available().values()
    if json:
        keys = ("name", "description", "requires", "budget")
        print_json([{key: getattr(check, key) for key in keys} for check in available])
        return
    columns = (
        Column("check", key=True),
        Column("description"),
        Column("requires", leave=2),
        Column("p95 at most", leave=1),
    )
    rows = [(c.name, c.description, ", ".join(c.requires), _time(c.budget)) for c in available]
    show_table(console, columns, rows)


def _show(report: Report) -> None:
    from scs_deploy.validate import Verdict

    times = (("p50", 3), ("p95", 2), ("budget", 4), ("took", 1))
    measured = (Column(title, leave=n, justify="right") for title, n in times)
    columns = (Column("check", key=True), Column("verdict", key=True), *measured)
    rows = [
        (r.check, Text(r.verdict, VERDICTS[r.verdict]), _time(r.p50), _time(r.p95),
         _time(r.budget) if r.samples else "", _time(r.seconds))
        for r in report.results
    ]  # fmt: skip
    show_table(console, columns, rows)
    console.print(
        f"{report.count(Verdict.PASSED)} passed, {report.count(Verdict.FAILED)} failed, "
        f"{report.count(Verdict.SKIPPED)} skipped in {report.seconds:.0f} s"
    )


def _time(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
