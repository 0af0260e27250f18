# SPDX-License-Identifier: Apache-2.0
"""Starts OpenStack's client for `scs openstack`. Nothing is loaded if the region's files are as they were last time."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from scs_deploy.base import paths
from scs_deploy.base.errors import ScsError
from scs_deploy.secrets import client


def start_at_once(arguments: Sequence[str]) -> None:
    """Replace this process with the client if that needs no settings and no vault; else return.

    :param arguments: of `scs`
    """
    if tuple(arguments[:1]) != ("openstack",):
        return
    name, rest = _environment(arguments[1:])
    if not name or not rest or rest[0].startswith("-"):
        # options of scs, which typer reads
        return
    folder = paths.environments() / name
    if client.is_current(folder):
        replace(rest, client.variables(name, folder / "state"))


def replace(arguments: Sequence[str], variables: Mapping[str, str]) -> None:
    """Replace this process with the client, so that signals, terminal and exit code are the client's.

    :raises ScsError: the client is not installed
    """
    # the client of this virtual environment, whatever PATH says
    program = Path(sys.executable).with_name("openstack")
    if not program.is_file():
        raise ScsError(f"{program}: no such program", "install python-openstackclient into this virtual environment")
    sys.stdout.flush()
    os.execve(program, ["openstack", *arguments], dict(variables))  # noqa: S606 - no shell is meant


def _environment(arguments: Sequence[str]) -> tuple[str, Sequence[str]]:
    """The environment that a command line names or that is chosen, '' if that takes a closer look; and the rest."""
    if tuple(arguments[:1]) in (("-e",), ("--environment",)) and len(arguments) > 1:
        return arguments[1], arguments[2:]
    if name := os.environ.get("SCS_ENVIRONMENT"):
        return name, arguments
    try:
        return (paths.environments() / ".current").read_text(encoding="utf-8").strip(), arguments
    except OSError:
        return "", arguments
