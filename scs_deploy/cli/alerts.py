# SPDX-License-Identifier: Apache-2.0
"""`scs alerts`: what calls for somebody now, and what shall not for a while."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.text import Text

from scs_deploy.base.plural import counted
from scs_deploy.cli._options import EnvironmentOption, JsonOption, Waiting, console, errors, print_json
from scs_deploy.cli._region import load_for_reading
from scs_deploy.cli._tables import Cell, Column, show_table

if TYPE_CHECKING:
    from scs_deploy.shared.monitoring import Alert, Monitoring
    from scs_deploy.shared.service_levels import Level

app = typer.Typer(help="Show alerts of the region, and silence those that are expected.", no_args_is_help=True)

COLOURS = {"critical": "bold red", "warning": "yellow"}

ALERT_COLUMNS = (
    Column("alert", key=True),
    Column("severity"),
    Column("host", key=True),
    Column("since", leave=1),
    Column("what"),
    Column("what it means", leave=3),
    Column("runbook", leave=2),
)
SILENCE_COLUMNS = (
    Column("id", key=True),
    Column("alerts"),
    Column("until", key=True),
    Column("by", leave=1),
    Column("comment", leave=2),
)
LEVEL_COLUMNS = (
    Column("endpoint", key=True),
    Column("service", leave=4),
    Column("service level", justify="right", leave=1),
    Column("availability", justify="right"),
    Column("measured for", justify="right"),
    Column("budget left", justify="right"),
    Column("requests/s", justify="right", leave=3),
    Column("mean response", justify="right", leave=2),
)

AlertArgument = Annotated[
    str | None, typer.Argument(metavar="[ALERT]", help="Name of the alert; default: every alert that the options name.")
]
HostOption = Annotated[str | None, typer.Option("--host", metavar="HOST", help="Only of this host.")]
ServiceOption = Annotated[str | None, typer.Option("--service", metavar="SERVICE", help="Only of this service.")]
ForOption = Annotated[str, typer.Option("--for", metavar="DURATION", help="How long, e.g. 30m, 2h, 3d.")]
CommentOption = Annotated[str, typer.Option("--comment", metavar="TEXT", help="Why, for colleagues.")]
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="As `scs alerts silences` shows it.")]


def register(parent: typer.Typer) -> None:
    """Add `scs alerts`."""
    parent.add_typer(app, name="alerts")


@app.command("list", epilog="Example: scs alerts list --json")
def list_alerts(
    every: Annotated[bool, typer.Option("--all", help="Also silenced ones, and those that others explain.")] = False,
    environment: EnvironmentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what calls for somebody now, the worst first. Exits 1 if something does, or if no alert would arrive."""
    from scs_deploy.shared.monitoring import WATCHDOG, arrive

    with Waiting("asking Alertmanager"):
        found = _monitoring(environment).alerts()
    arrives = arrive(found)
    calling = [a for a in found if a.counts]
    shown = [a for a in found if a.name != WATCHDOG] if every else calling
    if as_json:
        print_json({"alerts": [a.model_dump(mode="json") for a in shown], "arrive": arrives})
    else:
        _show(shown, len(found) - len(calling) - arrives)
    if not arrives:
        errors.print("[red]no alert would arrive[/]: Prometheus sends none (scs status prometheus)")
    if calling or not arrives:
        raise typer.Exit(1)


def _show(alerts: list[Alert], hidden: int) -> None:
    if alerts:
        show_table(console, ALERT_COLUMNS, map(_row, alerts))
    else:
        more = f"; {counted(hidden, 'alert')} silenced or explained by others (--all)" if hidden else ""
        console.print(f"[green]no alert[/]{more}")


def _row(alert: Alert) -> list[Cell]:
    said = alert.severity + (" (silenced)" if alert.silenced else " (explained)" if alert.inhibited else "")
    since = f"{alert.since.astimezone():%Y-%m-%d %H:%M}"
    severity = Text(said, COLOURS.get(alert.severity, "") if alert.counts else "dim")
    return [alert.name, severity, alert.host, since, alert.summary, alert.impact, alert.runbook]


@app.command(epilog="Example: scs alerts silence HostDown --host compute-3 --for 2h --comment 'new memory'")
def silence(
    alert: AlertArgument = None,
    host: HostOption = None,
    service: ServiceOption = None,
    duration: ForOption = "2h",
    comment: CommentOption = "",
    environment: EnvironmentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have nobody told of alerts that are expected, for a while. Prints the ids of the silences.

    Alerts about a whole host, such as HostDown, are of no service: name them, or their host.
    """
    from scs_deploy.base.errors import RefusedError
    from scs_deploy.shared.monitoring import of_services
    from scs_deploy.state import process

    named = {k: v for k, v in (("alertname", alert), ("host", host), ("service", service)) if v}
    if not named:
        raise RefusedError("nothing to silence: everything would be", "name an alert, --host or --service")
    length = _length(duration)
    monitoring = _monitoring(environment, **named)
    wanted = {k: v for k, v in named.items() if k != "service"}
    silences = of_services([service], **wanted) if service else [wanted]
    now = datetime.now(UTC)
    until = now + length
    with Waiting("asking Alertmanager"):
        made = [monitoring.silence(m, now, until, process.owner(), comment or "scs alerts silence") for m in silences]
    if as_json:
        print_json({"ids": made, "until": until, "matchers": silences})
    else:
        ids = ", ".join(made)
        console.print(f"[green]silenced[/] until {until.astimezone():%Y-%m-%d %H:%M}: {escape(ids)}", soft_wrap=True)


@app.command(epilog="Example: scs alerts silences")
def silences(environment: EnvironmentOption = None, as_json: JsonOption = False) -> None:
    """Show the silences that are in force."""
    with Waiting("asking Alertmanager"):
        found = _monitoring(environment).silences()
    if as_json:
        print_json([s.model_dump(mode="json") for s in found])
    elif found:
        rows = ([s.id, _matched(s.matchers), f"{s.until.astimezone():%Y-%m-%d %H:%M}", s.by, s.comment] for s in found)
        show_table(console, SILENCE_COLUMNS, rows)
    else:
        console.print("no silence is in force")


@app.command(epilog="Example: scs alerts unsilence 8e2c0d1f-52f4-4f7c-9b44-0d8f6c0c5a11")
def unsilence(identifier: IdArgument, environment: EnvironmentOption = None) -> None:
    """End a silence."""
    from scs_deploy.base.errors import RefusedError

    monitoring = _monitoring(environment)
    with Waiting("asking Alertmanager"):
        if identifier not in {s.id for s in monitoring.silences()}:
            raise RefusedError(f"no silence '{identifier}' is in force", "scs alerts silences")
        monitoring.end_silence(identifier)
    console.print("[green]ended[/]")


@app.command(epilog="Example: scs alerts slo --json")
def slo(environment: EnvironmentOption = None, as_json: JsonOption = False) -> None:
    """Show how each endpoint has met its service level in the last 30 days, or for as long as there is data."""
    from scs_deploy.engine import remote
    from scs_deploy.shared.monitoring import Monitoring
    from scs_deploy.shared.service_levels import levels

    region = load_for_reading(environment)
    with Waiting("asking Prometheus"):
        found = levels(region, Monitoring(region, remote.runner_in(region)))
    if as_json:
        print_json([level.model_dump(mode="json") for level in found])
    elif found:
        show_table(console, LEVEL_COLUMNS, map(_level_row, found))
    else:
        console.print("no endpoint has been measured yet")


def _level_row(level: Level) -> list[Cell]:
    left, availability = level.budget_left, level.availability
    return [
        level.endpoint,
        level.service,
        f"{level.objective:g} %",
        "no requests" if availability is None else f"{availability:.3f} %",
        _rounded(level.measured_seconds),
        "" if left is None else Text(f"{left:.0%}", "red" if left < 0 else "yellow" if left < 0.25 else ""),
        "" if level.requests_per_second is None else f"{level.requests_per_second:.2f}",
        "" if level.response_seconds is None else f"{1000 * level.response_seconds:.0f} ms",
    ]


def _rounded(seconds: int) -> str:
    """A length of time in its largest unit."""
    for unit, name in ((86400, "d"), (3600, "h")):
        if seconds >= 2 * unit:
            return f"{seconds // unit} {name}"
    return f"{seconds // 60} min"


def _matched(matchers: dict[str, str]) -> str:
    return ", ".join(v if n == "alertname" else f"{n} {v}" for n, v in sorted(matchers.items()))


def _length(text: str) -> timedelta:
    from scs_deploy.base.since import length

    return length(text, "--for")


def _monitoring(environment: str | None, **named: Any) -> Monitoring:
    """The region's monitoring.

    :param named: `alertname`, `host` and `service` must exist
    :raises RefusedError: the region has no monitoring, or one of these does not exist
    """
    from scs_deploy.engine import remote
    from scs_deploy.shared import monitoring

    region = load_for_reading(environment)
    made = monitoring.Monitoring(region, remote.runner_in(region))
    monitoring.check_names(region, named)
    return made
