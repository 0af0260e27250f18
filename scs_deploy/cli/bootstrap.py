# SPDX-License-Identifier: Apache-2.0
"""`scs bootstrap`: prepares hosts for services."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from scs_deploy.base.plural import counted
from scs_deploy.cli._options import EnvironmentOption, JsonOption, command_line, console, errors, print_json
from scs_deploy.cli._progress import RunProgress
from scs_deploy.cli._region import load_region
from scs_deploy.spec.container import Impact


def register(app: typer.Typer) -> None:
    """Add `scs bootstrap`."""
    app.command(epilog="Example: scs bootstrap --host testbed-1")(bootstrap)


def bootstrap(
    host: Annotated[list[str] | None, typer.Option("--host", help="Only this host; can be repeated.")] = None,
    allow: Annotated[
        list[Impact] | None,
        typer.Option(
            "--allow", metavar="IMPACT", help="Allow changes with this impact; `network` changes the network of hosts."
        ),
    ] = None,
    environment: EnvironmentOption = None,
    json: JsonOption = False,
) -> None:
    """Prepare hosts: Docker engine, time, users, kernel parameters, host names, registry CA, network.

    Generates secrets and certificates that a new version of scs needs. Safe to run again: a prepared host stays
    unchanged.
    """
    from scs_deploy.operations.bootstrap import Bootstrap, BootstrapRequest

    started = time.monotonic()
    request = BootstrapRequest(hosts=tuple(host or ()), allow=tuple(allow or ()))
    with RunProgress(errors) as progress:
        summary = Bootstrap(load_region(environment), request, command_line()).run(progress)
    seconds = time.monotonic() - started
    if json:
        print_json(
            {
                "hosts": summary.hosts,
                "changed": summary.changed,
                "secrets": summary.secrets,
                "certificates": summary.certificates,
                "held": summary.held,
                "unreachable": summary.unreachable,
                "seconds": round(seconds, 1),
            }
        )
        return
    for name in summary.hosts:
        tasks = summary.changed.get(name, [])
        console.print(f"{name}: {'; '.join(dict.fromkeys(tasks)) if tasks else 'no changes'}", soft_wrap=True)
    for name in summary.unreachable:
        console.print(f"[yellow]{name}: held: host unreachable[/]; repeat `scs bootstrap` once it responds")
    if summary.secrets:
        console.print(f"secrets: {len(summary.secrets)} new: {', '.join(summary.secrets)}", soft_wrap=True)
    if summary.certificates:
        console.print(f"certificates: {len(summary.certificates)} issued: {', '.join(summary.certificates)}")
    for name in summary.held:
        console.print(f"[yellow]{name}: its network differs from its links[/]: scs host network plan {name}")
    console.print(f"{counted(len(summary.hosts), 'host')} prepared in {seconds:.1f} s")
