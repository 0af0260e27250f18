# SPDX-License-Identifier: Apache-2.0
"""Creates an environment from a shipped example."""

from __future__ import annotations

import re
from pathlib import Path

from scs_deploy.base import paths
from scs_deploy.base.errors import RefusedError
from scs_deploy.environment import cloud, storage
from scs_deploy.secrets import vault

EXAMPLES = ("region", "testbed")
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,46}[a-z0-9])?")
_INVENTORY = re.compile(r"^inventory:.*$", re.MULTILINE)


def start(name: str, example: str) -> list[Path]:
    """Copy an example to environments/<name>/, with its inventory inside; returns the files written.

    :raises RefusedError: no such example, an invalid name, or the environment exists
    """
    if example not in EXAMPLES:
        raise RefusedError(f"no example '{example}'", f"there are: {', '.join(EXAMPLES)}")
    if not _NAME.fullmatch(name):
        raise RefusedError(f"'{name}' is not a valid name for an environment", "use [a-z0-9-], at most 48 characters")
    target = paths.environments() / name
    if target.exists():
        raise RefusedError(f"{target}: already exists", "choose another name, or remove it first")
    text = (paths.root() / "environments" / example / "environment.yml").read_text(encoding="utf-8")
    files = {target / "environment.yml": _INVENTORY.sub("inventory: inventory", text)}
    for optional in ("netbox.yml", storage.FILE, cloud.FILE):
        file = paths.root() / "environments" / example / optional
        if file.is_file():
            files[target / optional] = file.read_text(encoding="utf-8")
    inventory = paths.root() / "inventories" / example
    for file in sorted(p for p in inventory.rglob("*") if p.is_file()):
        files[target / "inventory" / file.relative_to(inventory)] = file.read_text(encoding="utf-8")
    files[target / ".gitignore"] = "/state/\n/vault_password\n"
    for path, content in files.items():
        vault.write(path, content, mode=0o644)
    return list(files)
