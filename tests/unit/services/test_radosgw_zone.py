# SPDX-License-Identifier: Apache-2.0
"""The zone of object storage: made once, in the region's pools, and never moved to others.

A small program stands for radosgw-admin, which keeps zones as the real one does: a new one has pools of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scs_deploy.base import paths

PROGRAM = paths.root() / "collections/ansible_collections/scs/openstack/services/radosgw/files/zone.py"
POOLS = {"metadata": "rgw.meta", "index": "rgw.index", "data": "rgw.data"}
ADMIN = """#!{python}
import json, pathlib, sys
words = [w for w in sys.argv[1:] if not w.startswith("--rgw-")]
assert words[:4] == ["-c", "/etc/radosgw/radosgw.conf", "-n", "client.rgw"], words
words = words[4:]
place = pathlib.Path("{state}")
new = {{"realms": [], "zonegroups": [], "period": {{}}, "log": []}}
state = json.loads(place.read_text()) if place.exists() else new
def pools(name):
    default = {{"key": "default-placement", "val": {{"index_pool": name + ".rgw.buckets.index", "data_extra_pool":
        name + ".rgw.buckets.non-ec", "storage_classes": {{"STANDARD": {{"data_pool": name + ".rgw.buckets.data"}}}}}}}}
    return {{"id": "zone-id", "name": name, "domain_root": name + ".rgw.meta:root", "gc_pool": name + ".rgw.log:gc",
        "user_uid_pool": name + ".rgw.meta:users.uid", "placement_pools": [default], "system_key": {{}}}}
name = next(w.partition("=")[2] for w in sys.argv if w.startswith("--rgw-zone="))
state["log"].append(" ".join(words[:2]))
answer = {{}}
match words[:2]:
    case ["realm", "list"]: answer = {{"realms": state["realms"]}}
    case ["realm", "create"]: state["realms"].append(name)
    case ["zonegroup", "list"]: answer = {{"zonegroups": state["zonegroups"]}}
    case ["zonegroup", "create"]: state["zonegroups"].append(name)
    case ["zone", "list"]: answer = {{"zones": [name] if "zone" in state else []}}
    case ["zone", "create"]: answer = state["zone"] = pools(name)
    case ["zone", "get"]: answer = state["zone"]
    case ["zone", "set"]: state["zone"] = json.loads(pathlib.Path(words[2].partition("=")[2]).read_text())
    case ["period", "get"]: answer = state["period"]
    case ["period", "update"]:
        state["period"] = {{"period_map": {{"zonegroups": [{{"zones": [{{"id": "zone-id"}}]}}]}}}}
    case _: print("unrecognized arg " + words[1], file=sys.stderr); sys.exit(22)
place.write_text(json.dumps(state))
if state.pop("break", "") == " ".join(words[:2]): print("connection lost", file=sys.stderr); sys.exit(5)
print(json.dumps(answer))
"""


class Place:
    """The program beside its settings, and the state of the cluster."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.state = folder, folder / "state.json"
        settings = {
            "name": "RegionOne", "url": "https://api:7480", "configuration": "/etc/radosgw/radosgw.conf",
            "client": "client.rgw", "pools": POOLS,
        }  # fmt: skip
        (folder / "zone.json").write_text(json.dumps(settings))
        (folder / "zone.py").write_bytes(PROGRAM.read_bytes())
        admin = folder / "radosgw-admin"
        admin.write_text(ADMIN.format(python=sys.executable, state=self.state))
        admin.chmod(0o755)

    def run(self) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, self.folder / "zone.py"], env={"PATH": f"{self.folder}:/usr/bin:/bin"},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        return done.returncode, (done.stdout + done.stderr).strip()

    def read(self) -> Any:
        return json.loads(self.state.read_text())

    def change(self, **values: Any) -> None:
        self.state.write_text(json.dumps(self.read() | values))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_new_zone_has_the_regions_pools_only(place: Place) -> None:
    assert place.run() == (0, "zone RegionOne: made")
    zone = place.read()["zone"]
    assert zone["gc_pool"] == "rgw.meta:gc"
    assert zone["placement_pools"][0]["val"]["storage_classes"]["STANDARD"]["data_pool"] == "rgw.data"
    assert "RegionOne.rgw" not in json.dumps(zone)
    # of what the release's radosgw-admin does not know, nothing is added
    assert "restore_pool" not in zone


def test_a_zone_that_is_there_is_not_touched(place: Place) -> None:
    place.run()
    place.change(log=[])
    assert place.run() == (0, "zone RegionOne: is there")
    assert not [w for w in place.read()["log"] if w.split()[1] not in ("list", "get")]


@pytest.mark.parametrize("at", ["realm create", "zonegroup create", "zone create", "zone set"])
def test_an_interrupted_job_goes_on(place: Place, at: str) -> None:
    place.state.write_text(json.dumps({"realms": [], "zonegroups": [], "period": {}, "log": [], "break": at}))
    code, said = place.run()
    assert (code, "connection lost" in said) == (1, True)
    place.change(**{"break": ""})
    assert place.run() == (0, "zone RegionOne: made")
    assert "RegionOne.rgw" not in json.dumps(place.read()["zone"])


def test_a_zone_in_use_with_other_pools_is_an_error_and_stays(place: Place) -> None:
    place.run()
    zone = place.read()["zone"]
    zone["placement_pools"][0]["val"]["storage_classes"]["STANDARD"]["data_pool"] = "elsewhere"
    place.change(zone=zone)
    code, said = place.run()
    assert code == 1
    assert said == ("zone.py: zone RegionOne keeps data_pool in other pools than the region's: its objects are there")
    assert place.read()["zone"] == zone
