# SPDX-License-Identifier: Apache-2.0
"""The test environments on a replay server: read, resolve, sync."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from scs_deploy.base.model import load_model
from scs_deploy.environment.environment import Environment, Settings
from scs_deploy.inventory import source
from scs_deploy.inventory.model import Host
from scs_deploy.inventory.source import Found
from scs_deploy.spec import catalog as catalogs
from tests.netbox.replay import READ_ONLY, Behaviour, Replay

ENVIRONMENTS = Path(__file__).with_name("environments")
DEVICES, INTERFACES = "/api/dcim/devices/", "/api/dcim/interfaces/"
ADDRESSES, PREFIXES, ROLES = "/api/ipam/ip-addresses/", "/api/ipam/prefixes/", "/api/dcim/device-roles/"
MACHINES = "/api/virtualization/virtual-machines/"

Change = Callable[[str, list[dict[str, Any]]], None]


def prepare(folder: Path, name: str = "small", url: str = "", token: str = READ_ONLY, **mapping: Any) -> Environment:
    """A copy of a test environment; `mapping` replaces keys of netbox.yml, `None` removes them."""
    target = folder / name
    if not target.exists():
        shutil.copytree(ENVIRONMENTS / name, target)
    file = target / "netbox.yml"
    keys = {**yaml.safe_load(file.read_text(encoding="utf-8")), "url": url or "http://127.0.0.1:1", **mapping}
    file.write_text(yaml.safe_dump({k: v for k, v in keys.items() if v is not None}), encoding="utf-8")
    (target / "token").write_text(token, encoding="utf-8")
    return Environment(name=name, path=target, settings=load_model(Settings, target / "environment.yml"))


def read(
    folder: Path, behaviour: Behaviour | None = None, name: str = "small", token: str = READ_ONLY, **mapping: Any
) -> Found:
    """What NetBox gives for a test environment. The server must have had all answers recorded."""
    with Replay(behaviour) as server:
        found = source.read(prepare(folder, name, server.url, token, **mapping), catalogs.load(), source.NETBOX)
    assert server.unrecorded == []
    return found


def host(found: Found, name: str) -> Host:
    """One host, with no problem in the report."""
    assert [str(p) for p in found.problems] == []
    return found.document.hosts[name]


def problems(found: Found) -> list[str]:
    """The report's lines."""
    return [str(p) for p in found.problems]


def edit(path: str, which: dict[str, Any], change: Callable[[dict[str, Any]], None]) -> Change:
    """A behaviour's `change`: edits the objects of one list that have these values; `device` compares its name."""

    def value(entity: dict[str, Any], key: str) -> Any:
        found = entity.get(key)
        return found.get("name") if key == "device" and isinstance(found, dict) else found

    def apply(at: str, objects: list[dict[str, Any]]) -> None:
        if at != path:
            return
        hits = [o for o in objects if all(value(o, k) == v for k, v in which.items())]
        assert hits, f"nothing in {path} is {which}"
        for entity in hits:
            change(entity)

    return apply
