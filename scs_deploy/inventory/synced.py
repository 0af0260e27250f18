# SPDX-License-Identifier: Apache-2.0
"""The synced inventory: one sorted YAML file per region with all that its source said, and a hash of it."""

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
from scs_deploy.base.model import Model, load_yaml, validate
from scs_deploy.environment.environment import IPAddress
from scs_deploy.inventory.model import Host, Inventory, digest

FILE = "inventory.yml"
PLUGIN: Literal["scs.core.region"] = "scs.core.region"
_HEAD = "---\n# Written by `scs inventory sync`; the next one replaces it. Keep it in git: it is what runs go by.\n"


class NetworkFacts(Model):
    """What a source says of one of the region's networks."""

    prefixes: tuple[IPv4Network | IPv6Network, ...] = Field(default=(), description="all of it, IPv4 and IPv6")
    vlans: tuple[int, ...] = Field(default=(), description="VLAN IDs")


class VirtualAddress(Model):
    """An address that no single host carries."""

    address: IPAddress = Field(description="without prefix length")
    network: str = Field(description="network of environment.yml")
    role: str = Field(description="vip, vrrp, anycast, ...")
    name: str = Field(default="", description="DNS name")
    outside: IPAddress | None = Field(default=None, description="address that is translated (NAT) to it")


class Document(Model):
    """A synced inventory as it stands in its file."""

    source: str = Field(description="where it came from: NetBox's address and sites, or a path")
    version: str = Field(default="", description="version of NetBox's API")
    changed: str = Field(default="", description="newest change of a NetBox object that it was made of")
    hash: str = Field(default="", description="of all that follows")
    plugin: Literal["scs.core.region"] = Field(default=PLUGIN, description="what plain Ansible reads the file with")
    networks: dict[str, NetworkFacts] = Field(default={}, description="the region's networks")
    virtual_addresses: tuple[VirtualAddress, ...] = Field(default=(), description="addresses that move")
    groups: dict[str, tuple[str, ...]] = Field(default={}, description="group: its hosts")
    hosts: dict[str, Host] = Field(default={}, description="all that rendering needs, by name")

    def inventory(self) -> Inventory:
        """The hosts and groups."""
        return Inventory(hosts=self.hosts, groups=self.groups, hash=self.hash or hash_of(self))


def document(source: str, inventory: Inventory) -> Document:
    """What a source says that knows of nothing but hosts and groups."""
    return Document(source=source, hosts=inventory.hosts, groups=inventory.groups)


def hash_of(found: Document) -> str:
    """`sha256:<hex>` of everything but the header."""
    return digest(content(found))


def content(document: Document) -> dict[str, Any]:
    """What the hash covers, as JSON data without defaults."""
    data: dict[str, Any] = document.model_dump(
        mode="json", exclude_defaults=True, include={"networks", "virtual_addresses", "groups", "hosts"}
    )
    for host in data.get("hosts", {}).values():
        del host["name"]
    return data


def dump(document: Document) -> str:
    """The file's text, hash included: the same inventory gives the same bytes."""
    body = content(document)
    head = {"source": document.source, "version": document.version, "changed": document.changed}
    whole = {**{k: v for k, v in head.items() if v}, "hash": digest(body), "plugin": PLUGIN, **body}
    order = ("source", "version", "changed", "hash", "plugin", "networks", "virtual_addresses", "groups", "hosts")
    return _HEAD + "".join(_part(key, whole[key]) for key in order if key in whole)


def _part(key: str, value: Any) -> str:
    # innermost lists and mappings on one line: a link is a line or a few, and a thousand hosts stay readable in a diff
    flow = None if isinstance(value, dict | list) else False
    text = str(
        yaml.dump({key: value}, Dumper=_Dumper, sort_keys=True, allow_unicode=True, width=110, default_flow_style=flow)
    )
    return _indented(text) if _SEQUENCE.search(text) else text


_SEQUENCE = re.compile(r"^ *- ", re.MULTILINE)


def _indented(text: str) -> str:
    """Block sequences two spaces further in than their key, as yamllint wants them; libyaml writes them level with it.

    Where they begin and end, YAML's own parser says. Lines of a text that goes on move too, which changes nothing.
    """
    lines = text.splitlines(keepends=True)
    deeper = [0] * (len(lines) + 1)
    # -1: a mapping, -2: a sequence that stays, or the line where one begins that a mapping's key has
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
    """Replace the file in one step: whoever reads or dies meanwhile finds the old one whole, or the new one."""
    text = dump(document)
    for left in file.parent.glob(f".{file.name}.*"):
        # of a process that was killed; a living one is done within seconds
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
    """A file that `sync` wrote: its first keys say so. Reads no further than it must."""
    if not file.is_file() or file.suffix not in (".yml", ".yaml"):
        return False
    with file.open(encoding="utf-8", errors="replace") as stream:
        for _, line in zip(range(20), stream, strict=False):
            if line.startswith("source:"):
                return True
    return False


def load(file: Path, trust: bool = False) -> Document:
    """Read a synced inventory.

    :param trust: take it as it is, whatever its hash says
    :raises RefusedError: not one, or changed by hand since it was written
    """
    data = load_yaml(file)
    if not isinstance(data, dict) or "source" not in data:
        raise RefusedError(f"{file}: is not a synced inventory", "scs inventory sync")
    hosts = data.get("hosts")
    hosts = hosts if isinstance(hosts, dict) else {}
    named = {n: {**(h if isinstance(h, dict) else {}), "name": n} for n, h in hosts.items()}
    found = validate(Document, {**data, "hosts": named}, file)
    if not trust and found.hash != hash_of(found):
        raise RefusedError(
            f"{file}: its content is not what its hash says: it was changed by hand",
            "change the source and run scs inventory sync, or restore the file from git",
        )
    return found
