# SPDX-License-Identifier: Apache-2.0
"""`scs certs`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.text import Text

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.plural import counted
from scs_deploy.cli import _measured as measured
from scs_deploy.cli import _rotating as rotating
from scs_deploy.cli._options import EnvironmentOption, JsonOption, Waiting, YesOption, console, print_json
from scs_deploy.cli._region import load_for_reading, load_region
from scs_deploy.cli._tables import Cell, Column, show_table
from scs_deploy.cli.plan import Allow
from scs_deploy.secrets.issuing import RENEW_DAYS

if TYPE_CHECKING:
    from scs_deploy.operations.certificates import Entry

Offline = Annotated[bool, typer.Option("--offline", help="Read certificates.yml only, do not connect to servers.")]

COLUMNS = (
    Column("kind", leave=1),
    Column("name", key=True),
    Column("where"),
    Column("days left", justify="right"),
    Column("problem"),
)


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(
        help="Inspect the region's certificates, including those that servers present, and rotate them.",
        no_args_is_help=True,
    )
    group.command("list", epilog="Example: scs certs list --json")(list_certificates)
    group.command(epilog="Example: scs certs check --days 45")(check)
    group.command(epilog="Example: scs certs rotate --plan")(rotate)
    app.add_typer(group, name="certs")


def list_certificates(
    offline: Offline = False, environment: EnvironmentOption = None, as_json: JsonOption = False
) -> None:
    """List every certificate and when it expires: CAs, issued certificates, and those that servers present."""
    from scs_deploy.operations import certificates

    entries = _collect(environment, offline)
    if as_json:
        print_json([_row(e) for e in entries])
        return
    now = certificates.now()
    show_table(console, COLUMNS, [_cells(e, e.days(now)) for e in entries])


def check(
    days: Annotated[
        int, typer.Option(min=0, help="Report certificates that expire within this many days.")
    ] = RENEW_DAYS,
    offline: Offline = False,
    environment: EnvironmentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Exit 1 if a certificate expires soon, or a server cannot be read or presents the wrong certificate."""
    from scs_deploy.operations import certificates

    entries = _collect(environment, offline)
    problems = certificates.problems(entries, days, certificates.now())
    if as_json:
        print_json({"ok": not problems, "days": days, "problems": problems, "certificates": [_row(e) for e in entries]})
    else:
        for line in problems:
            console.print(f"[red]{escape(line)}[/]")
        first = min((e.ends for e in entries if e.ends), default=None)
        until = f", the first expires on {first:%Y-%m-%d}" if first else ""
        console.print(f"{counted(len(entries), 'certificate')}, {counted(len(problems), 'problem')}{until}")
    if problems:
        raise typer.Exit(1)


def rotate(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="CERTIFICATE", help="Names as in `scs certs list`. Default: all.")
    ] = None,
    ca: Annotated[bool, typer.Option("--ca", help="Rotate the CA too; both CAs are trusted meanwhile.")] = False,
    users_trust: Annotated[
        bool,
        typer.Option("--users-trust", help="With --ca: confirm that all API users trust the new ca.crt, and continue."),
    ] = False,
    plan: rotating.PlanOption = False,
    yes: YesOption = False,
    allow: Allow = None,
    max_failed_requests: measured.MaxFailed = None,
    no_probe: measured.NoProbe = False,
    environment: EnvironmentOption = None,
) -> None:
    """Issue new certificates and put them into use on every server, without downtime.

    If interrupted, run the same command again: it continues where it stopped.
    """
    from scs_deploy.operations.rotate.rotation import RotateRequest

    if ca and names:
        raise RefusedError("--ca replaces every certificate", "leave out the names")
    if users_trust and not ca:
        raise RefusedError("--users-trust requires --ca", "add --ca")
    probe = measured.options(max_failed_requests, no_probe, None)
    request = RotateRequest(
        kind="ca" if ca else "certificates", names=tuple(names or ()), users_trust=users_trust,
        allow=tuple(allow or ()), probe=probe,
    )  # fmt: skip
    rotating.rotate(load_region(environment), request, plan, yes)


def _collect(environment: str | None, offline: bool) -> list[Entry]:
    from scs_deploy.operations import certificates

    region = load_for_reading(environment)
    entries = certificates.known(region)
    if not offline:
        wanted = certificates.targets(region)
        with Waiting(f"reading certificates of {counted(len(wanted), 'server')}"):
            entries += certificates.served(region, wanted)
    return entries


def _cells(entry: Entry, left: int | None) -> tuple[Cell, ...]:
    days = "" if left is None else Text(str(left), "red" if left < RENEW_DAYS else "")
    return entry.kind, entry.name, entry.where, days, Text(entry.problem, "red")


def _row(entry: Entry) -> dict[str, object]:
    from scs_deploy.operations import certificates

    return {**entry.model_dump(mode="json"), "days": entry.days(certificates.now())}
