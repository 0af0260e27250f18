# SPDX-License-Identifier: Apache-2.0
"""`scs node`: hosts of a running region."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.text import Text

from scs_deploy.base.plural import counted
from scs_deploy.cli._asking import check_terminal, confirm_or_exit
from scs_deploy.cli._options import (
    EnvironmentOption,
    JsonOption,
    Waiting,
    YesOption,
    command_line,
    console,
    errors,
    print_json,
)
from scs_deploy.cli._progress import RunProgress
from scs_deploy.cli._region import load_for_reading, load_region
from scs_deploy.cli._tables import Cell, Column, show_table

if TYPE_CHECKING:
    from scs_deploy.operations.node.plan import NodePlan
    from scs_deploy.operations.node.view import View

app = typer.Typer(help="List, drain, evacuate, replace, add and remove hosts of a region.", no_args_is_help=True)

HostArgument = Annotated[str, typer.Argument(metavar="HOST", help="Name in the inventory.")]
PlanOption = Annotated[bool, typer.Option("--plan", help="Show the steps; change nothing.")]
GuestsOption = Annotated[bool, typer.Option("--leave-guests", help="Continue even if some guests cannot be migrated.")]
LostGuestsOption = Annotated[
    bool, typer.Option("--leave-guests", help="Continue even if some guests cannot be rebuilt with their data.")
]
QuorumOption = Annotated[
    bool,
    typer.Option(
        "--force-quorum-loss",
        help="Continue even if the database, message broker, OVN or Ceph loses its quorum or its last spare member.",
    ),
]
FingerprintOption = Annotated[
    str,
    typer.Option(
        "--host-key-fingerprint",
        metavar="SHA256:...",
        help="Trust the host's new SSH key, which must have this fingerprint.",
    ),
]
COLUMNS = (
    Column("host", key=True),
    Column("state", key=True),
    Column("groups", leave=2),
    Column("guests", leave=1, justify="right"),
    Column("addresses", key=True, leave=3),
    Column("gateways", leave=4, justify="right"),
    Column("member of"),
)


def register(parent: typer.Typer) -> None:
    """Add `scs node`."""
    parent.add_typer(app, name="node")


@app.command("list", epilog="Example: scs node list --json")
def list_(environment: EnvironmentOption = None, as_json: JsonOption = False) -> None:
    """Show every host: its state, groups, guests, API addresses, router gateways and cluster memberships."""
    from scs_deploy.operations.node import observe

    region = load_for_reading(environment)
    with Waiting(f"observing {counted(len(region.inventory.hosts), 'host')}"):
        view = observe.observe(region)
    rows = [_row(view, host) for host in view.hosts]
    if as_json:
        print_json(rows)
        return
    show_table(console, COLUMNS, map(_cells, rows))
    if view.no_compute:
        errors.print(f"[yellow]Nova does not respond[/]: {escape(view.no_compute)}")


def _cells(row: dict[str, Any]) -> tuple[Cell, ...]:
    colour = {"in use": "green", "drained": "yellow", "unreachable": "red"}.get(row["state"], "yellow")
    members = [f"{name}{'' if works else ' (down)'}" for name, works in row["members"].items()]
    return (
        row["host"], Text(row["state"], colour), ", ".join(row["groups"]),
        "" if row["guests"] is None else str(row["guests"]), "\n".join(row["addresses"]),
        str(len(row["gateways"])) if row["gateway"] else "", ", ".join(members),
    )  # fmt: skip


def _row(view: View, host: str) -> dict[str, Any]:
    seen, compute = view.hosts[host], view.computes.get(host)
    service = None if compute is None else {"enabled": compute.enabled, "up": compute.up, "reason": compute.reason}
    partly = compute is not None and not compute.enabled
    state = "unreachable" if seen.unreachable else "drained" if view.drained(host) else "in use"
    state = "evacuated" if view.evacuated(host) else state
    if state == "in use" and (partly or seen.marked):
        state = "partly drained"
    return {
        "host": host,
        "state": state,
        "groups": list(seen.groups),
        "unreachable": seen.unreachable,
        "guests": len(view.guests[host]) if host in view.guests else None,
        "compute": service,
        "addresses": list(seen.addresses),
        "gateway": seen.gateway,
        "gateways": list(seen.gateways),
        "members": {
            c.name: host in c.alive for c in sorted(view.clusters, key=lambda c: c.name) if host in c.wanted
        },
    }  # fmt: skip


@app.command(epilog="Example: scs node drain compute-3 --yes")
def drain(
    host: HostArgument,
    plan: PlanOption = False,
    yes: YesOption = False,
    leave_guests: GuestsOption = False,
    force_quorum_loss: QuorumOption = False,
    environment: EnvironmentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Move guests, gateways, API requests and API addresses off a host, so that it can be shut down.

    Safe to run again: it continues where it stopped. `scs node undrain` returns the host to service.
    """
    _run("drain", host, plan, yes, environment, as_json, leave_guests, force_quorum_loss)


@app.command(epilog="Example: scs node undrain compute-3 --yes")
def undrain(
    host: HostArgument,
    plan: PlanOption = False,
    yes: YesOption = False,
    environment: EnvironmentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Return a drained or evacuated host to service once its services work and its cluster members are in sync.

    What an evacuated host still runs of guests that are elsewhere now is destroyed first.
    """
    _run("undrain", host, plan, yes, environment, as_json)


@app.command(epilog="Example: scs node evacuate compute-3 --yes")
def evacuate(
    host: HostArgument,
    plan: PlanOption = False,
    yes: YesOption = False,
    leave_guests: LostGuestsOption = False,
    host_key_fingerprint: FingerprintOption = "",
    environment: EnvironmentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Rebuild the guests of a dead host on other hosts, with their disks in Ceph.

    Refused while anything of the host is heard. Before the first guest is rebuilt, Ceph refuses whatever comes from
    the host, in case it is only cut off. Safe to run again: it continues where it stopped.
    `scs node undrain` returns the host to service when it is back.
    """
    _run("evacuate", host, plan, yes, environment, as_json, leave_guests, fingerprint=host_key_fingerprint)


@app.command(epilog="Example: scs node replace control-2 --host-key-fingerprint SHA256:kR1f... --yes")
def replace(
    host: HostArgument,
    plan: PlanOption = False,
    yes: YesOption = False,
    leave_guests: GuestsOption = False,
    force_quorum_loss: QuorumOption = False,
    host_key_fingerprint: FingerprintOption = "",
    environment: EnvironmentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Restore a host that was reinstalled with an empty disk to full membership, under its old name and address."""
    _run(
        "replace", host, plan, yes, environment, as_json, leave_guests, force_quorum_loss,
        fingerprint=host_key_fingerprint,
    )  # fmt: skip


@app.command(epilog="Example: scs node add compute-5 --host-key-fingerprint SHA256:kR1f... --yes")
def add(
    host: HostArgument,
    plan: PlanOption = False,
    yes: YesOption = False,
    host_key_fingerprint: FingerprintOption = "",
    environment: EnvironmentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add a new host to the region. It must already be in the inventory."""
    _run("add", host, plan, yes, environment, as_json, fingerprint=host_key_fingerprint)


@app.command(epilog="Example: scs node remove compute-5 --yes")
def remove(
    host: HostArgument,
    plan: PlanOption = False,
    yes: YesOption = False,
    force_quorum_loss: QuorumOption = False,
    purge: Annotated[bool, typer.Option("--purge", help="Also remove its volumes and its configuration.")] = False,
    environment: EnvironmentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove a host from the region: drain it, remove its containers, and unregister it from services and clusters.

    An unreachable host can be removed too, if it has no guests.
    """
    _run("remove", host, plan, yes, environment, as_json, force_quorum_loss=force_quorum_loss, purge=purge)


def _run(
    verb: str,
    host: str,
    plan: bool,
    yes: bool,
    environment: str | None,
    as_json: bool,
    leave_guests: bool = False,
    force_quorum_loss: bool = False,
    purge: bool = False,
    fingerprint: str = "",
) -> None:
    from scs_deploy.operations.node import run
    from scs_deploy.operations.node.plan import NodeOptions

    options = NodeOptions(leave_guests=leave_guests, force_quorum_loss=force_quorum_loss, purge=purge)
    request = run.NodeRequest(verb=verb, host=host, options=options, fingerprint=fingerprint)
    operation = run.NodeVerb(load_region(environment), request, command_line())
    if not plan:
        check_terminal(yes, as_json)
    with RunProgress(errors if as_json else console) as progress:

        def confirm(made: NodePlan) -> bool:
            with progress.paused():
                if as_json and (plan or made.refusals or not made.steps):
                    print_json(made.model_dump(mode="json"))
                elif not as_json:
                    _print(made)
                if plan or made.refusals or not made.steps:
                    return False
                confirm_or_exit(f"{verb} {host} of {operation.region.environment.name}?", yes)
            return True

        if plan:
            made = operation.plan(progress)
            confirm(made)
            operation.check(made)
            return
        done = operation.run(progress, confirm)
    if as_json and done.run:
        print_json({**done.plan.model_dump(mode="json"), "run": done.run})
    elif done.run:
        console.print(f"[green]done[/]: {verb} {host} in run {done.run}")
        for note in done.plan.notes if verb == "remove" else ():
            console.print(f"  {escape(note)}", soft_wrap=True)


def _print(made: NodePlan) -> None:
    if not made.steps and not made.refusals:
        noun = {"evacuate": "evacuation"}.get(made.verb, made.verb)
        console.print(f"[green]nothing to do[/]: {made.host} needs no {noun}")
    for number, step in enumerate(made.steps, 1):
        console.print(f"{number:>3}. {escape(step.title)}", soft_wrap=True)
    for guest in made.stays:
        console.print(f"  [yellow]stays[/]   {escape(str(guest))}", soft_wrap=True)
    for note in made.notes:
        console.print(f"  [cyan]note[/]    {escape(note)}", soft_wrap=True)
