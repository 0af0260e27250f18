#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Adds what the monitors lack of what `save_mon.py` printed, which it takes from its input.

What is there stays as it is, whatever its value. Keys that scs itself gives out are left to `scs apply`, which knows
their current ones. With --plan it changes nothing, and prints as JSON what it would do:

changes  to a store that is another one than the saved one: recovery or a new installation made it, and lost things
removed  from a store that is still the saved one: somebody removed these, perhaps because they were not to be there
notes    what is left alone
"""

from __future__ import annotations

import base64
import json
import re
import sys
from collections.abc import Callable, Collection, Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from ceph_ask import OURS, AskError, Ceph
from ceph_settings import CONF
from save_mon import FORMAT, export

DAEMONS = ("mon.", "mgr.", "client.bootstrap-", "client.osd_gate")
"""Begin names whose keys daemons have in files, or Ceph makes itself."""

Saved = dict[str, Any]
"""What `save_mon.py` printed."""


class LoadError(Exception):
    """What was saved cannot be loaded; why."""


class Missing(NamedTuple):
    """What a cluster lacks."""

    auth: tuple[str, ...] = ()
    config: tuple[tuple[str, str], ...] = ()
    """for whom, and the option"""
    keys: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()

    def words(self) -> list[str]:
        """One line for each; names, no values."""
        return [
            *(f"option {name} of {who}" for who, name in self.config),
            *(f"config-key {key}" for key in self.keys),
            *(f"module {name} of the manager" for name in self.modules),
            *(f"key of {entity}" for entity in self.auth),
        ]


def parse(text: str) -> Saved:
    """Check the format.

    :raises LoadError: not what `save_mon.py` prints
    """
    try:
        found = json.loads(text)
        version = int(found["format"])
    except (ValueError, KeyError, TypeError):
        raise LoadError("what was saved is damaged") from None
    if version > FORMAT:
        raise LoadError(f"a later version of scs saved this (format {version}, this one reads {FORMAT})")
    return dict(found)


def refuse(saved: Saved, now: Saved) -> None:
    """Refuse what belongs to another cluster.

    :raises LoadError: its fsid differs
    """
    if saved["fsid"] != now["fsid"]:
        raise LoadError(f"the backup is of cluster {saved['fsid']}, and this is {now['fsid']}")


def declared(folder: Path = CONF) -> frozenset[str]:
    """Clients whose keys scs gives out: those in keyrings of this container."""
    texts = (file.read_text(encoding="utf-8") for file in folder.glob("*.keyring"))
    return frozenset(name for text in texts for name in re.findall(r"^\[(.+)\]", text, re.MULTILINE))


def missing(saved: Saved, now: Saved, ours: Collection[str]) -> Missing:
    """What a cluster lacks of what was saved. Of OSDs: only those that are the saved ones still.

    :param ours: clients whose keys scs gives out
    """
    same = {f"osd.{o}" for o, uuid in saved["osds"].items() if now["osds"].get(o) == uuid}

    def wanted(name: str) -> bool:
        return not name.startswith("osd.") or name.partition("/")[0] in same

    def of_use(key: str) -> bool:
        # a note of whose noout it is, for a host that has it
        return not key.startswith(OURS) or key.removeprefix(OURS) in now["noout"]

    return Missing(
        auth=tuple(
            sorted(
                e for e in saved["auth"].keys() - now["auth"].keys() - set(ours)
                if wanted(e) and not e.startswith(DAEMONS)
            )
        ),
        config=tuple(
            (who, name) for who, options in sorted(saved["config"].items()) if wanted(who)
            for name in sorted(options) if name not in now["config"].get(who, {})
        ),
        keys=tuple(sorted(filter(of_use, saved["keys"].keys() - now["keys"].keys()))),
        modules=tuple(sorted(set(saved["modules"]) - set(now["modules"]))),
    )  # fmt: skip


def notes(saved: Saved, now: Saved, ours: Collection[str]) -> list[str]:
    """What differs, and is left alone."""
    keys = [
        e for e, found in sorted(saved["auth"].items())
        if e in now["auth"] and now["auth"][e] != found and e not in ours and not e.startswith(DAEMONS)
    ]  # fmt: skip
    options = [
        f"{name} of {who}" for who, found in sorted(saved["config"].items())
        for name, value in sorted(found.items()) if now["config"].get(who, {}).get(name, value) != value
    ]  # fmt: skip
    said = []
    if keys:
        said.append(f"have another key or other capabilities now, and keep them: {', '.join(keys)}")
    if options:
        said.append(f"options with another value now, which they keep: {', '.join(options)}")
    if pools := sorted(set(saved["pools"].values()) - set(now["pools"].values())):
        said.append(f"the cluster has no pool {', '.join(pools)}; no backup of scs holds the data of pools")
    there = {f["mdsmap"]["fs_name"] for f in now["file_systems"]}
    said += [_file_system(f, saved["pools"]) for f in saved["file_systems"] if f["mdsmap"]["fs_name"] not in there]
    return said


def _file_system(found: dict[str, Any], pools: dict[str, str]) -> str:
    """https://docs.ceph.com/en/tentacle/cephfs/recover-fs-after-mon-store-loss/"""
    about = found["mdsmap"]
    named = [pools.get(str(p), str(p)) for p in (about["metadata_pool"], about["data_pools"][0])]
    create = f"ceph fs new {about['fs_name']} {' '.join(named)} --fscid {found['id']} --force --recover"
    return f"the cluster has no file system {about['fs_name']}; while no metadata server runs: {create}"


def plan(saved: Saved, now: Saved, ours: Collection[str]) -> dict[str, list[str]]:
    """What `--plan` prints."""
    words = missing(saved, now, ours).words()
    # injected maps of a rebuilt store are new; monitors that join or leave keep the date
    again = saved["created"] != now["created"]
    return {
        "changes": words if again else [], "removed": [] if again else words, "notes": notes(saved, now, ours),
    }  # fmt: skip


def load(ceph: Ceph, saved: Saved, lacks: Missing) -> None:
    """Add it. Goes on where one thing is refused.

    :raises LoadError: something was refused; the rest is done
    """
    failed: list[str] = []

    def attempt(what: str, do: Callable[[], object], secret: str = "") -> None:
        try:
            do()
        except AskError as error:
            text = str(error)
            failed.append(f"{what}: {text.replace(secret, '...') if secret else text}")

    for who, name in lacks.config:
        value = saved["config"][who][name]
        attempt(f"option {name} of {who}", partial(_set, ceph, who, name, value), value)
    for key in lacks.keys:
        stored = base64.b64decode(saved["keys"][key])
        attempt(f"config-key {key}", partial(ceph.raw, "config-key set", stored, key=key))
    for name in lacks.modules:
        attempt(f"module {name}", partial(ceph.raw, "mgr module enable", module=name))
    for entity in lacks.auth:
        keyring = keyring_of(entity, saved["auth"][entity]).encode()
        # unlike `auth import`, this is refused if somebody made another one meanwhile
        attempt(f"key of {entity}", partial(ceph.raw, "auth add", keyring, entity=entity))
    if failed:
        raise LoadError(f"{len(failed)} not restored: {'; '.join(failed)}")


def _set(ceph: Ceph, who: str, name: str, value: str) -> None:
    try:
        ceph.raw("config set", who=who, name=name, value=value)
    except AskError as error:
        # of a module that no manager has reported yet, or of another release: it was in the database like that
        if "unrecognized config option" not in str(error):
            raise
        ceph.raw("config set", who=who, name=name, value=value, force=True)


def keyring_of(entity: str, found: dict[str, Any]) -> str:
    """A keyring with one key and its capabilities."""
    return "\n".join([f"[{entity}]", f"\tkey = {found['key']}", *_caps(found["caps"].items()), ""])


def _caps(caps: Iterable[tuple[str, str]]) -> Iterable[str]:
    for daemon, text in caps:
        quoted = text.replace("\\", "\\\\").replace('"', '\\"')
        yield f'\tcaps {daemon} = "{quoted}"'


def main(words: list[str]) -> None:
    """Plan, or load."""
    saved = parse(sys.stdin.read())
    with Ceph("client.admin") as ceph:
        now, ours = export(ceph), declared()
        refuse(saved, now)
        if words == ["--plan"]:
            print(json.dumps(plan(saved, now, ours)))
        else:
            load(ceph, saved, missing(saved, now, ours))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (AskError, LoadError) as failure:
        sys.exit(str(failure))
