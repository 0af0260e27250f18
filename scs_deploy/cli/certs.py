# SPDX-License-Identifier: Apache-2.0
"""`scs certs`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from scs_deploy.base.errors import RefusedError
from scs_deploy.cli import _measured as measured
from scs_deploy.cli import _rotating as rotating
from scs_deploy.cli._options import EnvironmentOption, JsonOption, console, errors, print_json
from scs_deploy.cli.plan import Allow

if TYPE_CHECKING:
    from scs_deploy.operations.certificates import Entry

Offline = Annotated[bool, typer.Option("--offline", help="Ask no server: what certificates.yml holds only.")]
DAYS = 30
"""Days before its end that a certificate is told of, as `scs secrets init` renews it then."""


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(
        help="Look at the region's certificates, what servers really serve among them, and exchange them.",
        no_args_is_help=True,
    )
    group.command("list", epilog="Example: scs certs list --json")(list_certificates)
    group.command(epilog="Example: scs certs check --days 45")(check)
    group.command(epilog="Example: scs certs rotate --plan")(rotate)
    app.add_typer(group, name="certs")


def list_certificates(
    offline: Offline = False, environment: EnvironmentOption = None, as_json: JsonOption = False
) -> None:
    """List every certificate and when it ends: CAs, what was issued, and what every server really serves."""
    from scs_deploy.operations import certificates as certs

    entries = _collect(environment, offline)
    if as_json:
        print_json([_row(e) for e in entries])
        return
    table = Table("what", "name", "where", "days left", "", box=None, pad_edge=False, header_style="bold")
    for e in entries:
        left = e.days(certs.now())
        days = "" if left is None else f"[red]{left}[/]" if left < DAYS else str(left)
        table.add_row(e.kind, e.name, escape(e.where), days, f"[red]{escape(e.problem)}[/]" if e.problem else "")
    console.print(table)


def check(
    days: Annotated[int, typer.Option(min=0, help="Tell of what ends within so many days.")] = DAYS,
    offline: Offline = False,
    environment: EnvironmentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Exit 1 when a certificate ends soon, a server serves another than was issued, or cannot be read."""
    from scs_deploy.operations import certificates as certs

    entries = _collect(environment, offline)
    found = certs.problems(entries, days, certs.now())
    if as_json:
        print_json({"ok": not found, "days": days, "problems": found, "certificates": [_row(e) for e in entries]})
    else:
        for line in found:
            console.print(f"[red]{escape(line)}[/]")
        first = min((e.ends for e in entries if e.ends), default=None)
        until = f", the first ends on {first:%Y-%m-%d}" if first else ""
        console.print(f"{len(entries)} certificates, {len(found)} problems{until}")
    if found:
        raise typer.Exit(1)


def rotate(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="CERTIFICATE", help="As in `scs certs list`; default: all.")
    ] = None,
    ca: Annotated[bool, typer.Option("--ca", help="Exchange the CA too, with both trusted meanwhile.")] = False,
    users_trust: Annotated[
        bool,
        typer.Option("--users-trust", help="With --ca: all users of the APIs have the new ca.crt, go on."),
    ] = False,
    plan: rotating.PlanOption = False,
    yes: rotating.YesOption = False,
    allow: Allow = None,
    max_failed_requests: measured.MaxFailed = None,
    no_probe: measured.NoProbe = False,
    environment: EnvironmentOption = None,
) -> None:
    """Issue certificates anew and have every server serve them, without an interruption.

    Interrupted? The same command goes on where it was.
    """
    from scs_deploy.operations.rotate.rotation import RotateRequest
    from scs_deploy.region.region import Region

    if ca and names:
        raise RefusedError("--ca issues every certificate anew", "leave the names out")
    if users_trust and not ca:
        raise RefusedError("--users-trust belongs to an exchange of the CA", "add --ca")
    probe = measured.options(max_failed_requests, no_probe, None)
    request = RotateRequest(
        kind="ca" if ca else "certificates", names=tuple(names or ()), users_trust=users_trust,
        allow=tuple(allow or ()), probe=probe,
    )  # fmt: skip
    rotating.rotate(Region.load(environment), request, plan, yes)


def _collect(environment: str | None, offline: bool) -> list[Entry]:
    from scs_deploy.operations import certificates as certs
    from scs_deploy.region.region import Region

    region = Region.load(environment)
    entries = certs.known(region)
    if not offline:
        wanted = certs.targets(region)
        with errors.status(f"reading {len(wanted)} servers"):
            entries += certs.served(region, wanted)
    return entries


def _row(entry: Entry) -> dict[str, object]:
    from scs_deploy.operations import certificates as certs

    return {**entry.model_dump(mode="json"), "days": entry.days(certs.now())}
