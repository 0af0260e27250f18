#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Puts commands to Ceph's monitors, in a monitor's container; prints one JSON document with all answers.

The manager sends this program along with each use, so that it fits the manager's version, whatever the container's.
One process and one connection for all commands: each call of `ceph` would take half a second.

Usage: ask.py COMMANDS, a JSON list of mappings as `ceph` sends them, e.g. `{"prefix": "osd dump"}`. These keys are not
part of a command: `sections_of` names a keyring file in the container and `sections` the entities in it that are the
command's input, so that no argument holds a key; with `target: mgr` the manager is asked; `fails: false` goes on after
an error, and so does `tolerated: true`, where an error is an answer.

Output: {"answers": [{"code": 0, "text": "", "data": ...}, ...]}; the commands after one that failed are not run. Keys
of entities appear as their SHA-256.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

CONF = "/etc/ceph/ceph.conf"
ADMIN = "client.admin"
TIMEOUT = 15
"""Seconds for the monitors to answer."""

OWN_KEYS = ("sections_of", "sections", "fails", "target", "tolerated")


def sections(text: str, wanted: Iterable[str]) -> str:
    """The sections of a keyring file with these names.

    :raises KeyError: one is missing
    """
    found: dict[str, list[str]] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith("["):
            name = line.strip()[1:-1]
        found.setdefault(name, []).append(line)
    return "".join("\n".join(found[name]) + "\n" for name in wanted)


def hide(data: Any) -> Any:
    """The same without keys: their digests instead."""
    if isinstance(data, dict):
        return {
            k: hashlib.sha256(v.encode()).hexdigest() if k in ("key", "pending_key") and isinstance(v, str) else hide(v)
            for k, v in data.items()
        }
    return [hide(v) for v in data] if isinstance(data, list) else data


def put(cluster: Any, command: Mapping[str, Any]) -> dict[str, Any]:
    """One command's answer."""
    given = b""
    if "sections_of" in command:
        given = sections(Path(command["sections_of"]).read_text(encoding="utf-8"), command["sections"]).encode()
    plain = {k: v for k, v in command.items() if k not in OWN_KEYS}
    text = json.dumps({"format": "json", **plain})
    if command.get("target") == "mgr":
        code, output, said = cluster.mgr_command(text, given, timeout=TIMEOUT)
    else:
        code, output, said = cluster.mon_command(text, given, timeout=TIMEOUT)
    try:
        data = hide(json.loads(output)) if output.strip() else None
    except ValueError:
        data = None
    return {"code": code, "text": said, "data": data}


def run(cluster: Any, commands: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The answers up to the first command that fails."""
    answers = []
    for command in commands:
        answers.append(put(cluster, command))
        if answers[-1]["code"] and command.get("fails", True) and not command.get("tolerated"):
            break
    return answers


def main(commands: str) -> None:
    """Connect, ask, print."""
    import rados

    try:
        with rados.Rados(conffile=CONF, name=ADMIN, conf={"client_mount_timeout": str(TIMEOUT)}) as cluster:
            answers = run(cluster, json.loads(commands))
    except rados.Error as error:
        sys.exit(f"the monitors do not answer: {error}")
    print(json.dumps({"answers": answers}))


if __name__ == "__main__":
    main(sys.argv[1])
