# SPDX-License-Identifier: Apache-2.0
"""How the plans of operations look."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from scs_deploy.cli._options import console
from scs_deploy.cli._tables import Column, show_table
from scs_deploy.inventory.model import Inventory
from scs_deploy.plan.change import Change
from scs_deploy.plan.region import Plan
from scs_deploy.spec.container import Impact

if TYPE_CHECKING:
    from scs_deploy.host.network.plan import HostNetwork
    from scs_deploy.operations.rotate.rotation import RotationPlan
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
    """A plan for scripts."""
    return {
        "changes": [c.model_dump(mode="json") for c in plan.changes],
        "held": [c.model_dump(mode="json") for c in plan.held],
        "drained": list(plan.drained),
    }


def print_plan(plan: Plan) -> None:
    """A plan for people: every change with host, reason and impact, then the sum."""
    print_drained(plan.drained)
    if plan.empty:
        console.print("[green]no changes[/]: the region is as desired")
        return
    if plan.changes:
        console.print(_table(plan.changes))
    if plan.held:
        console.print("held back until allowed with [bold]--allow data-plane[/]:")
        console.print(_table(plan.held))
    kinds = ", ".join(f"{n} {k}" for k, n in Counter(c.kind.value for c in plan.changes).items())
    hosts = len({c.host for c in plan.changes})
    console.print(f"[bold]{len(plan.changes)} changes[/] on {hosts} host(s): {kinds or 'none'}")


def print_inventory(inventory: Inventory) -> None:
    """Which inventory a plan goes by; `scs runs show` and --json have the hash in full."""
    console.print(f"[dim]inventory {inventory.hash[:23]}, {len(inventory.hosts)} host(s)[/]")


def print_drained(hosts: Iterable[str]) -> None:
    """Which hosts are out of use, for information."""
    for host in hosts:
        console.print(f"[yellow]{host} is drained[/] until `scs node undrain {host}`")


def _table(changes: tuple[Change, ...]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("host", "phase", "change"):
        table.add_column(name, no_wrap=True)
    table.add_column("what", overflow="fold", min_width=12)
    table.add_column("impact", no_wrap=True)
    table.add_column("why", overflow="fold", min_width=16)
    for c in changes:
        table.add_row(
            c.host, c.phase.value, c.kind.value, c.subject, Text(c.impact.value, COLOURS[c.impact]), Text(c.reason)
        )
    return table


def print_any_plan(region: Region, plan: object) -> str | None:
    """Print a plan of any operation.

    :returns: the question that it raises, '' for the command's own; None: there is nothing to ask about
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
            console.print(_about(plan))
            return f"upgrade from {plan.now} to {plan.release}?"
        case RotationPlan():
            print_steps(plan)
            return "rotate?"
        case dict():
            print_networks(plan)
            return ""
        case _:
            raise TypeError(f"a plan that nobody can show: {plan!r}")


def _about(plan: Any) -> str:
    if plan.backup:
        return f"backup {plan.backup} is verified"
    if plan.backs_up:
        return "a backup is made and verified first: none of the last 24 hours was verified"
    return "[yellow]no backup is made[/]: --no-backup"


def print_networks(plans: dict[str, HostNetwork]) -> None:
    """What changes, for people: host, file, lines, impact."""
    from scs_deploy.host.network.plan import text

    if not plans:
        console.print("no host has links in the inventory: their networks are not scs's")
    for host, found in plans.items():
        if found.empty:
            console.print(f"{host}: [green]no changes[/]")
            continue
        console.print(f"[bold]{host}[/] (impact [bold red]{found.impact}[/]):")
        for line in text(found):
            colour = {"+": "green", "-": "red"}.get(line.strip()[:1] if line.startswith("    ") else "", "")
            console.print(f"  [{colour}]{escape(line)}[/]" if colour else f"  {escape(line)}", soft_wrap=True)


def print_steps(plan: RotationPlan) -> None:
    """The secrets, where there are some, and the steps with those that are done."""
    from scs_deploy.operations.rotate.secrets import OLD

    if plan.secrets:
        columns = (Column("secret", key=True), Column("services"), Column("the old value"))
        rows = [(s.name, ", ".join(s.services), OLD[s.how]) for s in plan.secrets]
        show_table(console, columns, rows)
    for number, step in enumerate(plan.steps, 1):
        done = f" [dim]done {plan.rotation.done[step.key]}[/]" if step.key in plan.rotation.done else ""
        console.print(f"{number:>3}. {escape(step.title)}{done}")
        if step.ask and not done:
            console.print(f"     [yellow]before[/]: {escape(step.ask)}")
