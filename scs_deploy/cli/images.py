# SPDX-License-Identifier: Apache-2.0
"""`scs images`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from scs_deploy.base.plural import counted
from scs_deploy.cli import _lockdiff as lockdiff
from scs_deploy.cli._options import EnvironmentOption, JsonOption, console, errors, print_json
from scs_deploy.cli._tables import Column, show_table
from scs_deploy.environment.environment import load as load_environment

ImagesArgument = Annotated[
    list[str] | None, typer.Argument(metavar="IMAGE", help="Names of images in the release. Default: all.")
]

ReleaseOption = Annotated[
    str | None,
    typer.Option(
        "--release",
        metavar="RELEASE",
        help="Use this release instead of the region's, e.g. before an upgrade to it.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(help="Build and push the release's images, and list their contents.", no_args_is_help=True)
    group.command(epilog="Example: scs images build keystone --environment testbed")(build)
    group.command(epilog="Example: scs images push")(push)
    group.command("list", epilog="Example: scs images list --json")(list_images)
    group.command(epilog="Example: scs images sbom keystone --output keystone.spdx.json")(sbom)
    app.add_typer(group, name="images")


def build(
    images: ImagesArgument = None,
    environment: EnvironmentOption = None,
    no_push: Annotated[
        bool, typer.Option("--no-push", help="Build only; do not change the registry or the release lock.")
    ] = False,
    release: ReleaseOption = None,
    ca_bundle: Annotated[
        Path | None,
        typer.Option(
            "--ca-bundle",
            metavar="FILE",
            help="CA certificates to trust when downloading Python packages, e.g. behind a proxy that inspects TLS. "
            "Not added to images. Default: the CA certificates of this machine.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Build images from the newest packages, push them to the region's registry, and write the release lock.

    Skips an image if its recipe, its parent and its packages are unchanged.
    """
    from scs_deploy.images.build import RegionImages
    from scs_deploy.images.progress import Progress

    start = time.monotonic()
    with Progress(errors) as progress:
        result = RegionImages(load_environment(environment, release), progress, ca_bundle).build(
            tuple(images or ()), push=not no_push
        )
    _print(result, time.monotonic() - start, as_json)


def push(
    images: ImagesArgument = None,
    environment: EnvironmentOption = None,
    release: ReleaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Push images that are on this manager to the region's registry and write the release lock. Builds nothing."""
    from scs_deploy.images.build import RegionImages
    from scs_deploy.images.progress import Progress

    start = time.monotonic()
    with Progress(errors) as progress:
        result = RegionImages(load_environment(environment, release), progress).push(tuple(images or ()))
    _print(result, time.monotonic() - start, as_json)


def list_images(
    environment: EnvironmentOption = None, release: ReleaseOption = None, as_json: JsonOption = False
) -> None:
    """List the release's images: when each was built, its size, its packages, and its digest in the release lock."""
    from scs_deploy.images.build import RegionImages

    rows = RegionImages(load_environment(environment, release)).rows()
    if as_json:
        print_json(rows)
        return
    lines = []
    for row in rows:
        size = f"{row['size'] / 1e6:.0f} MB" if row["size"] else ""
        built = _age(row["created"]) if row["built"] else "no"
        lines.append((row["image"], built, size, str(row["packages"] or ""), (row["digest"] or "")[:19]))
    columns = (
        Column("image", key=True), Column("built", key=True), Column("size", leave=1, justify="right"),
        Column("packages", leave=2, justify="right"), Column("locked digest", leave=3),
    )  # fmt: skip
    show_table(console, columns, lines)


def sbom(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="Name in the release.")],
    environment: EnvironmentOption = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Default: standard output.", dir_okay=False)
    ] = None,
) -> None:
    """Print the software bill of materials of an image on this manager, as SPDX 2.3 JSON."""
    from scs_deploy.images.build import RegionImages

    text = json.dumps(RegionImages(load_environment(environment)).sbom(image), indent=2) + "\n"
    if output:
        output.write_text(text, encoding="utf-8")
    else:
        typer.echo(text, nl=False)


def _print(result: Any, seconds: float, as_json: bool) -> None:
    states = {name: built.state for name, built in result.images.items()}
    if as_json:
        changes = [c.model_dump(mode="json") for c in result.difference]
        print_json(
            {"images": states, "pushed": result.pushed, "lock_changed": result.lock_changed, "changes": changes,
             "forgotten": result.forgotten._asdict(), "seconds": seconds}
        )  # fmt: skip
        return
    if result.difference:
        lockdiff.show(result.difference)
    if result.forgotten.images:
        removed = counted(result.forgotten.images, "old image")
        console.print(f"registry: {removed} removed, {result.forgotten.bytes / 1e9:.1f} GB")
    made = sum(state == "built" for state in states.values())
    lock = "release lock written" if result.lock_changed else "release lock unchanged"
    console.print(
        f"{made} built, {len(states) - made} unchanged, {len(result.pushed)} pushed, {lock} ({seconds:.0f} s)"
    )


def _age(created: str) -> str:
    from datetime import UTC, datetime

    built = datetime.fromisoformat(created[:19]).replace(tzinfo=UTC)
    minutes = int((datetime.now(UTC) - built).total_seconds() // 60)
    if minutes < 120:
        return f"{minutes} min ago"
    return f"{minutes // 60} h ago" if minutes < 48 * 60 else f"{minutes // 1440} days ago"
