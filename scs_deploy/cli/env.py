# SPDX-License-Identifier: Apache-2.0
"""`scs env`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.failures import explained
from scs_deploy.base.plural import counted
from scs_deploy.cli._options import EnvironmentOption, JsonOption, console, print_json
from scs_deploy.cli._tables import Column, show_table

if TYPE_CHECKING:
    from scs_deploy.desired.check import Finding

NewName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the region, a folder in environments/.")]
Name = Annotated[str, typer.Argument(metavar="REGION", help="Its environment, a folder in environments/.")]


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(help="Create, select and check environments. Each describes one region.", no_args_is_help=True)
    group.command(epilog="Example: scs env init berlin --from region")(init)
    group.command("list", epilog="Example: scs env list")(list_environments)
    group.command(epilog="Example: scs env use berlin")(use)
    group.command(epilog="Example: scs env check --json")(check)
    group.command(epilog="Example: scs env share berlin --group scs-operators")(share)
    group.command(epilog="Example: scs env leftovers --json")(leftovers)
    app.add_typer(group, name="env")


def init(
    name: NewName,
    source: Annotated[str, typer.Option("--from", metavar="EXAMPLE", help="testbed (1 host) or region.")] = "region",
    group: Annotated[
        str | None, typer.Option(metavar="GROUP", help="Let this group read it; see `scs env share`.")
    ] = None,
) -> None:
    """Create the environment of a new region from an example."""
    from scs_deploy.base import paths
    from scs_deploy.environment import sharing
    from scs_deploy.environment.environment import load as load_environment
    from scs_deploy.region import example

    if group is not None:
        sharing.check_group(paths.environments() / name, group)
    for file in example.start(name, source):
        console.print(f"wrote {file}")
    if group is not None:
        sharing.share(load_environment(name), group)
        console.print(f"{name} is readable for the group {group}", markup=False)
    console.print(f"next: edit these files, then run: scs env use {name} && scs env check")


def list_environments(as_json: JsonOption = False) -> None:
    """List environments; an asterisk marks the selected one."""
    from scs_deploy.environment.environment import current as current_environment
    from scs_deploy.environment.environment import load as load_environment
    from scs_deploy.environment.environment import names

    try:
        current = current_environment()
    except RefusedError:
        current = ""
    rows = []
    for name in names():
        try:
            settings = load_environment(name).settings
            rows.append(
                {"name": name, "current": name == current, "region": settings.region, "release": settings.release}
            )
        except RefusedError as error:
            rows.append({"name": name, "current": name == current, "error": str(error)})
    if as_json:
        print_json(rows)
        return
    columns = (Column("", key=True), Column("environment", key=True), Column("region"), Column("release", leave=1))
    broken = Text("invalid", "red")
    lines = [
        ("*" if r["current"] else "", str(r["name"]), str(r["region"]) if "region" in r else broken,
         str(r.get("release", "")))
        for r in rows
    ]  # fmt: skip
    show_table(console, columns, lines)


def use(name: Name) -> None:
    """Select the environment that commands use by default."""
    from scs_deploy.environment.environment import use as use_environment

    use_environment(name)
    console.print(f"using {name}")


def share(
    name: Name,
    group: Annotated[str, typer.Option(metavar="GROUP", help="Group of this machine whose members may read.")],
) -> None:
    """Let a group's members read an environment and its run records, without its secrets.

    Commands that change the region, or that connect to hosts, remain with the owner: members run them with sudo, and
    the run record has their name. Run it again after files were copied into the environment.
    """
    from scs_deploy.environment import sharing
    from scs_deploy.environment.environment import load as load_environment

    environment = load_environment(name)
    changed = sharing.share(environment, group)
    console.print(f"{counted(len(changed), 'file or folder', 'files and folders')} changed", soft_wrap=True)
    kept = ", ".join(str(p.relative_to(environment.path)) for p in sharing.secret_files(environment))
    console.print(f"{name} is readable for the group {group}, except: {kept or 'secrets, none yet'}", soft_wrap=True)


def check(
    name: Annotated[str | None, typer.Argument(metavar="REGION", help="Default: the selected one.")] = None,
    environment: EnvironmentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check all files that describe a region, without contacting hosts. Exits 2 if something is wrong."""
    from scs_deploy.desired.check import Finding
    from scs_deploy.desired.check import check as check_files
    from scs_deploy.environment.environment import current as current_environment

    try:
        chosen = name or environment or current_environment()
        findings = check_files(chosen)
    except Exception as error:
        said = explained(error)
        if not isinstance(said, RefusedError):
            raise
        chosen = name or environment or ""
        findings = [Finding(part="environment", error=said.message, hint=said.hint)]
    bad = [f for f in findings if f.error]
    if as_json:
        print_json({"environment": chosen, "ok": not bad, "parts": [f.model_dump() for f in findings]})
    else:
        for finding in findings:
            _print(finding)
        of = f"{chosen}: " if chosen else ""
        console.print(f"[red]{of}{counted(len(bad), 'error')}[/]" if bad else f"[green]{of}ok[/]")
    if bad:
        raise typer.Exit(2)


def leftovers(environment: EnvironmentOption = None, as_json: JsonOption = False) -> None:
    """List what own services that were removed from the environment leave behind: data, accounts, secrets.

    It follows from their last description; no host is contacted, so what has been deleted since is listed, too.
    """
    from scs_deploy.environment.environment import load as load_environment
    from scs_deploy.operations.removed import remains

    found = remains(load_environment(environment))
    if as_json:
        print_json([each.model_dump(mode="json") for each in found])
        return
    for each in found:
        console.print(f"{each.service}: {each}", markup=False, soft_wrap=True)
    if not found:
        console.print("no own service was removed")


def _print(finding: Finding) -> None:
    line = Text(f"{finding.part:<13}")
    if finding.error:
        line.append(finding.error, "red")
        line.append(f" ({finding.hint})" if finding.hint else "")
    elif finding.warning:
        line.append(f"warning: {finding.warning}", "yellow")
    else:
        line.append(finding.summary)
    console.print(line, soft_wrap=True)
