# SPDX-License-Identifier: Apache-2.0
"""`scs env`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from scs_deploy.base.errors import ScsError
from scs_deploy.cli._options import EnvironmentOption, JsonOption, console, print_json
from scs_deploy.cli._tables import Column, show_table

if TYPE_CHECKING:
    from scs_deploy.region.check import Finding

Name = Annotated[str, typer.Argument(metavar="NAME", help="The region's environment, a folder in environments/.")]


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(help="Start, choose and check environments; one is one region.", no_args_is_help=True)
    group.command(epilog="Example: scs env init berlin --from region")(init)
    group.command("list", epilog="Example: scs env list")(list_environments)
    group.command(epilog="Example: scs env use berlin")(use)
    group.command(epilog="Example: scs env check --json")(check)
    app.add_typer(group, name="env")


def init(
    name: Name,
    source: Annotated[str, typer.Option("--from", metavar="EXAMPLE", help="testbed (1 host) or region.")] = "region",
) -> None:
    """Start a new region from a shipped example."""
    from scs_deploy.region import example

    for file in example.start(name, source):
        console.print(f"wrote {file}")
    console.print(f"next: edit them, then: scs env use {name} && scs env check")


def list_environments(as_json: JsonOption = False) -> None:
    """List environments; the one in use is marked."""
    from scs_deploy.base.errors import RefusedError
    from scs_deploy.environment import environment as environments

    try:
        current = environments.current()
    except RefusedError:
        current = ""
    rows = []
    for name in environments.names():
        try:
            settings = environments.load(name).settings
            rows.append(
                {"name": name, "current": name == current, "region": settings.region, "release": settings.release}
            )
        except RefusedError as error:
            rows.append({"name": name, "current": name == current, "error": str(error)})
    if as_json:
        print_json(rows)
        return
    columns = (Column("", key=True), Column("environment", key=True), Column("region"), Column("release", leave=1))
    broken = Text("has an error", "red")
    lines = [
        ("*" if r["current"] else "", str(r["name"]), str(r["region"]) if "region" in r else broken,
         str(r.get("release", "")))
        for r in rows
    ]  # fmt: skip
    show_table(console, columns, lines)


def use(name: Name) -> None:
    """Choose the environment that commands work on when none is named."""
    from scs_deploy.environment import environment as environments

    environments.use(name)
    console.print(f"using {name}")


def check(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Default: the one in use.")] = None,
    environment: EnvironmentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read all that describes a region and tell what is wrong. Exits 2 when something is. Asks no host."""
    from scs_deploy.environment import environment as environments
    from scs_deploy.region import check as checks

    try:
        chosen = name or environment or environments.current()
        findings = checks.check(chosen)
        if not any(f.error for f in findings):
            findings += _rendered(chosen)
    except ScsError as error:
        chosen = name or environment or ""
        findings = [checks.Finding(part="environment", error=error.message, hint=error.hint)]
    bad = [f for f in findings if f.error]
    if as_json:
        print_json({"environment": chosen, "ok": not bad, "parts": [f.model_dump() for f in findings]})
    else:
        for finding in findings:
            _print(finding)
        console.print(f"[red]{chosen}: {len(bad)} error(s)[/]" if bad else f"[green]{chosen}: ok[/]")
    if bad:
        raise typer.Exit(2)


def _rendered(name: str) -> list[Finding]:
    """Render every file of every host: templates, overrides and secrets together. A region without a lock has none."""
    from scs_deploy.desired import digest
    from scs_deploy.region.check import Finding
    from scs_deploy.region.region import Region
    from scs_deploy.region.selection import Selection

    region = Region.load(name)
    if not region.environment.lock_file.exists():
        return []
    try:
        hosts = digest.render(region, Selection())
    except ScsError as error:
        return [Finding(part="files", error=error.message, hint=error.hint)]
    return [Finding(part="files", summary=f"{sum(len(h.files) for h in hosts)} rendered for {len(hosts)} host(s)")]


def _print(finding: Finding) -> None:
    line = Text(f"{finding.part:<13}")
    if finding.error:
        line.append(finding.error, "red")
        line.append(f" ({finding.hint})" if finding.hint else "")
    else:
        line.append(finding.summary)
    console.print(line, soft_wrap=True)
