# SPDX-License-Identifier: Apache-2.0
"""`scs apply`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.base.plural import counted
from scs_deploy.cli import _measured as measured
from scs_deploy.cli._asking import check_terminal, plan_confirmation
from scs_deploy.cli._options import EnvironmentOption, YesOption, command_line, console
from scs_deploy.cli._progress import RunProgress
from scs_deploy.cli._region import load_region
from scs_deploy.cli.plan import Consents, Hosts, consents

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
            help="Only these. Default: everything. A plan saved with `scs plan --out` is applied exactly, and refused "
            "if its inputs have changed.",
        ),
    ] = None,
    host: Hosts = None,
    allow: Consents = None,
    yes: YesOption = False,
    max_failed_requests: measured.MaxFailed = None,
    max_alerts: measured.MaxAlerts = None,
    no_probe: measured.NoProbe = False,
    ping: measured.Ping = None,
    environment: EnvironmentOption = None,
) -> None:
    """Bring the region to its desired state: make the changes that `scs plan` shows, then verify that none remain.

    If the APIs work before the run, a prober measures them during it: tokens, list calls, and one small write a minute.
    """
    from scs_deploy.operations.apply import Apply, ApplyRequest

    region = load_region(environment)
    probe = measured.options(max_failed_requests, no_probe, ping, max_alerts)
    plan: Plan | None = None
    if names and (file := _plan_file(region, names)):
        operation, plan = _saved(region, file, probe, bool(host or allow))
    else:
        region.catalog.select(tuple(names or ()))
        region.select_hosts(host or ())
        impacts, pools = consents(allow)
        request = ApplyRequest(
            services=tuple(names or ()), hosts=tuple(host or ()), allow=impacts, data_loss=pools, probe=probe
        )
        operation = Apply(region, request, command_line())
    check_terminal(yes)
    with RunProgress() as progress:
        done = operation.run(progress, plan_confirmation(region, progress, "apply", yes), plan)
    print_result(region, done)


def _plan_file(region: Region, names: list[str]) -> Path | None:
    """The plan file, if the operator named one instead of services."""
    if len(names) > 1 or names[0] in region.catalog.services or names[0] in region.catalog.owner:
        return None
    file = Path(names[0])
    return file if file.is_file() or file.suffix or "/" in names[0] else None


def _saved(region: Region, file: Path, probe: ProbeOptions, narrowed: bool) -> tuple[Apply, Plan]:
    """The operation that applies exactly the plan of a file, and this plan.

    :raises RefusedError: the file is not a plan, or an input of the plan has changed
    """
    from scs_deploy.operations import saved_plan
    from scs_deploy.operations.apply import Apply, ApplyRequest

    if narrowed:
        raise RefusedError(
            f"{file}: a saved plan cannot be combined with --host or --allow", "pass them to scs plan --out FILE"
        )
    saved = saved_plan.load(file)
    saved_plan.check_inputs(saved, region, file)
    request = ApplyRequest(
        services=saved.services, hosts=saved.hosts, allow=saved.allow, data_loss=saved.data_loss, probe=probe
    )
    return Apply(region, request, command_line()), saved.plan


def print_result(region: Region, done: Applied) -> None:
    """Print how an apply ended, and report it to NetBox if that is enabled."""
    if done.run:
        console.print(f"[green]done[/]: {counted(done.changes, 'change')} in run {done.run}, none remaining")
        _update_netbox(region)
    elif not done.held and not done.unreachable:
        console.print("[green]no changes[/]: the region is in its desired state")
    print_held(done.held, "scs apply --allow data-plane")
    print_waiting(done.unreachable)


def print_held(held: int, command: str) -> None:
    """Print how many changes wait for consent, if any, and the command that gives it."""
    if held:
        verb = "is" if held == 1 else "are"
        console.print(f"[yellow]{counted(held, 'change')} {verb} held back[/]; allow with `{command}`")


def print_waiting(hosts: tuple[str, ...]) -> None:
    """Print whose changes wait, if any."""
    for host in hosts:
        console.print(f"[yellow]{host}: held: host unreachable[/]; `scs apply` changes it once it responds")


def _update_netbox(region: Region) -> None:
    """Report the run to NetBox if that is enabled. The run is over: a failure here does not change its result."""
    from scs_deploy.inventory.netbox import mapping
    from scs_deploy.operations import netbox_writeback

    if not (region.environment.path / mapping.FILE).is_file():
        return
    try:
        if mapping.load(region.environment).writeback.enabled:
            result = netbox_writeback.report(region, lambda _done, _total: None)
            console.print(f"NetBox: {counted(len(result.written), 'device')} updated")
    except ScsError as error:
        console.print(
            f"[yellow]note:[/] could not update NetBox: {escape(str(error))} (retry with scs inventory writeback)"
        )
