# SPDX-License-Identifier: Apache-2.0
"""A region with a Ceph, and a service with pools, a client and a container that uses it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from scs_deploy.inventory.model import Inventory
from scs_deploy.region.region import Region
from scs_deploy.spec import catalog
from scs_deploy.spec.release import ImageSpec
from tests.conftest import with_dummies

CEPH = """\
description: Disks of the region
hosts: control
secrets: [ceph_fsid]
containers:
  ceph_mon: {image: base, command: ceph-mon -f}
"""

SAMPLE = """\
description: Volumes
hosts: control
requires: [ceph]
pools:
  volumes: {application: rbd, bulk: true}
ceph_clients:
  sample: {mon: profile rbd, osd: profile rbd pool=volumes, mgr: profile rbd pool=volumes}
containers:
  sample:
    image: base
    command: sample-volume
    user: placement
    ceph: [sample]
    reload: {signal: SIGHUP}
"""


def load(folder: Path, specs: Mapping[str, str]) -> catalog.Catalog:
    """A catalog of these services only, `ceph` in layer storage, the others in openstack."""
    for name, text in specs.items():
        place = folder / ("storage" if name == "ceph" else "openstack") / name
        place.mkdir(parents=True, exist_ok=True)
        (place / "service.yml").write_text(text, encoding="utf-8")
    return catalog.load_from((("storage", folder / "storage"), ("openstack", folder / "openstack")))


def region_with(
    region: Region, folder: Path, specs: Mapping[str, str] | None = None, storage: int | None = None
) -> Region:
    """The region with these services only.

    :param specs: service: its service.yml; default: `ceph` and `sample`
    :param storage: number of the region's hosts that have disks; default: all
    """
    found = load(folder, specs or {"ceph": CEPH, "sample": SAMPLE})
    hosts = region.inventory.hosts
    chosen = tuple(hosts)[: len(hosts) if storage is None else storage]
    groups = {**region.inventory.groups, "storage": chosen}
    if not chosen:
        groups.pop("storage")
    inventory = Inventory(hosts=hosts, groups=groups)
    images = {**region.release.images, "base": ImageSpec()}
    release = region.release.model_copy(update={"images": images})
    return with_dummies(dataclasses.replace(region, catalog=found, inventory=inventory, release=release))
