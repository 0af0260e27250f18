# SPDX-License-Identifier: Apache-2.0
"""The relevant part of a cluster's state, parsed from the answers of its monitors. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from scs_deploy.base.model import Model
from scs_deploy.shared.ceph.disks import Osd
from scs_deploy.shared.ceph.room import Fill, fill

FENCED = "scs/fence/"
"""Begins the config-key of each host that `scs node evacuate` shut out; ceph_ask.py has it, too."""

QUESTIONS: tuple[dict[str, Any], ...] = (
    {"prefix": "osd dump"},
    {"prefix": "osd crush dump"},
    {"prefix": "auth ls"},
    {"prefix": "df", "detail": "detail"},
    {"prefix": "health"},
    {"prefix": "config dump"},
    {"prefix": "config-key dump", "key": FENCED},
)
"""What `Observed.parse` takes the answers of, in this order."""

MARK = "scs"
"""Key of a pool's application metadata: the service for which scs made the pool."""

ERASURE = 3
"""Ceph's type of an erasure coded pool: pg_pool_t::TYPE_ERASURE in src/osd/osd_types.h."""


class ObservedPool(Model):
    """A pool in the cluster."""

    name: str
    number: int
    erasure: str = Field(default="", description="`k+m`; empty: replicated")
    size: int
    min_size: int
    rule: str
    applications: dict[str, dict[str, str]]
    autoscale: str
    placement_groups: int
    target_ratio: float = 0
    bulk: bool = False
    overwrites: bool = False
    max_bytes: int = 0
    max_objects: int = 0
    objects: int = 0
    stored: int = Field(default=0, description="bytes that clients wrote")
    used: int = Field(default=0, description="bytes on disks")
    available: int = Field(default=0, description="bytes that clients can still write")

    @property
    def service(self) -> str:
        """The service for which scs made it; empty: it is not one of scs."""
        return next((m[MARK] for m in self.applications.values() if MARK in m), "")


class ObservedRule(Model):
    """A CRUSH rule in the cluster."""

    root: str
    domain: str
    device_class: str | None = None


class ObservedClient(Model):
    """An entity that may log in."""

    key_hash: str = Field(repr=False)
    capabilities: dict[str, str]


class Observed(Model):
    """The cluster."""

    pools: dict[str, ObservedPool]
    rules: dict[str, ObservedRule]
    profiles: dict[str, dict[str, str]]
    clients: dict[str, ObservedClient]
    racks: dict[str, str] = Field(default={}, description="host: the rack that it is in")
    hosts: tuple[str, ...] = Field(default=(), description="hosts in the CRUSH map")
    classes: dict[str, str] = Field(default={}, description="OSD: its device class")
    ratios: dict[str, float] = Field(default={}, description="nearfull, backfillfull, full")
    options: dict[str, str] = Field(default={}, description="`section/option` in the monitors' configuration: value")
    fenced: tuple[str, ...] = Field(default=(), description="hosts whose clients are refused")
    fill: Fill | None = Field(default=None, description="how short of room it is; None: it has room")
    osds: tuple[Osd, ...] = Field(default=(), description="known only where a change needs room")

    @classmethod
    def parse(cls, answers: Sequence[Any]) -> Observed:
        """From the answers to `QUESTIONS`."""
        osd, crush, auth, usage, health, config, fences = answers
        rules = {r["rule_id"]: r["rule_name"] for r in crush["rules"]}
        used = {p["name"]: p.get("stats", {}) for p in usage.get("pools", ())}
        profiles = osd["erasure_code_profiles"]
        ratios = {n: round(osd[f"{n}_ratio"], 4) for n in ("nearfull", "backfillfull", "full")}
        return cls(
            pools={p["pool_name"]: _pool(p, rules, profiles, used.get(p["pool_name"], {})) for p in osd["pools"]},
            rules={r["rule_name"]: _rule(r) for r in crush["rules"]},
            profiles=profiles,
            clients={
                a["entity"].removeprefix("client."): ObservedClient(key_hash=a["key"], capabilities=a.get("caps", {}))
                for a in auth["auth_dump"]
                if a["entity"].startswith("client.")
            },
            racks=_racks(crush["buckets"]),
            hosts=tuple(b["name"] for b in crush["buckets"] if b["type_name"] == "host" and "~" not in b["name"]),
            classes={d["name"]: d["class"] for d in crush["devices"] if d.get("class")},
            ratios=ratios,
            options={f"{c['section']}/{c['name']}": c["value"] for c in config},
            fenced=fenced(fences),
            fill=fill(health, ratios),
        )


def fenced(dump: Mapping[str, str] | None) -> tuple[str, ...]:
    """The hosts of the config-keys that begin with `FENCED`."""
    return tuple(sorted(key.removeprefix(FENCED) for key in dump or ()))


def _pool(
    pool: Mapping[str, Any], rules: Mapping[int, str], profiles: Mapping[str, Mapping[str, str]],
    usage: Mapping[str, Any],
) -> ObservedPool:  # fmt: skip
    flags = str(pool.get("flags_names", "")).split(",")
    code = profiles.get(pool["erasure_code_profile"], {}) if pool["type"] == ERASURE else {}
    return ObservedPool(
        name=pool["pool_name"],
        number=pool["pool"],
        erasure=f"{code.get('k', '?')}+{code.get('m', '?')}" if pool["type"] == ERASURE else "",
        size=pool["size"],
        min_size=pool["min_size"],
        rule=rules.get(pool["crush_rule"], str(pool["crush_rule"])),
        applications=pool.get("application_metadata", {}),
        autoscale=pool["pg_autoscale_mode"],
        placement_groups=pool["pg_num_target"],
        target_ratio=pool.get("options", {}).get("target_size_ratio", 0),
        bulk="bulk" in flags,
        overwrites="ec_overwrites" in flags,
        max_bytes=pool["quota_max_bytes"],
        max_objects=pool["quota_max_objects"],
        objects=usage.get("objects", 0),
        stored=usage.get("stored", 0),
        used=usage.get("bytes_used", 0),
        available=usage.get("max_avail", 0),
    )


def _rule(rule: Mapping[str, Any]) -> ObservedRule:
    """The root, class and failure domain of a rule with one step each, as `rule create-*` makes them."""
    take = next((s["item_name"] for s in rule["steps"] if s["op"] == "take"), "")
    choose: Mapping[str, Any] = next((s for s in rule["steps"] if s["op"].startswith("choose")), {})
    root, _, device_class = take.partition("~")
    return ObservedRule(root=root, domain=choose.get("type", ""), device_class=device_class or None)


def _racks(buckets: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    names = {b["id"]: b["name"] for b in buckets if b["type_name"] == "host"}
    return {
        names[i["id"]]: b["name"]
        for b in buckets
        if b["type_name"] == "rack" and "~" not in b["name"]
        for i in b["items"]
        if i["id"] in names
    }
