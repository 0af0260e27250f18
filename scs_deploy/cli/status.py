# SPDX-License-Identifier: Apache-2.0
"""`scs status`."""

from __future__ import annotations

import typer
from rich.table import Table

from scs_deploy.cli import _progress as show
from scs_deploy.cli._options import EnvironmentOption, JsonOption, console, print_json
from scs_deploy.cli.plan import Hosts, Names


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: scs status openstack")(status)


def status(
    names: Names = None, host: Hosts = None, environment: EnvironmentOption = None, as_json: JsonOption = False
) -> None:
    """Show every container: state, health, restarts. Exits 1 when one does not run or is unhealthy."""
    from scs_deploy.engine.observe import observe_hosts
    from scs_deploy.region.region import Region

    region = Region.load(environment)
    chosen = region.catalog.select(tuple(names or ()))
    with console.status("observing"):
        seen = observe_hosts(region, chosen, states=True)
    states = seen.states
    shown = [s for s in states if s["service"] in chosen and (not host or s["host"] in host)]
    if as_json:
        print_json(shown)
    else:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in ("host", "service", "container", "state", "health", "restarts", "since", "image"):
            table.add_column(name)
        for s in shown:
            good = s["state"] == "running" and s["health"] in ("", "healthy", "starting")
            state = f"[{'green' if good else 'red'}]{s['state']}[/]"
            since = (s["started"] or "")[:19].replace("T", " ")
            table.add_row(
                s["host"], s["service"], s["container"], state, s["health"], str(s["restarts"]), since, s["image"]
            )
        console.print(table)
        show.print_drained(h.host for h in seen.hosts if h.drained)
    if any(s["state"] != "running" or s["health"] == "unhealthy" for s in shown):
        raise typer.Exit(1)
