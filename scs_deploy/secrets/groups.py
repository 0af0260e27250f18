# SPDX-License-Identifier: Apache-2.0
"""Groups of hosts that accept each other's certificates: each has a CA of its own, and exchanges it while it works.

A CA is exchanged in three steps, each of which has to reach every host before the next one: all members accept both CAs
and present the old certificates; then they present the new ones; then they accept these only. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from pydantic import Field

from scs_deploy.base.model import Model
from scs_deploy.secrets import issuing
from scs_deploy.secrets.issuing import Leaf, Wanted


class Stage(StrEnum):
    """How far a group's exchange has come."""

    TRUST = "trust"
    """both CAs are accepted, members present the old certificates"""
    PRESENT = "present"
    """both CAs are accepted, members present the new certificates"""


class Group(Model):
    """The CA of a group."""

    ca: Leaf
    stage: Stage | None = Field(default=None, description="of the exchange; absent: there is none")
    retiring: str = Field(default="", description="certificates of the CAs that this one replaces, still accepted")
    presented: dict[str, Leaf] = Field(
        default_factory=dict, description="old certificates by name, which members present in the first stage"
    )

    @property
    def bundle(self) -> str:
        """Every accepted CA certificate, PEM."""
        return self.ca.cert + self.retiring


def of(name: str) -> str:
    """The group or purpose in the name of a host's certificate: `galera` in `galera/ha-1`."""
    return name.partition("/")[0] if "/" in name else ""


def succeed(group: Group, name: str, region: str, leaves: Mapping[str, Leaf]) -> Group:
    """The group with a new CA, in the first stage.

    :param leaves: the group's present certificates, of the members that remain
    """
    if group.stage is Stage.TRUST:
        # nobody presents a certificate of the last CA yet: another one takes its place
        presented = {n: leaf for n, leaf in group.presented.items() if n in leaves}
        return group.model_copy(update={"ca": authority(name, region), "presented": presented})
    return Group(
        ca=authority(name, region), stage=Stage.TRUST, retiring=group.ca.cert + group.retiring, presented=dict(leaves)
    )


def following(group: Group) -> Group:
    """The group in its next stage."""
    if group.stage is Stage.TRUST:
        return group.model_copy(update={"stage": Stage.PRESENT, "presented": {}})
    return Group(ca=group.ca)


def authority(name: str, region: str) -> Leaf:
    """A new CA of a group."""
    return issuing.new_ca(f"SCS {region} {name}")


def members(wanted: Mapping[str, Wanted]) -> dict[str, list[str]]:
    """Group: names of its certificates."""
    found: dict[str, list[str]] = {}
    for name, leaf in wanted.items():
        if leaf.group:
            found.setdefault(leaf.group, []).append(name)
    return found
