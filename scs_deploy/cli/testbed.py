# SPDX-License-Identifier: Apache-2.0
"""`scs testbed`: a region on this machine."""

from __future__ import annotations

import os
from typing import Annotated

import typer
from rich.markup import escape
from rich.text import Text

from scs_deploy.base.errors import ScsError
from scs_deploy.base.plural import counted
from scs_deploy.cli._asking import confirm_or_exit
from scs_deploy.cli._options import EnvironmentOption, JsonOption, YesOption, console, errors, print_json
from scs_deploy.cli._region import load_region
from scs_deploy.cli._tables import Cell, Column, show_table
from scs_deploy.environment.environment import Environment
from scs_deploy.environment.environment import load as load_environment
from scs_deploy.testbed.layout import environment_of
from scs_deploy.testbed.stages import Stages

app = typer.Typer(help="Create, deploy, validate and remove a region on this machine.", no_args_is_help=True)

LayoutOption = Annotated[
    str | None,
    typer.Option(
        "--layout",
        metavar="single|ha",
        help="single (one host) or ha (several). Default: from SCS_ENVIRONMENT, or single.",
    ),
]
GIB = 1024**3


def register(parent: typer.Typer) -> None:
    """Add `scs testbed`."""
    parent.add_typer(app, name="testbed")


def _environment(name: str | None, layout: str | None) -> Environment:
    # ignores `scs env use`, which may select a region that is not a testbed
    named = None if layout else os.environ.get("SCS_ENVIRONMENT")
    return load_environment(name or named or environment_of(layout or "single"))


@app.command(epilog="Example: scs testbed up --layout single")
def up(
    layout: LayoutOption = None,
    environment: EnvironmentOption = None,
    deploy: Annotated[bool, typer.Option(help="Deploy the region once the hosts are ready.")] = True,
    validate: Annotated[bool, typer.Option(help="Validate the region once it is deployed.")] = True,
    image: Annotated[list[str] | None, typer.Option("--image", help="Build only these images. Default: all.")] = None,
) -> None:
    """Build images, create hosts, deploy and validate a region. Continues where an earlier run stopped.

    Safe to run again at any time: finished stages are skipped.
    """
    from scs_deploy.testbed import up as testbed

    region = _environment(environment, layout)
    stages = Stages()
    images = tuple(image or ())

    def report(line: str) -> None:
        console.print(f"  {escape(line)}", soft_wrap=True)

    try:
        with stages.watch_memory():
            testbed.up(
                region,
                stages,
                report,
                build=lambda: _build(region, images),
                deploy=(lambda: _deploy(region)) if deploy else None,
                validate=(lambda: _validate(region)) if deploy and validate else None,
                images=images,
            )
    finally:
        _show_stages(stages)
    console.print(f"\n[bold green]{region.name} is ready[/]")
    for line in testbed.login_help(region):
        console.print(f"  {escape(line)}", soft_wrap=True)


@app.command(epilog="Example: scs testbed down --no-keep-images")
def down(
    layout: LayoutOption = None,
    environment: EnvironmentOption = None,
    keep_images: Annotated[bool, typer.Option(help="Keep the built images, here and in the registry's volume.")] = True,
    yes: YesOption = False,
) -> None:
    """Remove hosts, networks, volumes, state and generated secrets. Keeps built images by default."""
    from scs_deploy.testbed import up as testbed

    region = _environment(environment, layout)
    if any(host.state != "absent" for host in testbed.provider(region).status()):
        confirm_or_exit(f"remove testbed {region.name} with all its data?", yes)
    testbed.down(region, lambda line: console.print(f"  {escape(line)}"), keep_images)
    console.print(f"removed {region.name}")


@app.command(epilog="Example: scs testbed status --json")
def status(layout: LayoutOption = None, environment: EnvironmentOption = None, json: JsonOption = False) -> None:
    """Show the state of the hosts (running, stopped or absent) and the memory that their processes use."""
    from scs_deploy.testbed import up as testbed

    region = _environment(environment, layout)
    hosts = testbed.provider(region).status()
    if json:
        print_json({"environment": region.name, "hosts": [host.model_dump() for host in hosts]})
        return
    styles = {"running": "green", "stopped": "red", "absent": "yellow"}
    rows = [
        (h.name, Text(h.state, styles[h.state]), h.address, "" if h.memory is None else f"{h.memory / GIB:.1f} GiB")
        for h in hosts
    ]
    columns = (
        Column("host", key=True),
        Column("state", key=True),
        Column("address"),
        Column("memory", justify="right"),
    )
    show_table(console, columns, rows)


@app.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog="Example: scs testbed ssh testbed-1 docker ps",
)
def ssh(
    host: Annotated[str, typer.Argument(metavar="HOST", help="Name in the inventory.")],
    command: Annotated[
        list[str] | None, typer.Argument(metavar="COMMAND", help="Command to run. Default: a shell.")
    ] = None,
    layout: LayoutOption = None,
    environment: EnvironmentOption = None,
) -> None:
    """Open a shell on a host of the testbed, or run a command there.

    Put options of scs before HOST; everything after it is the command.
    """
    from scs_deploy.cli.console import connect

    connect(_environment(environment, layout), host, command or ())


def _build(region: Environment, images: tuple[str, ...]) -> None:
    from scs_deploy.images.build import RegionImages
    from scs_deploy.images.progress import Progress

    with Progress(errors) as progress:
        result = RegionImages(region, progress).build(images)
    made = sum(built.state == "built" for built in result.images.values())
    console.print(
        f"  {counted(made, 'image')} built, {len(result.images) - made} unchanged, {len(result.pushed)} pushed"
    )


def _deploy(region: Environment) -> None:
    from scs_deploy.cli._progress import RunProgress
    from scs_deploy.operations.apply import Apply, ApplyRequest

    with RunProgress() as progress:
        done = Apply(load_region(region.name), ApplyRequest(), "scs testbed up").run(progress)
    if done.changes:
        console.print(f"  {counted(done.changes, 'change')} in run {done.run}")
    else:
        console.print("  no changes")
    if done.held:
        raise ScsError(
            f"{counted(done.held, 'change')} held back", f"{region.file}: allow, or scs apply --allow data-plane"
        )


def _validate(region: Environment) -> None:
    from scs_deploy import validate
    from scs_deploy.validate import Result, Verdict

    def show(name: str, result: Result | None) -> None:
        if result is not None:
            style = "green" if result.verdict is Verdict.PASSED else "red"
            line = f"{name:<18} {result.seconds:6.1f} s  {escape(result.message)}"
            console.print(f"  [{style}]{result.verdict:<8}[/]{line}")

    report = validate.run(region, on_progress=show)
    if not report.passed:
        raise ScsError(
            f"{report.count(Verdict.FAILED)} of {counted(len(report.results), 'check')} failed",
            "scs validate runs them again",
        )


def _show_stages(stages: Stages) -> None:
    rows: list[tuple[Cell, ...]] = [(s.name, f"{s.seconds:.1f}", f"{s.share:.0%}") for s in stages.stages]
    rows.append((Text("total", "bold"), Text(f"{stages.seconds:.1f}", "bold"), ""))
    console.print()
    columns = (Column("stage", key=True), Column("seconds", justify="right"), Column("share", justify="right"))
    show_table(console, columns, rows)
    used = (stages.memory_peak - stages.memory_before) / GIB
    console.print(
        f"memory in use on this machine: at most {stages.memory_peak / GIB:.1f} GiB, {used:.1f} GiB more than before"
    )
