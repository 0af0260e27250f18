# SPDX-License-Identifier: Apache-2.0
"""Prints the prober's measurements, and has the options that control it."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.plural import counted
from scs_deploy.cli._options import console
from scs_deploy.cli._tables import Cell, Column, show_table
from scs_deploy.prober.watch import ProbeOptions
from scs_deploy.state.measurement import Summary

MaxFailed = Annotated[
    int | None,
    typer.Option(min=0, help="Pause before the next play once more than this many prober requests have failed."),
]
MaxAlerts = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Pause before the next play once more than this many critical alerts are there that were not before.",
    ),
]
NoProbe = Annotated[bool, typer.Option("--no-probe", help="Do not measure the region during the run.")]
Ping = Annotated[
    str | None, typer.Option("--ping", metavar="ADDRESS", help="IP address of a test VM for the prober to ping.")
]


def options(max_failed: int | None, no_probe: bool, ping: str | None, max_alerts: int | None = None) -> ProbeOptions:
    """The prober's settings from the options of a command.

    :raises RefusedError: --ping is no IP address, or an option contradicts --no-probe
    """
    if no_probe and (max_failed is not None or ping):
        raise RefusedError(
            "--no-probe cannot be combined with --max-failed-requests or --ping", "leave out one of them"
        )
    if ping:
        try:
            ip_address(ping)
        except ValueError:
            raise RefusedError(
                f"--ping {ping}: not an IP address", "use the address of the VM, e.g. its floating IP"
            ) from None
    return ProbeOptions(enabled=not no_probe, max_failed=max_failed, ping=ping or "", max_alerts=max_alerts)


COLUMNS = (
    Column("measured", key=True),
    Column("requests", leave=2, justify="right"),
    Column("failed", justify="right"),
    Column("longest gap", justify="right"),
    Column("p50", leave=3, justify="right"),
    Column("p99", leave=1, justify="right"),
    Column("errors"),
)


def show_measured(summaries: Sequence[Summary], to: Console = console) -> None:
    """Print a line for each kind of request, then the total."""
    show_table(to, COLUMNS, map(row, summaries))
    to.print(total(summaries), highlight=False, soft_wrap=True)


def row(summary: Summary) -> tuple[Cell, ...]:
    """The cells of `COLUMNS` for one kind of request."""
    return (
        summary.kind,
        str(summary.requests),
        Text(str(summary.failed), "red" if summary.failed else ""),
        f"{summary.gap.seconds:.1f} s" if summary.regular else "",
        _time(summary.p50),
        _time(summary.p99),
        ", ".join(f"{text} x{count}" for text, count in summary.errors.items()),
    )


def total(summaries: Sequence[Summary]) -> str:
    """The total of all kinds of requests, on one line."""
    requests, failed = sum(s.requests for s in summaries), sum(s.failed for s in summaries)
    gap = max((s.gap for s in summaries if s.regular), key=lambda g: g.seconds, default=None)
    style = "red" if failed else "green"
    rate = sum(s.per_second for s in summaries)
    text = f"[{style}]{failed} of {counted(requests, 'request')} failed[/] ({rate:.1f} per second)"
    return text + (f"; longest gap {gap}" if gap else "")


def _time(seconds: float) -> str:
    if not seconds:
        return ""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
