# SPDX-License-Identifier: Apache-2.0
"""`scs secrets`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from scs_deploy.base.errors import RefusedError
from scs_deploy.cli import _measured as measured
from scs_deploy.cli import _rotating as rotating
from scs_deploy.cli._options import EnvironmentOption, JsonOption, YesOption, console, print_json
from scs_deploy.cli._region import load_for_reading, load_region
from scs_deploy.cli._tables import Column, show_table
from scs_deploy.cli.plan import Allow
from scs_deploy.state.lock import region_lock


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(help="Create, edit, list and rotate the region's secrets.", no_args_is_help=True)
    group.command(epilog="Example: scs secrets init")(init)
    group.command(epilog="Example: EDITOR=nano scs secrets edit")(edit)
    group.command("list", epilog="Example: scs secrets list --json")(list_secrets)
    group.command(epilog="Example: scs secrets show keystone_admin_password")(show)
    group.command(epilog="Example: scs secrets rotate nova_database_password --plan")(rotate)
    group.command(epilog="Example: scs secrets rotate-file-key --new-vault-password-file new_password")(rotate_file_key)
    app.add_typer(group, name="secrets")


def init(
    environment: EnvironmentOption = None,
    create_vault_password: Annotated[
        bool, typer.Option("--create-vault-password", help="Create a random vault password if its file is missing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Generate missing secrets, and certificates that are missing, outdated or about to expire. Keeps all others.

    Also writes clouds.yaml for OpenStack clients. Safe to run again at any time.
    """
    from scs_deploy.region.certificates import wanted_leaves
    from scs_deploy.secrets import clouds, pki, signing, store, vault

    described = load_region(environment)
    region = described.environment
    # not while a run uses them
    with region_lock(region):
        password = vault.create_password(region) if create_vault_password else None
        wanted = [*described.catalog.secrets(), clouds.PASSWORD, signing.SECRET]
        added = store.ensure(region, wanted, described.catalog.secret_formats)
        issued = pki.ensure(region, wanted_leaves(region, described.catalog, described.inventory))
        written = clouds.write(region)
    if as_json:
        print_json({"secrets": added, "certificates": issued, "files": [str(f) for f in written]})
        return
    if password:
        console.print(
            f"vault password: created in {password}; keep a copy elsewhere, secrets cannot be decrypted without it"
        )
    console.print(f"secrets: {len(added)} new{_listed(added)}")
    console.print(f"certificates: {len(issued)} issued{_listed(issued)}")
    for file in written:
        console.print(f"wrote {file}")


def list_secrets(environment: EnvironmentOption = None, as_json: JsonOption = False) -> None:
    """List every secret, the services that use it, and whether it exists. Exits 1 if one is missing."""
    from scs_deploy.secrets import credentials, signing, store

    described = load_for_reading(environment)
    region, services = described.environment, described.catalog
    present = store.load(region)
    users: dict[str, list[str]] = {name: [] for name in [*services.secrets(), *present]}
    if signing.SECRET in present:
        # an earlier region lacks nothing: its next apply or backup makes it
        users[signing.SECRET] = ["scs backup"]
    for service in services.services.values():
        for name in service.all_secrets:
            users[name].append(service.name)
    for name in users:
        if not users[name] and credentials.base(name) in users:
            users[name] = users[credentials.base(name)]
    rows = [{"name": n, "services": users[n], "present": n in present} for n in sorted(users)]
    if as_json:
        print_json(rows)
    else:
        columns = (Column("secret", key=True), Column("services"), Column("state", key=True))
        show_table(
            console,
            columns,
            [
                (name, ", ".join(users[name]) or Text("none", "dim"), "" if name in present else Text("missing", "red"))
                for name in sorted(users)
            ],
        )
    if not all(row["present"] for row in rows):
        raise typer.Exit(1)


def show(
    name: Annotated[str, typer.Argument(metavar="SECRET", help="Its name, as in `scs secrets list`.")],
    environment: EnvironmentOption = None,
) -> None:
    """Print the value of a secret."""
    from scs_deploy.environment.environment import load as load_environment
    from scs_deploy.secrets import store

    region = load_environment(environment)
    present = store.load(region)
    if name not in present:
        raise RefusedError(f"{region.secrets_file}: no secret '{name}'", "scs secrets list")
    typer.echo(present[name])


def edit(
    environment: EnvironmentOption = None,
    resume: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, metavar="FILE", help="Continue a rejected edit from this file."),
    ] = None,
) -> None:
    """Edit the secrets in $EDITOR, on a file that is only in memory, and encrypt them if they are valid.

    A rejected edit is kept: fix it with --resume FILE.
    """
    from scs_deploy.environment.environment import load as load_environment
    from scs_deploy.secrets import clouds, editor

    region = load_environment(environment)
    changed = editor.edit(region, resume, region_lock(region))
    if clouds.PASSWORD in changed:
        clouds.write(region)
    console.print(f"changed: {', '.join(changed)}" if changed else "no changes")


def rotate(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="SECRET|all",
            help="Names as in `scs secrets list`, keystone_fernet_keys or keystone_credential_keys; "
            "all: every secret that scs can rotate.",
        ),
    ],
    plan: rotating.PlanOption = False,
    yes: YesOption = False,
    allow: Allow = None,
    max_failed_requests: measured.MaxFailed = None,
    no_probe: measured.NoProbe = False,
    environment: EnvironmentOption = None,
) -> None:
    """Replace secrets in servers and services one host at a time. The old values stay valid until no service uses them.

    If interrupted, run the same command again: it continues where it stopped.
    """
    from scs_deploy.operations.rotate.rotation import RotateRequest

    probe = measured.options(max_failed_requests, no_probe, None)
    request = RotateRequest(kind="secrets", names=tuple(names), allow=tuple(allow or ()), probe=probe)
    rotating.rotate(load_region(environment), request, plan, yes)


def rotate_file_key(
    environment: EnvironmentOption = None,
    new_vault_password_file: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, metavar="FILE", help="File with the new password. Default: ask for it."
        ),
    ] = None,
) -> None:
    """Encrypt secrets.yml and certificates.yml with a new vault password, both or neither.

    The secrets themselves stay the same. Updates vault_password_file too; a vault_password_command must print the new
    password from then on.
    """
    from scs_deploy.environment.environment import load as load_environment
    from scs_deploy.secrets import vault

    region = load_environment(environment)
    if new_vault_password_file:
        new = vault.read_password(new_vault_password_file, "--new-vault-password-file")
    else:
        new = typer.prompt("New vault password", hide_input=True, confirmation_prompt=True).encode()
    with region_lock(region):
        written = vault.rotate(region, new)
    for file in written:
        console.print(f"wrote {file}")
    if region.settings.vault_password_command:
        console.print("next: make vault_password_command print the new password")


def _listed(names: list[str]) -> str:
    return f": {', '.join(names)}" if names else ""
