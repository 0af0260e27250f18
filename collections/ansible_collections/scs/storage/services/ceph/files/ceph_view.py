#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Prints what the manager of the region needs to know of Ceph's cluster, as JSON: `error` if no quorum answers.

`stop` has, for each host with OSDs, why the cluster cannot do without all of them now; empty if it can.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from ceph_ask import FENCED, OURS, AskError, Ceph

ASKED = {
    "status": ("status", {"health": {"checks": None}, "pgmap": None}),
    "quorum": ("quorum_status", {"quorum_names": None, "quorum_leader_name": None,
                                 "monmap": {"epoch": None, "mons": [{"name": None}]}}),
    "osds": ("osd dump", {"osds": [{"osd": None, "up": None, "in": None}], "crush_node_flags": None,
                          "nearfull_ratio": None, "backfillfull_ratio": None, "full_ratio": None,
                          "pools": [{"pool_name": None, "size": None, "min_size": None, "crush_rule": None}]}),
    "tree": ("osd tree", {"nodes": [{"id": None, "name": None, "type": None, "children": None,
                                     "device_class": None}]}),
    "mgr": ("mgr dump", {"active_name": None, "available": None, "standbys": [{"name": None}]}),
    "rules": ("osd crush rule dump", [{"rule_id": None, "steps": None}]),
    "df": ("df", {"pools": [{"name": None, "stats": {"bytes_used": None}}]}),
}  # fmt: skip
"""What the monitors are asked for, and what is of use in their answers, which are long."""

USAGE = {"nodes": [{"id": None, "kb": None, "kb_used": None, "pgs": None}]}


def read(ceph: Ceph) -> dict[str, Any]:
    """Everything."""
    found: dict[str, Any] = {name: part(ceph.monitors(prefix), of) for name, (prefix, of) in ASKED.items()}
    # what only an active manager knows
    found["usage"] = _or_none(lambda: part(ceph.manager("osd df"), USAGE))
    found["noout"] = [k.removeprefix(OURS) for k in ceph.monitors("config-key ls") if k.startswith(OURS)]
    fences = ceph.monitors("config-key dump", key=FENCED)
    found["fenced"] = {k.removeprefix(FENCED): json.loads(addresses) for k, addresses in fences.items()}
    found["stop"] = {host: _why_not(ceph, osds) for host, osds in by_host(found["tree"]["nodes"]).items() if osds}
    return found


def part(value: Any, of: Any) -> Any:
    """What has the keys of `of`; None stands for everything."""
    if isinstance(of, dict):
        return {key: part(value[key], below) for key, below in of.items() if key in value}
    return [part(v, of[0]) for v in value] if isinstance(of, list) else value


def by_host(nodes: list[dict[str, Any]]) -> dict[str, list[int]]:
    """Host: its OSDs, from `osd tree`."""
    return {n["name"]: [c for c in n.get("children", ()) if c >= 0] for n in nodes if n["type"] == "host"}


def _why_not(ceph: Ceph, osds: list[int]) -> str:
    try:
        ceph.manager("osd ok-to-stop", ids=[str(o) for o in osds])
    except AskError as error:
        return str(error)
    return ""


def _or_none(ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except AskError:
        return None


if __name__ == "__main__":
    try:
        with Ceph("client.admin") as connection:
            print(json.dumps(read(connection)))
    except AskError as error:
        print(json.dumps({"error": str(error)}))
        sys.exit(1)
