# SPDX-License-Identifier: Apache-2.0
"""`scs recover`."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from scs_deploy.base.errors import RefusedError
from scs_deploy.cli._options import EnvironmentOption, JsonOption, console, print_json

if TYPE_CHECKING:
    from scs_deploy.operations.recover.model import Procedure, Recovery

PlanOption = Annotated[bool, typer.Option("--plan", help="Show the members and the steps; change nothing.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Without = Annotated[
    list[str] | None, typer.Option("--without", metavar="HOST", help="Go on without this member; may be repeated.")
]

commands = typer.Typer(no_args_is_help=True, help="Bring back a cluster that lost its quorum or a member.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(commands, name="recover")


@commands.command(epilog="Example: scs recover mariadb --plan")
def mariadb(
    plan: PlanOption = False,
    yes: YesOption = False,
    without: Without = None,
    bootstrap_from: Annotated[
        str,
        typer.Option(metavar="HOST", help="Take this member's data although another's differs or is newer."),
    ] = "",
    no_copy: Annotated[bool, typer.Option("--no-copy", help="Do not copy data directories first.")] = False,
    environment: EnvironmentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring the database back: bootstrap the member with the newest data, join the others."""
    from scs_deploy.operations.recover import mariadb_run
    from scs_deploy.operations.recover.mariadb import Options

    options = Options(without=tuple(without or ()), bootstrap_from=bootstrap_from, copies=not no_copy)
    _recover(mariadb_run.Procedure(options), plan, yes, environment, as_json)


@commands.command(epilog="Example: scs recover rabbitmq --plan")
def rabbitmq(
    plan: PlanOption = False,
    yes: YesOption = False,
    without: Without = None,
    force_boot: Annotated[
        str,
        typer.Option(metavar="HOST", help="Boot from this member's data; what only others knew is lost."),
    ] = "",
    reset: Annotated[
        bool, typer.Option("--reset", help="New, empty cluster; run `scs apply` afterwards for the accounts.")
    ] = False,
    environment: EnvironmentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring the message broker back: start members, let lost ones join anew, give queues their replicas back."""
    from scs_deploy.operations.recover import rabbitmq_run
    from scs_deploy.operations.recover.rabbitmq import Options

    if reset and force_boot:
        raise RefusedError("--reset gives up the data that --force-boot would boot from", "choose one")
    options = Options(without=tuple(without or ()), force_boot=force_boot, reset=reset)
    _recover(rabbitmq_run.Procedure(options), plan, yes, environment, as_json)


@commands.command(epilog="Example: scs recover ovn --plan")
def ovn(
    plan: PlanOption = False,
    yes: YesOption = False,
    without: Without = None,
    source: Annotated[
        str,
        typer.Option(
            "--from", metavar="HOST", help="The quorum is lost for good: make a new cluster of this member's data."
        ),
    ] = "",
    environment: EnvironmentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring OVN's databases back: replace a lost member, remove servers that are no more, rebuild a lost quorum.

    With --without the cluster forgets that member; without it, an unreachable one stays a member.
    """
    from scs_deploy.operations.recover import ovn_run
    from scs_deploy.operations.recover.ovn import Options

    _recover(ovn_run.Procedure(Options(without=tuple(without or ()), source=source)), plan, yes, environment, as_json)


def _recover(procedure: Procedure, plan: bool, yes: bool, environment: str | None, as_json: bool) -> None:
    from scs_deploy.operations.recover import run
    from scs_deploy.region.region import Region

    region = Region.load(environment)
    command = f"scs recover {procedure.service}"
    with _Progress(as_json) as progress:
        if plan:
            found = run.plan(region, procedure, progress)
            progress.pause()
            _print(found, as_json, run="", done=not found.steps)
            return
        if not yes and (as_json or not sys.stdin.isatty()):
            raise RefusedError(f"{command} asks before it changes anything, and there is nobody to ask", "add --yes")

        def confirm(seen: Recovery) -> bool:
            progress.pause()
            if not as_json:
                _print_plan(seen)
            if not yes and not typer.confirm("recover?"):
                return False
            progress.go_on()
            return True

        done = run.recover(region, procedure, progress, confirm, command)
    if not done.run and done.found.steps:
        raise typer.Exit(1)
    if as_json:
        _print(done.after if done.run else done.found, True, run=done.run, done=True)
    elif done.run:
        console.print(_table(done.after))
        for warning in done.after.warnings:
            console.print(f"[yellow]warning:[/] {escape(warning)}")
        console.print(f"[green]recovered[/] in run {done.run}: {escape(done.after.summary)}")
    else:
        _print_plan(done.found)


def _print(found: Recovery, as_json: bool, run: str, done: bool) -> None:
    if as_json:
        print_json({**found.model_dump(mode="json"), "run": run, "healthy": done})
    else:
        _print_plan(found)


def _print_plan(found: Recovery) -> None:
    console.print(_table(found))
    for warning in found.warnings:
        console.print(f"[yellow]warning:[/] {escape(warning)}")
    if not found.steps:
        console.print(f"[green]nothing to recover[/]: {escape(found.summary)}")
        return
    console.print(escape(found.summary))
    for number, step in enumerate(found.steps, 1):
        console.print(f"  {number}. [bold]{', '.join(step.hosts)}[/]: {escape(step.what)}")
    if found.partial:
        console.print("  then the members are read again, and what follows is shown before it is done")


def _table(found: Recovery) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    columns = [c for c in found.members[0] if any(m[c] for m in found.members)] if found.members else []
    for name in columns:
        table.add_column(name.replace("_", " "), overflow="fold")
    for m in found.members:
        table.add_row(*(escape(m[c]) for c in columns))
    return table


class _Progress:
    """The step that runs, and a line for each that is done; on stderr when stdout is for a script."""

    def __init__(self, as_json: bool) -> None:
        self._console = Console(stderr=True, highlight=False) if as_json else console
        self._status = self._console.status("reading")

    def __enter__(self) -> _Progress:
        self.go_on()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.pause()

    def pause(self) -> None:
        """Nothing moves while somebody reads or answers."""
        self._status.stop()

    def go_on(self) -> None:
        """Move again."""
        self._status.start()

    def __call__(self, kind: str, text: str) -> None:
        """A scs_deploy.recover.session.Say."""
        if kind == "done":
            self._console.print(f"  [green]done[/]  {escape(text)}")
        self._status.update(escape(text))
