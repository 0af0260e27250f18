# SPDX-License-Identifier: Apache-2.0
"""Which images move from files into Ceph, and why it is refused. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

from pydantic import Field

from scs_deploy.base.model import Model
from scs_deploy.base.sizes import size
from scs_deploy.shared.ceph import growth, room
from scs_deploy.shared.ceph.observed import Observed
from scs_deploy.shared.glance import COPY, FILE, HAS_DATA, RBD, Image

POOL = "images"

Todo = Literal["copy", "wait", "check"]
"""Copy it; wait for a copy that has begun; check a copy that is there. What follows is the same."""


class Move(Model):
    """An image that moves."""

    image: Image
    todo: Todo

    @property
    def title(self) -> str:
        """What the operator sees."""
        return f"move image {self.image.title}, {size(self.image.size)}"


class Stay(Model):
    """An image that is in files and stays there."""

    image: Image
    reason: str


class ImagesPlan(Model):
    """What will happen."""

    moves: tuple[Move, ...] = ()
    stays: tuple[Stay, ...] = ()
    done: int = Field(default=0, description="images that are in Ceph only")
    bytes: int = Field(default=0, description="to copy")
    refusals: tuple[str, ...] = ()


class Facts(Model):
    """What is known of Glance and the cluster."""

    images: tuple[Image, ...]
    stores: frozenset[str]
    methods: frozenset[str]
    cluster: Observed = Field(description="with its OSDs")


def decide(facts: Facts, chosen: Collection[str] = ()) -> ImagesPlan:
    """The plan.

    :param chosen: ids or names; empty: all
    """
    if refused := unprepared(facts):
        return ImagesPlan(refusals=(refused,))
    refusals = [why for word in chosen if (why := _unknown(word, facts.images))]
    wanted = [i for i in facts.images if not chosen or i.id in chosen or i.name in chosen]
    here = [i for i in wanted if FILE in i.stores and i.status in HAS_DATA]
    stays = [Stay(image=i, reason=why) for i in here if (why := _stuck(i))]
    held = {s.image.id for s in stays}
    order = ("check", "copy", "wait")
    moves = sorted((_move(i) for i in here if i.id not in held), key=lambda m: (order.index(m.todo), m.image.size))
    needed = sum(m.image.size for m in moves if m.todo != "check")
    if needed and (why := too_full(facts.cluster, needed)):
        refusals.append(why)
    done = sum(i.stores == (RBD,) for i in wanted)
    return ImagesPlan(moves=tuple(moves), stays=tuple(stays), done=done, bytes=needed, refusals=tuple(refusals))


def unprepared(facts: Facts) -> str:
    """What Glance lacks; empty: nothing."""
    if missing := {FILE, RBD} - facts.stores:
        return f"Glance has no store {', '.join(sorted(missing))} yet: scs apply glance"
    if COPY not in facts.methods:
        return f"Glance does not allow {COPY}: add it to glance_import_methods, then scs apply glance"
    return ""


def too_full(cluster: Observed, needed: int) -> str:
    """Why the pool cannot take so many bytes more, with the figures; empty: it can."""
    pool = cluster.pools.get(POOL)
    if pool is None:
        return f"Ceph has no pool {POOL}: scs apply ceph"
    if cluster.fill and cluster.fill.refuses_writes:
        return cluster.fill.line
    if pool.max_bytes and pool.stored + needed > pool.max_bytes:
        left = max(0, pool.max_bytes - pool.stored)
        return f"the images need {size(needed)}, and the quota of pool {POOL} leaves {size(left)}: quota in storage.yml"
    if needed > pool.available:
        return f"the images need {size(needed)}, and pool {POOL} has room for {size(pool.available)}: {room.GUIDE}"
    loads = growth.loads(cluster)
    if POOL not in loads:
        return ""
    before = loads[POOL]
    after = {**loads, POOL: before.model_copy(update={"used": before.used + needed * _factor(pool.erasure, pool.size)})}
    places = growth.places(cluster, cluster.racks)
    worst = room.fullest(places, list(loads.values()), places, list(after.values()))
    why = worst.too_full(cluster.ratios.get("nearfull", room.NEARFULL)) if worst else ""
    return f"the images need {size(needed)}: {why}: {room.GUIDE}" if why else ""


def _factor(erasure: str, copies: int) -> float:
    """Bytes on disks for a byte of an image."""
    data = int(erasure.partition("+")[0]) if erasure else 1
    return copies / data


def _unknown(word: str, images: Sequence[Image]) -> str:
    found = [i for i in images if word in (i.id, i.name)]
    if not found:
        return f"no image '{word}'"
    if len(found) > 1 and word not in {i.id for i in found}:
        return f"{len(found)} images are named '{word}': give the id, {', '.join(i.id for i in found)}"
    return ""


def _stuck(image: Image) -> str:
    """Why an image cannot be moved; empty: it can."""
    if not image.digest:
        return "it has no checksum, so a copy could not be compared"
    if image.status == "deactivated" and RBD not in image.stores:
        return "it is deactivated, and Glance copies active images only: openstack image set --activate"
    if image.status == "deactivated":
        return "it is deactivated, and Glance removes files of active images only: openstack image set --activate"
    return ""


def _move(image: Image) -> Move:
    todo: Todo = "check" if RBD in image.stores else "wait" if RBD in image.importing else "copy"
    return Move(image=image, todo=todo)
