# SPDX-License-Identifier: Apache-2.0
"""Prints the plans of operations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.text import Text

from scs_deploy.base.plural import counted
from scs_deploy.cli._options import console
from scs_deploy.cli._tables import Cell, Column, show_table
from scs_deploy.inventory.model import Inventory
from scs_deploy.plan.change import Change
from scs_deploy.plan.reach import HELD
from scs_deploy.plan.region import Plan
from scs_deploy.spec.container import Impact

if TYPE_CHECKING:
    from scs_deploy.host.network.plan import HostNetwork
    from scs_deploy.operations.rotate.rotation import RotationPlan
    from scs_deploy.operations.upgrade.release import ReleasePlan
    from scs_deploy.region.region import Region

COLOURS = {
    Impact.NONE: "dim",
    Impact.RELOAD: "cyan",
    Impact.API: "yellow",
    Impact.CONTROL: "magenta",
    Impact.DATA_PLANE: "bold red",
    Impact.NETWORK: "bold red",
}


def plan_json(plan: Plan) -> dict[str, Any]:
    """A plan as JSON for scripts."""
    return {
        "changes": [c.model_dump(mode="json") for c in plan.changes],
        "held": [c.model_dump(mode="json") for c in plan.held],
        "unreachable": [{"host": host, "state": HELD, "reason": why} for host, why in sorted(plan.unreachable.items())],
        "waiting": [c.model_dump(mode="json") for c in plan.waiting],
        "absent": [{"host": host, "reason": why} for host, why in sorted(plan.absent.items())],
        "drained": list(plan.drained),
        "evacuated": list(plan.evacuated),
        "unavailable": list(plan.unavailable),
    }


def print_plan(plan: Plan) -> None:
    """Print a plan: every change with its host, reason and impact, then the totals."""
    for line in out_of_use(plan.drained, plan.evacuated):
        console.print(line)
    for host, why in sorted(plan.absent.items()):
        console.print(f"[yellow]{host} is unreachable[/], but not selected: {escape(why)}", soft_wrap=True)
    if plan.empty:
        console.print("[green]no changes[/]: the region is in its desired state")
        return
    if plan.changes:
        show_changes(plan.changes)
    if plan.held:
        console.print("held back; allow with [bold]--allow data-plane[/]:")
        show_changes(plan.held)
    print_unreachable(plan)
    kinds = ", ".join(f"{n} {k}" for k, n in Counter(c.kind.value for c in plan.changes).items())
    hosts = len({c.host for c in plan.changes})
    total = f"[bold]{counted(len(plan.changes), 'change')}[/]"
    console.print(f"{total} on {counted(hosts, 'host')}: {kinds}" if plan.changes else total)
    if plan.unavailable:
        names, has = ", ".join(plan.unavailable), "have" if len(plan.unavailable) > 1 else "has"
        console.print(f"[yellow]unavailable meanwhile[/]: {names} {has} no other member", soft_wrap=True)


def print_unreachable(plan: Plan) -> None:
    """Print the hosts whose changes wait until they respond, and what waits for them elsewhere."""
    if plan.unreachable:
        rows = [(host, HELD, why) for host, why in sorted(plan.unreachable.items())]
        show_table(console, HOST_COLUMNS, rows)
    if plan.waiting:
        console.print("waits until these hosts respond or are removed:")
        show_changes(plan.waiting)


def print_inventory(inventory: Inventory) -> None:
    """Print the inventory of a plan. The hash is shortened; `scs runs show` and --json have all of it."""
    console.print(f"[dim]inventory {inventory.hash[:23]}, {counted(len(inventory.hosts), 'host')}[/]")


def out_of_use(drained: Iterable[str], evacuated: Iterable[str]) -> list[Text]:
    """Lines that say which hosts are drained or evacuated."""
    return [
        Text.assemble((f"{host} is {state}", "yellow"), f"; `scs node undrain {host}` returns it to service")
        for state, hosts in (("drained", drained), ("evacuated", evacuated))
        for host in hosts
    ]


HOST_COLUMNS = (Column("host", key=True), Column("change", key=True), Column("reason"))

COLUMNS = (
    Column("host", key=True),
    Column("phase", key=True, leave=1),
    Column("change", key=True),
    Column("subject", key=True),
    Column("impact", key=True),
    Column("reason"),
)


def show_changes(changes: Iterable[Change]) -> None:
    """Print a table of changes."""
    show_table(console, COLUMNS, map(_cells, changes))


def _cells(change: Change) -> tuple[Cell, ...]:
    impact = Text(change.impact.value, COLOURS[change.impact])
    return change.host, change.phase.value, change.kind.value, change.subject, impact, change.reason


def print_any_plan(region: Region, plan: object) -> str | None:
    """Print a plan of any operation.

    :returns: the plan's own question, '' to ask the command's question; None: there is nothing to confirm
    """
    from scs_deploy.operations.rotate.rotation import RotationPlan
    from scs_deploy.operations.upgrade.release import ReleasePlan

    match plan:
        case Plan():
            print_plan(plan)
            print_inventory(region.inventory)
            return "" if plan.changes else None
        case ReleasePlan():
            print_plan(plan.plan)
            console.print(_backup_line(plan))
            return f"upgrade {region.environment.name} from {plan.now} to {plan.release}?"
        case RotationPlan():
            print_steps(plan)
            return f"rotate in region {region.environment.name}?"
        case dict():
            print_networks(plan)
            return ""
        case _:
            raise TypeError(f"no view for a plan of type {type(plan).__name__}")


def _backup_line(plan: ReleasePlan) -> str:
    if plan.backup:
        return f"backup {plan.backup} is verified"
    if plan.backs_up:
        return "makes and verifies a backup first: there is no verified backup from the last 24 hours"
    return "[yellow]makes no backup[/]: --no-backup"


def print_networks(plans: dict[str, HostNetwork]) -> None:
    """Print the changes to hosts' networks: host, impact, files, lines."""
    from scs_deploy.host.network.plan import text

    if not plans:
        console.print("no host has links in the inventory: scs does not manage their networks")
    for host, network in plans.items():
        if network.empty:
            console.print(f"{host}: [green]no changes[/]")
            continue
        console.print(f"[bold]{host}[/] (impact [bold red]{network.impact}[/]):")
        for line in text(network):
            colour = {"+": "green", "-": "red"}.get(line.strip()[:1] if line.startswith("    ") else "", "")
            console.print(f"  [{colour}]{escape(line)}[/]" if colour else f"  {escape(line)}", soft_wrap=True)


def print_steps(plan: RotationPlan) -> None:
    """Print the secrets of a rotation, if any, and its steps with the time when each was done."""
    from scs_deploy.operations.rotate.secrets import OLD

    if plan.secrets:
        columns = (Column("secret", key=True), Column("services"), Column("old value"))
        rows = [(s.name, ", ".join(s.services), OLD[s.how]) for s in plan.secrets]
        show_table(console, columns, rows)
    for number, step in enumerate(plan.steps, 1):
        done = f" [dim]done {plan.rotation.done[step.key]}[/]" if step.key in plan.rotation.done else ""
        console.print(f"{number:>3}. {escape(step.title)}{done}")
        if step.ask and not done:
            console.print(f"     [yellow]before[/]: {escape(step.ask)}")
