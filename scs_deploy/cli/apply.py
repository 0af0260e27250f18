# SPDX-License-Identifier: Apache-2.0
"""`scs apply`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.cli import _measured as measured
from scs_deploy.cli import _progress as show
from scs_deploy.cli._asking import check_terminal, confirming
from scs_deploy.cli._options import EnvironmentOption, console
from scs_deploy.cli.plan import Allow, Hosts

if TYPE_CHECKING:
    from scs_deploy.operations.apply import Applied, Apply
    from scs_deploy.plan.region import Plan
    from scs_deploy.prober.watch import ProbeOptions
    from scs_deploy.region.region import Region


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: scs apply keystone --yes; scs plan --out monday.plan, then scs apply monday.plan")(
        apply
    )


def apply(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SERVICE|LAYER|FILE",
            help="Only these; default: everything. Or a plan that `scs plan --out` saved: it is applied unless "
            "something that it was computed from has changed.",
        ),
    ] = None,
    host: Hosts = None,
    allow: Allow = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    max_failed_requests: measured.MaxFailed = None,
    no_probe: measured.NoProbe = False,
    ping: measured.Ping = None,
    environment: EnvironmentOption = None,
) -> None:
    """Change the region to its desired state: exactly what `scs plan` shows, then verify that nothing is left.

    A region that answers before is measured meanwhile: a token, each API's list call, a small write a minute.
    """
    from scs_deploy.operations.apply import Apply, ApplyRequest
    from scs_deploy.region.region import Region

    region = Region.load(environment)
    probe = measured.options(max_failed_requests, no_probe, ping)
    check_terminal(yes)
    plan: Plan | None = None
    if names and (file := _plan_file(region, names)):
        operation, plan = _saved(region, file, probe, bool(host or allow))
    else:
        request = ApplyRequest(
            services=tuple(names or ()), hosts=tuple(host or ()), allow=tuple(allow or ()), probe=probe
        )
        operation = Apply(region, request)
    with show.RunProgress() as progress:
        done = operation.run(progress, confirming(region, progress, "apply?", yes), plan)
    finished(region, done)


def _plan_file(region: Region, names: list[str]) -> Path | None:
    """The saved plan that was named instead of services."""
    if len(names) > 1 or names[0] in region.catalog.services or names[0] in region.catalog.owner:
        return None
    file = Path(names[0])
    return file if file.is_file() or file.suffix or "/" in names[0] else None


def _saved(region: Region, file: Path, probe: ProbeOptions, narrowed: bool) -> tuple[Apply, Plan]:
    """Apply exactly the plan of a file.

    :raises RefusedError: the file is no plan, or something that it was computed from has changed
    """
    from scs_deploy.operations import saved_plan
    from scs_deploy.operations.apply import Apply, ApplyRequest

    if narrowed:
        raise RefusedError(f"{file}: a saved plan says itself what it changes", "leave out --host and --allow")
    saved = saved_plan.load(file)
    saved_plan.check_inputs(saved, region, file)
    request = ApplyRequest(services=saved.services, hosts=saved.hosts, allow=saved.allow, probe=probe)
    return Apply(region, request, f"scs apply {file}"), saved.plan


def finished(region: Region, done: Applied) -> None:
    """How it ended, on one line."""
    if done.run:
        console.print(f"[green]done[/]: {done.changes} changes in run {done.run}, nothing left")
        _tell_netbox(region)
    elif not done.held:
        console.print("[green]no changes[/]: the region is as desired")
    if done.held:
        console.print(f"[yellow]{done.held} changes are held back[/] until `scs apply --allow data-plane`")


def _tell_netbox(region: Region) -> None:
    """Opt-in, and no part of the run: it is over, and stays done when NetBox does not answer."""
    from scs_deploy.inventory.netbox import mapping
    from scs_deploy.operations import netbox_writeback as writeback

    if not (region.environment.path / mapping.FILE).is_file():
        return
    try:
        if mapping.load(region.environment).writeback.enabled:
            told = writeback.report(region, lambda _done, _total: None)
            console.print(f"NetBox: {len(told.written)} device(s) written")
    except ScsError as error:
        console.print(f"[yellow]note:[/] NetBox was not told: {escape(str(error))} (scs inventory writeback)")
