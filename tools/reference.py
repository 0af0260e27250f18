#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes docs/reference/ from what it documents: models, service specs, commands, checks and the roles' argument_specs.

Also the man page, and the outline of all commands that their help and completion read.

Usage: tools/reference.py [--check]    --check writes nothing and exits 1, naming each file that is not current
"""

from __future__ import annotations

import argparse
import json
import sys
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from manpage import man_page
from outline import outline
from reference_catalog import listeners_page, secrets_page, services_page, settings_page
from reference_parts import code, codes, kind, literal, model, page, sentence, table, values

from scs_deploy import validate
from scs_deploy.base import paths, variables
from scs_deploy.base.model import Model, load_yaml
from scs_deploy.cli import _help as terminal
from scs_deploy.cli import _outline
from scs_deploy.cli._outline import Command, Option
from scs_deploy.environment import announcements, cloud, environment, storage
from scs_deploy.images import pins, recipe
from scs_deploy.inventory import links, synced
from scs_deploy.inventory import model as inventories
from scs_deploy.inventory.netbox import mapping
from scs_deploy.plan import change
from scs_deploy.spec import cluster, metrics, release, service, setting, users
from scs_deploy.spec.certificate import Certificate, Use
from scs_deploy.spec.container import Agent, ConfigFile, Container, ForEach, Health, Impact, Reload, Roll, Wsgi
from scs_deploy.spec.endpoint import Endpoint, Probe
from scs_deploy.spec.job import Job, Phase, Schema
from scs_deploy.spec.listener import Listener
from scs_deploy.spec.secret import Format
from scs_deploy.spec.storage import CephClient, Pool
from scs_deploy.validate import report

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "reference"

EXIT_CODES = {
    "0": "done, or nothing to do",
    "1": "failed: the message says what, and the next run continues from what is there",
    "2": "refused: wrong input or a condition that does not hold; nothing was changed",
    "3": "`scs plan` and `scs inventory diff` with `--exit-code` only: there are changes",
    "130": "interrupted by Ctrl-C; run the same command again to continue",
}


# pages


def service_page() -> str:
    """Keys of service.yml."""
    intro = (
        "A service is described once, in `collections/ansible_collections/scs/<layer>/services/<name>/service.yml`. "
        f"Layers, from the bottom up: {codes(service.LAYERS)}. Name and layer come from the path. An unknown key is "
        "an error with file and line. Shipped services: [services.md](services.md)."
    )
    parts: list[type[Model]] = [
        Container,
        ForEach,
        Wsgi,
        ConfigFile,
        Health,
        Reload,
        Roll,
        Agent,
        metrics.Metrics,
        metrics.Alert,
        metrics.Record,
        Listener,
        Use,
        Certificate,
        Pool,
        CephClient,
        Endpoint,
        Probe,
        Job,
        cluster.Cluster,
        setting.Setting,
        service.DataFormat,
        service.KeyRotation,
        service.Reencryption,
        service.Saved,
    ]
    body = model(service.Service)
    for part in parts:
        body += model(part)
    body += values("Phases", Phase) + values("Impacts", Impact)
    body += values("Changes", change.Kind)
    body += values("Schema changes", Schema) + values("Formats of secrets", Format)
    body += values("Rotation of secrets", service.Rotate)
    return page("Service specification", intro, body)


def environment_page() -> str:
    """Keys of environment.yml."""
    intro = (
        "`environments/<name>/environment.yml` describes one region. `scs env init` writes one from an example, "
        "`scs env check` reads it and all that belongs to it."
    )
    body = model(environment.Settings)
    parts: tuple[type[Model], ...] = (
        environment.Network, environment.Api, environment.ApiAddress, environment.Registry, environment.Ssh,
        environment.Rolling, environment.Firewall, environment.Opening, environment.Backup, environment.Keep,
        environment.Testbed,
    )  # fmt: skip
    for part in parts:
        body += model(part)
    body += values("Unknown options", environment.UnknownOptions)
    return page("Environment", intro, body)


def storage_page() -> str:
    """Keys of storage.yml."""
    intro = (
        "`environments/<name>/storage.yml` says how the region's Ceph keeps the pools that services declare. It is "
        "optional: without it, each pool has three copies on three hosts. How to use it: "
        "[Storage](../how-to/storage.md)."
    )
    parts: tuple[type[Model], ...] = (
        storage.Storage, storage.PoolSettings, storage.Erasure, storage.Quota, storage.Ratios,
    )  # fmt: skip
    return page("storage.yml", intro, [line for part in parts for line in model(part)])


def cloud_page() -> str:
    """Keys of cloud.yml."""
    intro = (
        "`environments/<name>/cloud.yml` says what users find in the cloud. It is optional. How to use it: "
        "[Offer volumes](../how-to/volumes.md#types-of-volumes)."
    )
    return page("cloud.yml", intro, [line for part in (cloud.Cloud, cloud.VolumeType) for line in model(part)])


def announcements_page() -> str:
    """Keys of announcements.yml."""
    intro = (
        "`environments/<name>/announcements.yml` says what the public status page of `scs serve` announces. It is "
        "optional. How to use it: [Show the region on a page](../how-to/serve.md#the-public-status-page)."
    )
    parts: tuple[type[Model], ...] = (
        announcements.Announcements, announcements.Announcement, announcements.TitleIn, announcements.TextIn,
    )  # fmt: skip
    return page("announcements.yml", intro, [line for part in parts for line in model(part)])


def inventory_page() -> str:
    """A host and its links, from any source, and the file of a sync."""
    intro = (
        "Every inventory source gives the same: hosts as below. `scs inventory sync` writes them to "
        "`environments/<name>/inventory.yml`, one document with a hash of its content; in an Ansible inventory "
        "`networks`, `links`, `zone`, `rack`, `disks` and `oob` are host variables of the same form."
    )
    parts: tuple[type[Model], ...] = (
        inventories.Host, inventories.Interface, links.Link, links.Route, inventories.Disk, synced.Document,
        synced.NetworkFacts, synced.VirtualAddress,
    )  # fmt: skip
    return page("Inventory", intro, [line for part in parts for line in model(part)])


def netbox_page() -> str:
    """Keys of netbox.yml."""
    intro = (
        "`environments/<name>/netbox.yml` says which objects of NetBox are the region's hosts and what they become. "
        "Only `url` and `sites` are required. How to use it: [NetBox](../how-to/netbox.md)."
    )
    parts: tuple[type[Model], ...] = (
        mapping.Mapping, mapping.Selection, mapping.Groups, mapping.Networks, mapping.Gateways, mapping.Writeback,
    )  # fmt: skip
    return page("netbox.yml", intro, [line for part in parts for line in model(part)])


def release_page() -> str:
    """Keys of a release and its lock."""
    intro = (
        "`releases/<name>.yml` names the images of a release and where their packages come from; "
        "`environments/<name>/release.lock.yml` records what that came to in one region. `scs images build` writes the "
        "lock. The release's name is its file's."
    )
    body = model(release.Release) + model(release.Suite) + model(release.ImageSpec) + model(release.PythonPackages)
    body += model(release.Lock) + model(release.LockedImage)
    return page("Release", intro, [*body, *constraints()])


def constraints() -> list[str]:
    """Keys of a release's pins."""
    intro = "`releases/constraints/<name>.yml`, written by `tools/constraints.py`."
    return ["## Constraints", "", intro, "", *model(pins.Pins), *model(pins.Pin)]


def recipe_page() -> str:
    """Keys of an image recipe, the shipped images, users."""
    intro = (
        "`images/<name>.yml` says what is in one image. The image's name is its file's, unless the release "
        "names another recipe for it."
    )
    body = model(recipe.Recipe) + model(release.Suite) + model(recipe.GoModule) + model(recipe.File)
    for name in sorted(p.stem for p in (paths.root() / "releases").glob("*.yml")):
        found = release.load_release(name)
        body += [f"## Images of release {name}", "", found.description + ".", ""]
        rows = [
            (
                code(n),
                code(r.parent or ""),
                codes(r.packages),
                *([codes(r.python)] if found.python else []),
                r.description,
            )
            for n, r in recipe.load_recipes(found).items()
        ]
        python = ("of PyPI",) if found.python else ()
        body += table(("image", "parent", "packages", *python, "holds"), rows)
    body += ["## Users", "", "`images/users.yml` fixes these ids in every image.", ""]
    rows = [
        (code(n), str(u.uid) if u.uid is not None else "group only", str(u.gid), codes(u.groups))
        for n, u in users.load().items()
    ]
    return page("Image recipe", intro, body + table(("name", "uid", "gid", "further groups"), rows))


def hosts_page() -> str:
    """Variables of the roles that `scs bootstrap` runs."""
    intro = (
        "`scs bootstrap` prepares hosts with these roles, in this order; "
        "`scs host network apply` runs the last one by itself. Variables go to the inventory, as those of "
        "[services](settings.md) do."
    )
    body = []
    plays = [p for n in ("bootstrap.yml", "host_network.yml") for p in load_yaml(paths.root() / "playbooks" / n)]
    for entry in (r for play in plays for r in play.get("roles", ())):
        name = entry["role"].rpartition(".")[2]
        spec = load_yaml(paths.layer("host") / "roles" / name / "meta" / "argument_specs.yml")
        main = spec["argument_specs"]["main"]
        body += [f"## {name}", "", f"{main['short_description']}. {_text(main.get('description'))}".rstrip(), ""]
        given = entry.get("vars", {})
        rows = list(_options(main.get("options") or {}, given))
        body += table(("variable", "type", "default", "what it means"), rows) if rows else []
    return page("Settings of hosts", intro, body)


def _options(options: Mapping[str, Any], given: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, ...]]:
    for name, option in options.items():
        fallback = (
            code(literal(option["default"])) if "default" in option else "required" if option.get("required") else ""
        )
        if name in given:
            fallback = "set by scs"
        yield code(prefix + name), option["type"], fallback, _text(option.get("description"))
        yield from _options(option.get("options") or {}, given, f"{prefix}{name}[].")


def _text(description: object) -> str:
    return " ".join(str(d) for d in description) if isinstance(description, list) else str(description or "")


def validate_page() -> str:
    """The checks."""
    intro = (
        "`scs validate` runs these checks in this order; each fails when it does not work, or when the p95 of its "
        "samples is over its budget. A check whose need has not passed is skipped, which fails the validation too. "
        f"Whatever was made is removed at the end (`{validate.CLEANUP}`). See [how to validate](../how-to/validate.md)."
    )
    rows = [
        (code(c.name), c.description, codes(c.requires), f"{c.budget:g} s" if c.budget is not None else "",
         "yes" if c.creates else "no")
        for c in validate.available().values()
    ]  # fmt: skip
    body = table(("check", "description", "requires", "budget (p95)", "creates objects"), rows)
    body += ["## JSON", "", "`scs validate --json` prints one Report.", ""]
    for part in (report.Report, report.Result):
        fields = [(code(n), kind(h), part.model_fields[n].description or "") for n, h in _fields(part)]
        fields += [(code(n), "number or null" if n != "passed" else "true or false", sentence(f.description))
                   for n, f in part.model_computed_fields.items()]  # fmt: skip
        body += [f"### {part.__name__}", "", sentence(part.__doc__), "", *table(("key", "value", "meaning"), fields)]
    return page("Checks of scs validate", intro, body)


def _fields(part: type[Model]) -> Iterable[tuple[str, Any]]:
    hints = typing.get_type_hints(part, include_extras=True)
    return ((name, hints[name]) for name in part.model_fields)


# commands


def cli_page() -> str:
    """Every command."""
    intro = (
        "`scs -h` and `scs COMMAND -h` say the same in the terminal, `man scs` all of it. Errors are one line on "
        "standard error: what, where, what to do. Words in capitals stand for a value; `...` means several, `[ ]` "
        "optional."
    )
    body = ["## Exit codes", "", *table(("code", "meaning"), ((code(k), v) for k, v in EXIT_CODES.items()))]
    for name, command in outline()["commands"].items():
        body += _command((f"scs {name}",), command)
    return page("Commands", intro, body)


def _command(path: tuple[str, ...], command: Command, level: int = 2) -> list[str]:
    lines = [f"{'#' * level} {' '.join(path)}", "", *command["help"].splitlines(), ""]
    if command["commands"]:
        for name, member in command["commands"].items():
            lines += _command((*path, name), member, level + 1)
        return lines
    lines += ["```console", f"$ {terminal.usage(path, command)}", "```", ""]
    rows = [(code(a["metavar"]), terminal.explained(a)) for a in command["arguments"]]
    rows += [(_spellings(o), terminal.explained(o)) for o in command["options"] if "-h" not in o["names"]]
    lines += table(("argument or option", "meaning"), rows) if rows else []
    return [*lines, f"Example: `{command['example']}`", ""] if command["example"] else lines


def _spellings(option: Option) -> str:
    return codes(f"{name} {option['metavar']}".rstrip() for name in sorted(option["names"], key=len))


def variables_page() -> str:
    """Environment variables."""
    intro = (
        "scs and every program it starts see only these environment variables of the shell. `*` stands for any ending. "
        f"{', '.join(code(f'{n}={v}') for n, v in variables.FIXED.items())} are set for everybody; the umask is "
        f"`{variables.UMASK:03o}`."
    )
    rows = [(code(name), said) for name, said in variables.KEPT.items()]
    return page("Environment variables", intro, table(("variable", "for"), rows))


def manual() -> str:
    """The man page."""
    return man_page(outline(), EXIT_CODES, variables.KEPT)


PAGES: Mapping[str, Callable[[], str]] = {
    "cli.md": cli_page, "environment.md": environment_page, "hosts.md": hosts_page,
    "inventory.md": inventory_page, "netbox.md": netbox_page, "storage.md": storage_page,
    "cloud.md": cloud_page, "announcements.md": announcements_page, "recipe.md": recipe_page,
    "release.md": release_page, "scs.1": manual, "secrets.md": secrets_page, "service.md": service_page,
    "listeners.md": listeners_page,
    "services.md": services_page, "settings.md": settings_page, "validate.md": validate_page,
    "variables.md": variables_page,
}  # fmt: skip


def written(folder: Path) -> dict[Path, str]:
    """What the files of `folder` shall be, and the outline of commands, which belongs to the package."""
    pages = {folder / name: make() for name, make in PAGES.items()}
    return {**pages, _outline.FILE: json.dumps(outline(), indent=1) + "\n"}


def stale(folder: Path) -> list[Path]:
    """Files that differ from what would be written, are missing, or that no page writes."""
    files = written(folder)
    wrong = [f for f, text in files.items() if not f.is_file() or f.read_text(encoding="utf-8") != text]
    return wrong + sorted({p for p in folder.iterdir() if p.is_file()} - set(files))


def main(arguments: Sequence[str] | None = None) -> int:
    """The program; returns its exit code."""
    parser = argparse.ArgumentParser(description="Write docs/reference/ from the code.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a file is not current")
    if parser.parse_args(arguments).check:
        wrong = stale(FOLDER)
        for file in wrong:
            shown = file.relative_to(FOLDER.parent.parent) if file.is_relative_to(FOLDER.parent.parent) else file
            print(f"error: {shown} is not current (make docs)", file=sys.stderr)
        return 1 if wrong else 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    for file, text in written(FOLDER).items():
        file.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
