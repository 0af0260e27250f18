# SPDX-License-Identifier: Apache-2.0
"""How the prober's findings look, and the options that say what it measures."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Annotated

import typer
from rich.table import Table

from scs_deploy.base.errors import RefusedError
from scs_deploy.prober.watch import ProbeOptions
from scs_deploy.state.measurement import Summary

MaxFailed = Annotated[
    int | None,
    typer.Option(min=0, help="Pause before the next play when more requests of the prober than these have failed."),
]
NoProbe = Annotated[bool, typer.Option("--no-probe", help="Do not measure the region meanwhile.")]
Ping = Annotated[
    str | None, typer.Option("--ping", metavar="ADDRESS", help="Address of a test VM that the prober pings meanwhile.")
]


def options(max_failed: int | None, no_probe: bool, ping: str | None) -> ProbeOptions:
    """What the operator asked for.

    :raises RefusedError: no address, or a threshold for what is not measured
    """
    if no_probe and (max_failed is not None or ping):
        raise RefusedError("--no-probe measures nothing", "leave out --max-failed-requests and --ping")
    if ping:
        try:
            ip_address(ping)
        except ValueError:
            raise RefusedError(f"--ping {ping}: no IP address", "give the VM's address, e.g. its floating IP") from None
    return ProbeOptions(enabled=not no_probe, max_failed=max_failed, ping=ping or "")


def table(summaries: Sequence[Summary]) -> Table:
    """A line for each kind of request."""
    found = Table("Measured", box=None, header_style="bold")
    for heading in ("Requests", "Failed", "Longest gap", "p50", "p99"):
        found.add_column(heading, justify="right")
    found.add_column("Errors", overflow="fold")
    for s in summaries:
        gap = f"{s.gap.seconds:.1f} s" if regular(s) else ""
        errors = ", ".join(f"{text} x{count}" for text, count in s.errors.items())
        found.add_row(
            s.kind, str(s.requests), f"[red]{s.failed}[/]" if s.failed else "0", gap, _time(s.p50), _time(s.p99), errors
        )
    return found


def total(summaries: Sequence[Summary]) -> str:
    """The sum of all, on one line."""
    requests, failed = sum(s.requests for s in summaries), sum(s.failed for s in summaries)
    gap = max((s.gap for s in summaries if regular(s)), key=lambda g: g.seconds, default=None)
    style = "red" if failed else "green"
    rate = sum(s.per_second for s in summaries)
    text = f"[{style}]{failed} of {requests} requests failed[/] ({rate:.1f} per second)"
    return text + (f"; longest gap {gap}" if gap else "")


def regular(summary: Summary) -> bool:
    """Whether it was asked often enough for a gap to say something: writes are made once a minute."""
    return not summary.kind.endswith(" write")


def _time(seconds: float) -> str:
    if not seconds:
        return ""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
