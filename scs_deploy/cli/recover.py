# SPDX-License-Identifier: Apache-2.0
"""`scs recover`."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from typer.core import TyperGroup

from scs_deploy.cli._asking import check_terminal
from scs_deploy.cli._options import EnvironmentOption, JsonOption, YesOption, command_line, console, errors, print_json
from scs_deploy.cli._progress import RunProgress
from scs_deploy.cli._region import load_region
from scs_deploy.cli._tables import Column, show_table

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from scs_deploy.clusters.base import Recovery, RecoveryOptions

PlanOption = Annotated[bool, typer.Option("--plan", help="Show the members and the steps; change nothing.")]


class Services(TyperGroup):
    """One command for each service whose cluster driver supports recovery."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - typer's signature
        """The names of these services."""
        return list(self._options())

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - typer's signature
        """The command of one service, with the options of its driver."""
        options = self._options().get(cmd_name)
        return _command(cmd_name, options) if options else None

    def _options(self) -> dict[str, type[RecoveryOptions]]:
        from scs_deploy import clusters
        from scs_deploy.spec import catalog

        services = catalog.load().services.values()
        drivers = {s.name: clusters.driver_class(s.cluster.driver) for s in services if s.cluster}
        return {name: driver.OPTIONS for name, driver in drivers.items() if driver.OPTIONS}


commands = typer.Typer(cls=Services, no_args_is_help=True, help="Recover a cluster that lost its quorum or a member.")


@commands.callback()
def _group() -> None:
    # typer needs a callback for a group whose commands are added dynamically
    pass


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(commands, name="recover")


def _command(service: str, options: type[RecoveryOptions]) -> Any:
    """`scs recover SERVICE`, with an option for each field of the driver's options."""

    def command(
        plan: PlanOption = False,
        yes: YesOption = False,
        environment: EnvironmentOption = None,
        as_json: JsonOption = False,
        **chosen: Any,
    ) -> None:
        fields = options.model_fields
        given = options(**{name: _value(fields[name].default, value) for name, value in chosen.items()})
        given.check()
        _recover(service, given, plan, yes, environment, as_json)

    fixed = [
        p.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for p in inspect.signature(command, eval_str=True).parameters.values()
        if p.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    own = [_parameter(name, field) for name, field in options.model_fields.items()]
    parameters = [*fixed[:2], *own, *fixed[2:]]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    command.__doc__ = options.__doc__
    single = typer.Typer(add_completion=False)
    single.command(service, epilog=f"Example: scs recover {service} --plan")(command)
    return typer.main.get_command(single)


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    """The option of a field: a flag that inverts its default, a word, or several words."""
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    spelling = str(extra.get("option") or f"--{name.replace('_', '-')}")
    metavar = str(extra["metavar"]) if "metavar" in extra else None
    option = typer.Option(spelling, metavar=metavar, help=field.description)
    kind: Any = list[str] | None if isinstance(field.default, tuple) else type(field.default)
    default = {bool: False, str: ""}.get(kind)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option])


def _value(default: Any, option: Any) -> Any:
    """A field's value from its option's value."""
    if isinstance(default, bool):
        return default != option
    return tuple(option or ()) if isinstance(default, tuple) else option


def _recover(
    service: str, options: RecoveryOptions, plan: bool, yes: bool, environment: str | None, as_json: bool
) -> None:
    from scs_deploy.operations.recover import run

    request = run.RecoverRequest(service=service, options=options.model_dump())
    operation = run.Recover(load_region(environment), request, command_line())
    if not plan:
        check_terminal(yes, as_json)
    with RunProgress(errors if as_json else console) as progress:
        if plan:
            recovery = operation.plan(progress)
            _print(recovery, as_json, run="", done=not recovery.steps)
            return

        def confirm(recovery: Recovery) -> bool:
            with progress.paused():
                if not as_json:
                    _print_plan(recovery)
                return yes or typer.confirm(f"recover {service} of {operation.region.environment.name}?")

        done = operation.run(progress, confirm)
    if not done.run and done.found.steps:
        raise typer.Exit(1)
    if as_json:
        _print(done.after if done.run else done.found, True, run=done.run, done=True)
    elif done.run:
        _print_members(done.after)
        for warning in done.after.warnings:
            console.print(f"[yellow]warning:[/] {escape(warning)}")
        console.print(f"[green]recovered[/] in run {done.run}: {escape(done.after.summary)}")
    else:
        _print_plan(done.found)


def _print(recovery: Recovery, as_json: bool, run: str, done: bool) -> None:
    if as_json:
        print_json({**recovery.model_dump(mode="json"), "run": run, "healthy": done})
    else:
        _print_plan(recovery)


def _print_plan(recovery: Recovery) -> None:
    _print_members(recovery)
    for warning in recovery.warnings:
        console.print(f"[yellow]warning:[/] {escape(warning)}")
    if not recovery.steps:
        console.print(f"[green]nothing to recover[/]: {escape(recovery.summary)}")
        return
    console.print(escape(recovery.summary))
    for number, step in enumerate(recovery.steps, 1):
        console.print(f"  {number}. [bold]{', '.join(step.hosts)}[/]: {escape(step.what)}", soft_wrap=True)
    if recovery.partial:
        console.print("  then scs reads the members again, and shows further steps before it takes them")


def _print_members(recovery: Recovery) -> None:
    """Print the members, without the columns in which no member has a value."""
    members = recovery.members
    names = [c for c in members[0] if any(m[c] for m in members)] if members else []
    columns = [Column(n.replace("_", " "), key=n in ("host", "state")) for n in names]
    show_table(console, columns, [[m[n] for n in names] for m in members])
