# SPDX-License-Identifier: Apache-2.0
"""A host has one place in Ceph's CRUSH map: where its OSDs start is where the plan moves it."""

from __future__ import annotations

import dataclasses

from scs_deploy.desired import resolve
from scs_deploy.environment.storage import Storage
from scs_deploy.inventory.model import grouped
from scs_deploy.shared.ceph import desired
from tests.conftest import dummy_region


def test_an_osd_starts_in_the_rack_that_the_plan_has_for_its_host() -> None:
    region = dummy_region("testbed-ha")
    hosts = {
        name: host.model_copy(update={"rack": f"r{number}", "zone": "another place"})
        for number, (name, host) in enumerate(region.inventory.hosts.items())
    }
    region = dataclasses.replace(region, inventory=grouped(hosts))
    region.__dict__["storage"] = Storage(failure_domain="rack")
    planned = desired.build(region).racks
    assert planned == {name: host.rack for name, host in hosts.items()}
    for name, rack in planned.items():
        files = resolve.resolve(region, name, {"ceph"}).files.values()
        (text,) = [f.content for f in files if (f.container, f.name) == ("ceph_osd_a", "daemon.conf")]
        assert f"crush_location = root=default rack={rack} host={name}\n" in text
