# SPDX-License-Identifier: Apache-2.0
"""The files that `scs openstack` starts OpenStack's client with, and whether they are still what a region says.

Imports nothing but the standard library, so that the client starts at once. clouds.py writes the files.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from scs_deploy.base.variables import without_proxies

CLOUDS, CLIENT, SECURE, TOKENS = "clouds.yaml", "client.yaml", "secure.yaml", "tokens.json"
"""In the folder state/ of an environment."""


def settings_mark(folder: Path) -> str:
    """First line of client.yaml: which environment.yml, in which folder, and which program it was made from."""
    made = f"{_state(folder / 'environment.yml')} {_state(Path(__file__).with_name('clouds.py'))}"
    return f"# made from environment.yml {made} {folder.resolve()}"


def secrets_mark(folder: Path) -> str:
    """First line of secure.yaml: which secrets.yml it was made from, without looking into it."""
    return f"# made from secrets.yml {_state(folder / 'secrets.yml')}"


def private(file: Path) -> str | None:
    """The content of a file that only its owner may read; None for any other."""
    try:
        return None if file.stat().st_mode & 0o077 else file.read_text(encoding="utf-8")
    except OSError:
        return None


def is_current(folder: Path) -> bool:
    """Whether all files were made from what is there now, by this program."""
    marks = {CLIENT: settings_mark(folder), SECURE: secrets_mark(folder)}
    texts = {name: private(folder / "state" / name) for name in (CLOUDS, *marks)}
    known = (folder / "environment.yml").is_file() and None not in texts.values()
    return known and all((texts[name] or "").startswith(f"{mark}\n") for name, mark in marks.items())


def variables(name: str, state: Path, base: Mapping[str, str] | None = None) -> dict[str, str]:
    """Environment variables for a client process: the cloud of an environment, without OS_ variables of other clouds.

    :param name: of the environment
    :param state: its folder state/
    :param base: default: the variables of this process
    """
    kept = {k: v for k, v in (os.environ if base is None else base).items() if not k.startswith("OS_")}
    return without_proxies(kept) | {
        "OS_CLOUD": f"{name}-admin",
        "OS_CLIENT_CONFIG_FILE": str((state / CLIENT).resolve()),
        "OS_CLIENT_SECURE_FILE": str((state / SECURE).resolve()),
        "PYTHON_KEYRING_BACKEND": "scs_deploy.secrets.tokens.TokenFile",
        "SCS_TOKENS_FILE": str((state / TOKENS).resolve()),
    }


def _state(file: Path) -> str:
    """Which file this is: those that scs writes are replaced whenever they change."""
    try:
        seen = file.stat()
    except OSError:
        return "missing"
    return f"{seen.st_ino}.{seen.st_size}.{seen.st_mtime_ns}"
