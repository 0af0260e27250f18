# SPDX-License-Identifier: Apache-2.0
"""The synced inventory: one sorted YAML file per region with the complete content of its source, and a hash."""

from __future__ import annotations

import os
import re
import tempfile
import time
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import IPAddress, Model, load_yaml, validate
from scs_deploy.inventory.model import Host, Inventory, default_name, digest

FILE = "inventory.yml"
PLUGIN: Literal["scs.core.region"] = "scs.core.region"
_HEAD = "---\n# Written by `scs inventory sync`, which replaces manual edits. Runs use this file: keep it in git.\n"


class NetworkFacts(Model):
    """Information from the source about one of the region's networks."""

    prefixes: tuple[IPv4Network | IPv6Network, ...] = Field(default=(), description="all prefixes, IPv4 and IPv6")
    vlans: tuple[int, ...] = Field(default=(), description="VLAN IDs")


class VirtualAddress(Model):
    """An address that is not bound to a single host."""

    address: IPAddress = Field(description="without prefix length")
    network: str = Field(description="network in environment.yml")
    role: str = Field(description="vip, vrrp, anycast, ...")
    name: str = Field(default="", description="DNS name")
    outside: IPAddress | None = Field(default=None, description="outside address that NAT translates to this one")


class Document(Model):
    """The content of a synced inventory file."""

    source: str = Field(description="where the inventory came from: NetBox's URL and sites, or a path")
    version: str = Field(default="", description="version of NetBox's API")
    changed: str = Field(default="", description="time of the last change to a NetBox object in this inventory")
    hash: str = Field(default="", description="hash of networks, virtual addresses, groups and hosts")
    plugin: Literal["scs.core.region"] = Field(
        default=PLUGIN, description="inventory plugin that lets plain Ansible read the file"
    )
    networks: dict[str, NetworkFacts] = Field(default={}, description="the region's networks")
    virtual_addresses: tuple[VirtualAddress, ...] = Field(default=(), description="addresses that move between hosts")
    groups: dict[str, tuple[str, ...]] = Field(default={}, description="group: its hosts")
    hosts: dict[str, Host] = Field(default={}, description="hosts by name, with everything that rendering needs")

    def inventory(self) -> Inventory:
        """The hosts and groups."""
        return Inventory(hosts=self.hosts, groups=self.groups, hash=self.hash or hash_of(self))


def document(source: str, inventory: Inventory) -> Document:
    """The document of a source that has hosts and groups only."""
    return Document(source=source, hosts=inventory.hosts, groups=inventory.groups)


def hash_of(document: Document) -> str:
    """`sha256:<hex>` of everything but the header."""
    return digest(content(document))


def content(document: Document) -> dict[str, Any]:
    """The data that the hash covers, as JSON data without defaults."""
    data: dict[str, Any] = document.model_dump(
        mode="json", exclude_defaults=True, include={"networks", "virtual_addresses", "groups", "hosts"}
    )
    for host in data.get("hosts", {}).values():
        del host["name"]
        for disk in host.get("disks", ()):
            if disk.get("name") == default_name(disk.get("device") or disk.get("file") or ""):
                # follows from the rest; an inventory that was synced before disks had names keeps its hash
                del disk["name"]
    return data


def dump(document: Document) -> str:
    """The file's text, including the hash. The same inventory always yields the same bytes."""
    body = content(document)
    head = {"source": document.source, "version": document.version, "changed": document.changed}
    whole = {**{k: v for k, v in head.items() if v}, "hash": digest(body), "plugin": PLUGIN, **body}
    order = ("source", "version", "changed", "hash", "plugin", "networks", "virtual_addresses", "groups", "hosts")
    return _HEAD + "".join(_part(key, whole[key]) for key in order if key in whole)


def _part(key: str, value: Any) -> str:
    # innermost lists and mappings on one line: a link takes a few lines, so diffs of many hosts stay readable
    flow = None if isinstance(value, dict | list) else False
    text = str(
        yaml.dump({key: value}, Dumper=_Dumper, sort_keys=True, allow_unicode=True, width=110, default_flow_style=flow)
    )
    return _indented(text) if _SEQUENCE.search(text) else text


_SEQUENCE = re.compile(r"^ *- ", re.MULTILINE)


def _indented(text: str) -> str:
    """Indent block sequences by two more spaces than their key, as yamllint requires; libyaml aligns them with it.

    YAML's own parser finds their start and end. Continuation lines of strings move too, which does not change them.
    """
    lines = text.splitlines(keepends=True)
    deeper = [0] * (len(lines) + 1)
    # -1: a mapping; -2: a sequence that does not move; else the first line of a sequence that moves
    open_: list[int] = []
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.MappingStartEvent):
            open_.append(-1)
        elif isinstance(event, yaml.SequenceStartEvent):
            moves = not event.flow_style and open_[-1:] == [-1] and event.start_mark
            open_.append(event.start_mark.line if moves and event.start_mark else -2)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            start = open_.pop()
            if start >= 0 and event.start_mark:
                for number in range(start, event.start_mark.line):
                    deeper[number] += 2
    return "".join(" " * more + line if line.strip() else line for more, line in zip(deeper, lines, strict=False))


class _Dumper(yaml.CSafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True


def write(document: Document, file: Path) -> None:
    """Replace the file atomically: readers see the old or the new content, even after a crash."""
    text = dump(document)
    for left in file.parent.glob(f".{file.name}.*"):
        # left by a killed process; a running one finishes within seconds
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > 3600:
                left.unlink()
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def is_synced(file: Path) -> bool:
    """Whether `sync` wrote the file, judged by its first keys. Reads only the first lines."""
    if not file.is_file() or file.suffix not in (".yml", ".yaml"):
        return False
    with file.open(encoding="utf-8", errors="replace") as stream:
        for _, line in zip(range(20), stream, strict=False):
            if line.startswith("source:"):
                return True
    return False


def load(file: Path, trust: bool = False) -> Document:
    """Read a synced inventory.

    :param trust: accept the file even if its hash does not match
    :raises RefusedError: not a synced inventory, or edited by hand
    """
    data = load_yaml(file)
    if not isinstance(data, dict) or "source" not in data:
        raise RefusedError(f"{file}: is not a synced inventory", "scs inventory sync")
    hosts = data.get("hosts")
    hosts = hosts if isinstance(hosts, dict) else {}
    named = {n: {**(h if isinstance(h, dict) else {}), "name": n} for n, h in hosts.items()}
    result = validate(Document, {**data, "hosts": named}, file)
    if not trust and result.hash != hash_of(result):
        raise RefusedError(
            f"{file}: the hash does not match the content: the file was edited by hand",
            "change the source and run scs inventory sync, or restore the file from git",
        )
    return result
