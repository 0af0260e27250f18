# SPDX-License-Identifier: Apache-2.0
"""`scs config`: the configuration files of containers, and the source of each value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from scs_deploy.base.errors import RefusedError
from scs_deploy.cli._options import EnvironmentOption, JsonOption, console, print_json
from scs_deploy.cli._region import load_for_reading
from scs_deploy.cli._tables import Column, show_table

if TYPE_CHECKING:
    from scs_deploy.desired.model import File
    from scs_deploy.region.region import Region
    from scs_deploy.spec.catalog import Catalog

ContainerName = Annotated[str, typer.Argument(metavar="CONTAINER", help="e.g. nova_compute")]
FileName = Annotated[str, typer.Argument(metavar="FILE", help="e.g. nova.conf")]
HostName = Annotated[str | None, typer.Option("--host", help="Default: the first host that runs the container.")]


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(
        help="Show the files that containers read, and where each value comes from.", no_args_is_help=True
    )
    group.command("list", epilog="Example: scs config list nova")(list_files)
    group.command(epilog="Example: scs config show nova_compute nova.conf")(show)
    group.command(epilog="Example: scs config diff nova_compute nova.conf")(diff)
    group.command(epilog="Example: scs config explain nova_compute nova.conf")(explain)
    app.add_typer(group, name="config")


def list_files(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="SERVICE|CONTAINER", help="Only these. Default: everything.")
    ] = None,
    environment: EnvironmentOption = None,
    as_json: JsonOption = False,
) -> None:
    """List every container's files, and whether an override applies."""
    from scs_deploy.desired import resolve
    from scs_deploy.region.hidden import readable

    region = readable(load_for_reading(environment))
    services = region.catalog.select(tuple(names or ()))
    rows: list[dict[str, Any]] = []
    for host in region.inventory.hosts:
        rows += [
            {"host": host, "container": f.container, "file": f.name, "overrides": list(f.sources)}
            for f in resolve.resolve(region, host).files.values()
            if f.service in services and f.name != "ca.crt" and not f.name.startswith("tls/")
        ]
    if as_json:
        print_json(rows)
        return
    columns = (
        Column("host", key=True), Column("container", key=True), Column("file", key=True), Column("overrides"),
    )  # fmt: skip
    show_table(console, columns, [(r["host"], r["container"], r["file"], "\n".join(r["overrides"])) for r in rows])


def show(
    container: ContainerName,
    file: FileName,
    host: HostName = None,
    environment: EnvironmentOption = None,
    secrets: Annotated[bool, typer.Option("--secrets", help="Show secrets in plain text.")] = False,
) -> None:
    """Print a file as the container reads it. Secrets are hidden by default."""
    from scs_deploy.environment import overrides as config
    from scs_deploy.environment import sharing

    region, rendered = _file(environment, container, file, host)
    text = rendered.content
    if secrets and sharing.secrets_are_hidden(region.environment):
        raise RefusedError(f"{region.environment.secrets_file}: permission denied", "leave out --secrets, or use sudo")
    if not secrets:
        text = config.without_secrets(text, rendered.format, region.secrets.values())
    typer.echo(text, nl=False)


def diff(
    container: ContainerName, file: FileName, host: HostName = None, environment: EnvironmentOption = None
) -> None:
    """Show what the operator's overrides change in a file."""
    from scs_deploy.environment import overrides

    region, rendered = _file(environment, container, file, host)
    _, base = _base(region, rendered, host)
    for line in (
        overrides.differences(base, rendered.content, rendered.format, region.secrets.values())
        if base != rendered.content
        else ()
    ):
        console.print(line, markup=False)


def explain(
    container: ContainerName,
    file: FileName,
    host: HostName = None,
    environment: EnvironmentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Name the source of each key: the template, or the override file that set it last."""
    from pathlib import Path

    from scs_deploy.environment import overrides

    region, rendered = _file(environment, container, file, host)
    template, base = _base(region, rendered, host)
    sources = dict.fromkeys(overrides.flatten(base, rendered.format), template)
    for source in rendered.sources:
        sources.update(
            dict.fromkeys(overrides.flatten(Path(source).read_text(encoding="utf-8"), rendered.format), source)
        )
    if not sources:
        raise RefusedError(
            f"{file}: a {rendered.format} file has no keys; all of it comes from {(template, *rendered.sources)[-1]}"
        )
    hidden = tuple(region.secrets.values())
    values = overrides.flatten(rendered.content, rendered.format)
    rows = [{"key": k, "value": overrides.hide(k, values.get(k), hidden), "source": s} for k, s in sources.items()]
    if as_json:
        print_json(rows)
        return
    columns = (Column("key", key=True), Column("value"), Column("source"))
    show_table(console, columns, [(row["key"], row["value"], row["source"]) for row in rows])


def _file(environment: str | None, container: str, file: str, host: str | None) -> tuple[Region, File]:
    from scs_deploy.desired import resolve
    from scs_deploy.region.hidden import readable

    region = readable(load_for_reading(environment))
    region.catalog.refuse_left_out(container)
    if container not in region.catalog.owner:
        raise RefusedError(f"no container '{container}'", _containers_like(container, region.catalog))
    service = region.catalog.services[region.catalog.owner[container]]
    hosts = [h.name for h in region.hosts_of(service.name, container)]
    if host and host not in hosts:
        raise RefusedError(f"{container} does not run on '{host}'", f"it runs on: {', '.join(hosts)}")
    files = {f.name: f for f in resolve.resolve(region, host or hosts[0]).files.values() if f.container == container}
    if file not in files:
        raise RefusedError(f"{container} has no file '{file}'", f"it has: {', '.join(files)}")
    return region, files[file]


def _containers_like(name: str, catalog: Catalog) -> str:
    """A hint with containers: a service is none, but often meant for its own."""
    from scs_deploy.spec.catalog import close_matches

    if name in catalog.services:
        return f"it is a service; its containers are: {', '.join(catalog.services[name].containers)}"
    return close_matches(name, catalog.owner)


def _base(region: Region, rendered: File, host: str | None) -> tuple[str, str]:
    """(path of the template or program, its text without overrides)."""
    from scs_deploy.base import paths
    from scs_deploy.desired import render
    from scs_deploy.desired.scope import template_scope
    from scs_deploy.spec.sources import source

    service = region.catalog.services[rendered.service]
    name = host or region.hosts_of(service.name, rendered.container)[0].name
    scope = template_scope(region).of(service, region.inventory.hosts[name], rendered.container)
    file = source(service, rendered.container, rendered.name)
    layers = paths.layer(service.layer).parent
    folder = region.environment.path if service.own and file.is_relative_to(service.directory) else layers
    return str(file.relative_to(folder)), render.text(service, file, scope)
