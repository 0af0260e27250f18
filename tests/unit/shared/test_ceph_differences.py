# SPDX-License-Identifier: Apache-2.0
"""Ceph: (declared, observed) -> changes, refusals and commands, on what a real cluster of Ceph 20.2 answered.

The cluster was made with `desired()`, and has two pools more: `scratch`, which nobody declares, and `shares`, which scs
made for a service that is gone.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scs_deploy.environment.storage import Erasure, PoolSettings, Quota, Ratios, Storage
from scs_deploy.plan.change import Change
from scs_deploy.region.pools import PoolWish, wish
from scs_deploy.shared.ceph import growth
from scs_deploy.shared.ceph.commands import commands
from scs_deploy.shared.ceph.desired import ClientWish, Desired, hashed
from scs_deploy.shared.ceph.differences import diff, refusals, undeclared
from scs_deploy.shared.ceph.disks import Osd
from scs_deploy.shared.ceph.observed import Observed
from scs_deploy.shared.ceph.room import Fill, Level, Load, Place, spread
from scs_deploy.spec.job import Phase
from scs_deploy.spec.storage import Pool

ANSWERS = json.loads((Path(__file__).parent / "recorded_ceph" / "pools.json").read_text(encoding="utf-8"))
KEY = "AQBzpxFqAAAAABAA8O8u6zWqWdR3l3dJ0cW8wA=="

STORAGE = Storage(
    failure_domain="osd",
    ratios=Ratios(nearfull=0.8),
    placement_groups_per_osd=300,
    pools={
        "images": PoolSettings(device_class="hdd", quota=Quota(bytes="2GiB")),
        "backups": PoolSettings(erasure=Erasure(k=2, m=1), target_ratio=0.2, autoscale="off", placement_groups=8),
    },
)
POOLS = {
    "volumes": (Pool(application="rbd", bulk=True), "cinder"),
    "images": (Pool(application="rbd"), "glance"),
    "backups": (Pool(application="rbd", data_only=True), "cinder"),
}
GLANCE = {"mon": "profile rbd", "osd": "profile rbd pool=images", "mgr": "profile rbd pool=images"}


def desired(
    storage: Storage = STORAGE, capabilities: dict[str, str] = GLANCE, key: str = KEY, **update: Any
) -> Desired:
    pools = {name: wish(name, pool, service, storage) for name, (pool, service) in POOLS.items()}
    client = ClientWish(name="glance", service="glance", key_hash=hashed(key), capabilities=capabilities)
    made = Desired(
        pools=pools, clients={"glance": client}, keep=("shares",), ratios=storage.ratios,
        placement_groups_per_osd=storage.placement_groups_per_osd,
    )  # fmt: skip
    return made.model_copy(update=update)


def settings(**pools: PoolSettings) -> Storage:
    return STORAGE.model_copy(update={"pools": {**STORAGE.pools, **pools}})


@pytest.fixture
def observed() -> Observed:
    return Observed.parse(ANSWERS)


def rows(changes: tuple[Change, ...]) -> list[tuple[str, str, str]]:
    return [(c.service, c.subject, c.reason) for c in changes]


def said(desired: Desired, observed: Observed, *allowed: str) -> list[str]:
    return [str(r) for r in refusals(desired, observed, allowed)]


def sent(desired: Desired, observed: Observed) -> list[str]:
    """The commands in short."""
    return [
        " ".join(str(v) for k, v in c.items() if k not in ("yes_i_really_really_mean_it", "fails", "sections_of"))
        for c in commands(desired, observed, diff(desired, observed))
    ]


def test_a_cluster_as_declared_needs_nothing(observed: Observed) -> None:
    assert diff(desired(), observed) == ()
    assert refusals(desired(), observed) == ()


def test_a_new_cluster_gets_everything_before_the_services_that_need_it() -> None:
    changes = diff(desired(), None)
    assert [(c.phase, c.service, c.subject) for c in changes] == [
        (Phase.REGISTER, "ceph", "option full ratios"),
        (Phase.REGISTER, "ceph", "option placement groups per OSD"),
        (Phase.REGISTER, "ceph", "rule scs-erasure-2-1-osd"),
        (Phase.REGISTER, "ceph", "rule scs-replicated-osd"),
        (Phase.REGISTER, "ceph", "rule scs-replicated-osd-hdd"),
        (Phase.DATABASE, "cinder", "pool volumes"),
        (Phase.DATABASE, "glance", "pool images"),
        (Phase.DATABASE, "cinder", "pool backups"),
        (Phase.DATABASE, "glance", "client glance"),
    ]
    assert all(c.creates for c in changes[2:])


def test_pools_that_nobody_declares_are_reported_and_stay(observed: Observed) -> None:
    assert [p.name for p in undeclared(desired(), observed)] == ["scratch", "shares"]
    assert not any("scratch" in row[1] for row in rows(diff(desired(), observed)))


def test_more_copies(observed: Observed) -> None:
    now = desired(settings(volumes=PoolSettings(size=4, min_size=3)))
    assert rows(diff(now, observed)) == [("cinder", "pool volumes", "size 3 -> 4; min_size 2 -> 3")]
    assert sent(now, observed) == ["osd pool set volumes size 4", "osd pool set volumes min_size 3"]
    assert said(now, observed) == []


def test_fewer_copies_need_consent_for_that_pool(observed: Observed) -> None:
    now = desired(settings(volumes=PoolSettings(size=2)))
    assert said(now, observed) == [
        "pool volumes: size 3 -> 2: fewer copies survive fewer failures (--allow data-loss:volumes accepts the loss)"
    ]
    assert said(now, observed, "images") != []
    assert said(now, observed, "volumes") == []


def test_writes_that_only_one_disk_has_need_consent(observed: Observed) -> None:
    now = desired(settings(volumes=PoolSettings(min_size=1)))
    assert "min_size 2 -> 1: writes are accepted that only one disk has" in said(now, observed)[0]


def test_another_erasure_code_deletes_the_pool(observed: Observed) -> None:
    now = desired(settings(backups=PoolSettings(erasure=Erasure(k=3, m=2))))
    assert "erasure code 2+1 -> erasure code 3+2: Ceph cannot change that" in said(now, observed)[0]
    assert said(now, observed, "backups") == []
    assert sent(now, observed)[:6] == [
        "osd erasure-code-profile set scs-erasure-3-2-osd ['k=3', 'm=2', 'crush-failure-domain=osd']",
        "osd crush rule create-erasure scs-erasure-3-2-osd scs-erasure-3-2-osd",
        "config set mon mon_allow_pool_delete true",
        "osd pool delete backups backups",
        "config rm mon mon_allow_pool_delete",
        "osd pool create backups on erasure scs-erasure-3-2-osd scs-erasure-3-2-osd",
    ]


def test_a_pool_does_not_become_erasure_coded_by_itself(observed: Observed) -> None:
    now = desired(settings(backups=PoolSettings(size=3)))
    assert "erasure code 2+1 -> replicated: Ceph cannot change that" in said(now, observed)[0]


def test_the_pool_of_a_service_that_is_gone(observed: Observed) -> None:
    now = desired(keep=())
    assert said(now, observed) == [
        "pool shares with 0 objects: its service manila is gone (`keep: [shares]` in storage.yml keeps it, "
        "--allow data-loss:shares accepts the loss)"
    ]
    assert said(now, observed, "shares") == []
    assert rows(diff(now, observed)) == [("ceph", "pool shares", "service manila is gone: the pool is deleted")]
    assert sent(now, observed) == [
        "config set mon mon_allow_pool_delete true", "osd pool delete shares shares",
        "config rm mon mon_allow_pool_delete",
    ]  # fmt: skip


def test_another_device_class_moves_data_by_a_new_rule(observed: Observed) -> None:
    now = desired(settings(volumes=PoolSettings(device_class="ssd")))
    changes = diff(now, observed)
    assert rows(changes) == [
        ("ceph", "rule scs-replicated-osd-ssd", "missing"),
        ("cinder", "pool volumes", "rule scs-replicated-osd -> scs-replicated-osd-ssd"),
    ]
    assert changes[1].impact == "data-plane"
    assert sent(now, observed) == [
        "osd crush rule create-replicated scs-replicated-osd-ssd default osd ssd",
        "osd pool set volumes crush_rule scs-replicated-osd-ssd",
    ]


def test_a_smaller_failure_domain_needs_consent(observed: Observed) -> None:
    pools = {**observed.pools, "volumes": observed.pools["volumes"].model_copy(update={"rule": "scs-replicated-host"})}
    now = observed.model_copy(update={"pools": pools})
    assert "failure domain host -> osd: copies may be lost together" in said(desired(), now)[0]


def test_a_rule_that_somebody_changed_is_refused(observed: Observed) -> None:
    rules = {
        **observed.rules,
        "scs-replicated-osd": observed.rules["scs-replicated-osd"].model_copy(update={"domain": "host"}),
    }
    found = said(desired(), observed.model_copy(update={"rules": rules}))
    assert "CRUSH rule scs-replicated-osd was changed: root default, failure domain host" in found[0]


def test_quota_and_bulk(observed: Observed) -> None:
    now = desired(settings(images=PoolSettings(device_class="hdd", quota=Quota(objects=1000))))
    assert rows(diff(now, observed)) == [
        ("glance", "pool images", "quota 2147483648 -> 0 bytes; quota 0 -> 1000 objects")
    ]
    without = desired(settings(images=PoolSettings(device_class="hdd")))
    assert diff(without, observed) == (), "a quota that storage.yml does not mention stays"


def test_capabilities_that_somebody_widened(observed: Observed) -> None:
    narrow = {**GLANCE, "mon": "profile rbd-read-only"}
    assert rows(diff(desired(capabilities=narrow), observed)) == [
        ("glance", "client glance", "mon: profile rbd -> profile rbd-read-only")
    ]
    assert commands(desired(capabilities=narrow), observed, diff(desired(capabilities=narrow), observed)) == [
        {"prefix": "auth import", "sections_of": "/etc/ceph/clients.keyring", "sections": ["client.glance"]}
    ]


def test_another_key(observed: Observed) -> None:
    changes = diff(desired(key="another"), observed)
    assert rows(changes) == [("glance", "client glance", "key differs")]
    assert "another" not in str(changes)


GIB = 1 << 30


def filled(observed: Observed, classes: str = "", **pools: int) -> Observed:
    """The cluster with five OSDs of 100 GiB, which hold pools of so many GiB on each.

    :param classes: of the OSDs; default: hdd
    """
    of_class = classes.split() or ["hdd"] * 5
    there = {n: p.model_copy(update={"used": pools.get(n, 0) * len(of_class) * GIB}) for n, p in observed.pools.items()}
    used = sum(pools.values()) * GIB
    osds = tuple(
        Osd(number=n, host=f"h{n}", device_class=c, up=True, inside=True, size=100 * GIB, used=used)
        for n, c in enumerate(of_class)
    )
    return observed.model_copy(update={"pools": there, "osds": osds})


def test_more_copies_than_disks_have_room_for_are_refused_with_the_figure(observed: Observed) -> None:
    four = desired(settings(volumes=PoolSettings(size=4)))
    assert said(four, filled(observed, volumes=57)) == []
    assert said(four, filled(observed, volumes=66)) == [
        "pool volumes: size 3 -> 4: needs 110.0 GiB more: osd.0 would be 88 % full, more than nearfull (80 %) "
        "(add disks or delete data first: docs/how-to/storage.md#a-full-cluster)"
    ]
    assert said(four, filled(observed, volumes=57, images=20)) != [], "what others have counts, too"


def test_changes_must_fit_together(observed: Observed) -> None:
    there = filled(observed, volumes=30, images=30)
    both = settings(volumes=PoolSettings(size=4), images=PoolSettings(size=4, device_class="hdd"))
    assert said(desired(settings(volumes=PoolSettings(size=4))), there) == []
    assert said(desired(both), there) == []
    found = said(desired(both), filled(observed, volumes=32, images=32))
    assert [f.partition(":")[0] for f in found] == ["pool volumes", "pool images"]


def test_a_pool_that_moves_to_other_disks_must_fit_there(observed: Observed) -> None:
    ssd = desired(settings(volumes=PoolSettings(device_class="ssd")))
    fits = filled(observed, "hdd hdd hdd ssd ssd ssd", volumes=30)
    assert said(ssd, fits) == []
    found = said(ssd, filled(observed, "hdd hdd hdd ssd ssd ssd", volumes=45))
    assert found[0].startswith("pool volumes: rule scs-replicated-osd -> scs-replicated-osd-ssd: osd.3 would be 90 %")
    small = said(ssd, filled(observed, "hdd hdd hdd hdd ssd ssd ssd", volumes=30, images=20))
    assert "would be 90 % full" in small[0]


def test_a_full_disk_does_not_keep_data_from_disks_with_room(observed: Observed) -> None:
    """To move a pool to new disks is a way out."""
    there = filled(observed, "hdd hdd hdd ssd ssd ssd", volumes=30)
    osds = tuple(o.model_copy(update={"used": 96 * GIB}) if o.device_class == "hdd" else o for o in there.osds)
    there = there.model_copy(update={"osds": osds, "fill": Fill(level=Level.FULL, summary="3 full osd(s)")})
    assert said(desired(settings(volumes=PoolSettings(device_class="ssd"))), there) == []
    assert said(desired(settings(volumes=PoolSettings(size=4))), there) != []


def test_data_of_a_full_cluster_is_not_split_anew(observed: Observed) -> None:
    split = settings(backups=PoolSettings(erasure=Erasure(k=2, m=1), target_ratio=0.2, autoscale="off",
                                          placement_groups=64))  # fmt: skip
    there = filled(observed, volumes=60)
    assert said(desired(split), there) == []
    full = there.model_copy(update={"fill": Fill(level=Level.BACKFILLFULL, summary="1 backfillfull osd(s)")})
    assert (
        "placement groups 8 -> 64: data that moves finds no room: 1 backfillfull osd(s)"
        in said(desired(split), full)[0]
    )


def test_what_needs_no_room_is_possible_on_a_full_cluster(observed: Observed) -> None:
    full = filled(observed, volumes=96).model_copy(
        update={"fill": Fill(level=Level.FULL, summary="5 full osd(s)", osds=(0, 1), ratio=0.95)}
    )
    assert said(desired(capabilities={"mon": "profile rbd"}), full) == []
    assert said(desired(ratios=Ratios(nearfull=0.8, full=0.97)), full) == [], "the way out of an emergency"
    assert said(desired(settings(volumes=PoolSettings(size=2))), full, "volumes") == []


def test_ratios_are_not_lowered_below_what_disks_hold(observed: Observed) -> None:
    there = filled(observed, volumes=71)
    low = desired(ratios=Ratios(nearfull=0.5, backfillfull=0.6, full=0.7))
    assert said(low, there) == [
        "ratios: full 95 % -> 70 %: osd.0 is 71 % full: every write would be refused (add disks or delete data first: "
        "docs/how-to/storage.md#a-full-cluster)"
    ]
    low = desired(ratios=Ratios(nearfull=0.5, backfillfull=0.6, full=0.9))
    assert "backfillfull 90 % -> 60 %: osd.0 is 71 % full: no data could be moved to it" in said(low, there)[0]
    assert said(desired(ratios=Ratios(nearfull=0.6)), there) == [], "only a warning"


def test_disks_are_asked_for_only_where_a_change_needs_room(observed: Observed) -> None:
    assert not growth.asks(desired(), observed)
    assert not growth.asks(desired(settings(volumes=PoolSettings(size=2))), observed)
    assert growth.asks(desired(settings(volumes=PoolSettings(size=4))), observed)
    assert growth.asks(desired(ratios=Ratios(full=0.92)), observed)


def test_a_bucket_holds_one_copy_however_large_it_is() -> None:
    places = [
        Place(osd=n, size=size * GIB, used=0, buckets={"host": host})
        for n, (host, size) in enumerate([("a", 100), ("a", 100), ("b", 50), ("c", 50), ("d", 100)])
    ]
    shares = spread(places, Load(used=1, copies=3, domain="host"))
    assert {o: round(s, 4) for o, s in shares.items()} == {0: 0.1667, 1: 0.1667, 2: 0.1667, 3: 0.1667, 4: 0.3333}
    assert sum(spread(places, Load(used=1, copies=2, domain="osd")).values()) == pytest.approx(1)


def test_hosts_move_into_their_racks(observed: Observed) -> None:
    now = desired(racks={"h0": "r1"})
    assert rows(diff(now, observed)) == [("ceph", "place h0", "rack none -> r1")]
    assert sent(now, observed) == [
        "osd crush add-bucket r1 rack ['root=default']", "osd crush move h0 ['root=default', 'rack=r1']",
    ]  # fmt: skip


def test_ratios_and_options(observed: Observed) -> None:
    now = desired(ratios=Ratios(), placement_groups_per_osd=250)
    assert rows(diff(now, observed)) == [
        ("ceph", "option full ratios", "nearfull 0.8 -> 0.85"),
        ("ceph", "option placement groups per OSD", "300 -> 250"),
    ]


def test_a_pool_of_the_same_name_is_adopted(observed: Observed) -> None:
    bare = observed.pools["volumes"].model_copy(update={"applications": {}, "bulk": False})
    now = observed.model_copy(update={"pools": {**observed.pools, "volumes": bare}})
    assert rows(diff(desired(), now)) == [("cinder", "pool volumes", "application rbd is not set; bulk is not set")]
    assert sent(desired(), now)[:2] == [
        "osd pool application enable volumes rbd", "osd pool application set volumes rbd scs cinder",
    ]  # fmt: skip


def test_defaults_of_an_erasure_code() -> None:
    settled = settings(x=PoolSettings(erasure=Erasure(k=4, m=2)))
    made: PoolWish = wish("x", Pool(application="rgw", data_only=True), "rgw", settled)
    assert (made.size, made.min_size, made.rule.name) == (6, 5, "scs-erasure-4-2-osd")
    assert not made.overwrites
