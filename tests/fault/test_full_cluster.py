# SPDX-License-Identifier: Apache-2.0
"""The region's Ceph is full: everything says so, writes are refused and none is lost, and room brings them back.

Real OSDs are over their full ratio, because the test lowers it below what they hold. The ratios are taken back whatever
happens.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from scs_deploy.environment.storage import FILE
from scs_deploy.region import ceph
from scs_deploy.region.region import Region
from scs_deploy.secrets import clouds
from scs_deploy.validate import objects, s3
from scs_deploy.validate.s3 import S3
from tests.e2e.blackbox import Finished, RegionUnderTest
from tests.fault.faults import FaultError, Node, wait
from tests.fault.members import Membership

RATIOS = ("full", "backfillfull", "nearfull")
"""In the order in which they rise."""
PREFIX = "scs-full-"
SOON = 180
REFUSED = (500, 503, 504, 507)
"""507 is what radosgw says at once; the others are HAProxy's and radosgw's when a request waited too long."""


class Cluster:
    """The region's Ceph, asked in the container of a monitor."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.before = self.ratios()

    def ceph(self, *words: str) -> Any:
        text = self.node.inside("ceph_mon", "ceph", "--connect-timeout=15", *words, "--format=json")
        return json.loads(text) if text.strip().startswith(("{", "[")) else text

    def ratios(self) -> dict[str, float]:
        dump = self.ceph("osd", "dump")
        return {name: round(dump[f"{name}_ratio"], 4) for name in RATIOS}

    def checks(self) -> set[str]:
        return set(self.ceph("status")["health"]["checks"])

    def used(self) -> float:
        """Share that the emptiest OSD holds."""
        return min(float(n["utilization"]) for n in self.ceph("osd", "df")["nodes"]) / 100

    def fill(self) -> None:
        """Have every OSD be over the full ratio."""
        share = self.used()
        lowered = {"nearfull": share * 0.3, "backfillfull": share * 0.5, "full": share * 0.7}
        for name in reversed(RATIOS):
            self.ceph("osd", f"set-{name}-ratio", f"{lowered[name]:.6f}")
        wait(lambda: "OSD_FULL" in self.checks(), SOON, "a cluster that says it is full")

    def empty(self) -> None:
        for name in RATIOS:
            self.ceph("osd", f"set-{name}-ratio", str(self.before[name]))
        wait(lambda: not {"OSD_FULL", "OSD_BACKFILLFULL", "OSD_NEARFULL"} & self.checks(), SOON, "room again")


@pytest.fixture
def cluster(inputs: Region, members: Membership) -> Iterator[Cluster]:
    if not ceph.enabled(inputs):
        pytest.skip("the region has no Ceph")
    found = Cluster(members.nodes[ceph.monitors(inputs)[0]])
    try:
        yield found
    finally:
        with suppress(FaultError):
            found.empty()


@pytest.fixture
def cloud(region: RegionUnderTest, inputs: Region) -> Iterator[Any]:
    connection = clouds.connect(inputs.environment)
    yield connection
    for key in objects.keys(connection, PREFIX):
        objects.remove_key(connection, key, PREFIX)


@pytest.fixture
def bucket(cloud: Any) -> tuple[S3, str]:
    """A user of S3 and a new bucket."""
    if not objects.url(cloud):
        pytest.skip("the region has no object storage")
    name = f"{PREFIX}{secrets.token_hex(4)}"
    project = str(cloud.session.auth.get_access(cloud.session).project_id)
    user = objects.client(cloud, objects.create_key(cloud, name, project))
    assert user("PUT", f"/{name}").ok
    return user, f"/{name}"


@contextmanager
def storage_file(region: RegionUnderTest, **changes: Any) -> Iterator[None]:
    """storage.yml with these changes, for a moment."""
    file = Path(region.folder) / FILE
    before = file.read_text(encoding="utf-8") if file.is_file() else None
    settings = yaml.safe_load(before) if before else {}
    file.write_text(yaml.safe_dump({**(settings or {}), **changes}), encoding="utf-8")
    try:
        yield
    finally:
        if before is None:
            file.unlink()
        else:
            file.write_text(before, encoding="utf-8")


def written(user: S3, path: str, size: int) -> tuple[int, str]:
    """(HTTP status of a PUT, the content's SHA-256); a request without an answer counts as 504."""
    content = secrets.token_bytes(size)
    try:
        status = user("PUT", path, body=content).status_code
    except OSError:
        status = 504
    return status, hashlib.sha256(content).hexdigest()


def read(user: S3, path: str) -> str:
    answer = user("GET", path)
    assert answer.ok, s3.reason(answer)
    return hashlib.sha256(answer.content).hexdigest()


def text(done: Finished) -> str:
    return " ".join(f"{done.out} {done.err}".split())


def verdicts(done: Finished) -> dict[str, tuple[str, str]]:
    return {r["check"]: (r["verdict"], r["message"]) for r in done.json()["results"]}


def test_writes_are_refused_and_go_on_once_there_is_room(cluster: Cluster, bucket: tuple[S3, str]) -> None:
    user, home = bucket
    acknowledged = {}
    for number in range(5):
        path = f"{home}/before-{number}"
        status, digest = written(user, path, 1 << 20)
        assert status == 200
        acknowledged[path] = digest
    cluster.fill()
    refused = [written(user, f"{home}/refused-{n}", 1 << 20)[0] for n in range(2)]
    assert set(refused) <= set(REFUSED), refused
    assert {p: read(user, p) for p in acknowledged} == acknowledged
    gone = f"{home}/before-0"
    assert user("DELETE", gone).ok, "an object is deleted to make room"
    assert user("GET", gone).status_code == 404
    acknowledged.pop(gone)
    cluster.empty()
    wait(lambda: written(user, f"{home}/after", 1 << 20)[0] == 200, SOON, "a write after there is room")
    assert {p: read(user, p) for p in acknowledged} == acknowledged
    print(f"\nfull: PUT answered {refused}, {len(acknowledged)} objects read back")


def test_everything_says_that_it_is_full(region: RegionUnderTest, cluster: Cluster) -> None:
    cluster.fill()
    status = region.scs("storage", "status", expect=1)
    lines = [line for line in status.out.splitlines() if line.startswith("full: ")]
    assert len(lines) == 1, status.out
    for words in ("Ceph refuses writes", "add disks", "docs/how-to/storage.md#a-full-cluster"):
        assert words in lines[0]
    assert "storage: full: " in text(region.scs("status", expect=None))
    rows = {c["check"]: c for c in region.scs("doctor", "--json", expect=1).json()}
    assert (rows["storage"]["level"], rows["storage"]["seen"][:5]) == ("failed", "full:")
    found = verdicts(region.scs("validate", "--json", expect=1, timeout=900))
    assert found["storage"][0] == found["storage-writes"][0] == "failed"
    assert found["storage"][1].startswith("full: ")
    waits = [n for n, (verdict, _) in found.items() if n.startswith(("s3", "swift")) and verdict != "n/a"]
    assert {found[n] for n in waits} <= {("skipped", "requires storage-writes")}, "they would wait for minutes"
    assert found["volume"][0] in ("skipped", "n/a")


def test_what_would_make_it_worse_is_refused(region: RegionUnderTest, inputs: Region, cluster: Cluster) -> None:
    cluster.fill()
    planned = region.plan()
    if "radosgw" in inputs.catalog.owner:
        assert "Ceph is full" in text(region.scs("restart", "radosgw", "--yes", expect=2))
    host = ceph.monitors(inputs)[-1]
    drained = region.scs("node", "drain", host, "--plan", expect=2)
    assert "what is deleted while they are away stays on them" in text(drained)
    disk = next(d.name for d in inputs.inventory.hosts[host].disks_of(("osd",)))
    assert "find no room elsewhere" in text(region.scs("storage", "osd", "remove", host, disk, "--plan", expect=2))
    assert "cannot be made anew" in text(region.scs("storage", "osd", "replace", host, disk, "--plan", expect=2))
    assert region.plan() == planned
    cluster.empty()


def test_ratios_are_not_lowered_below_what_disks_hold(region: RegionUnderTest, cluster: Cluster) -> None:
    """By the file of the operator, with which it would fill the cluster."""
    share = cluster.used()
    low = {"nearfull": round(share * 0.3, 5), "backfillfull": round(share * 0.5, 5), "full": round(share * 0.7, 5)}
    with storage_file(region, ratios=low):
        done = region.scs("plan", "ceph", expect=2)
    assert "every write would be refused" in text(done)


def test_the_full_ratio_is_raised_by_the_file_in_an_emergency(
    region: RegionUnderTest, cluster: Cluster, bucket: tuple[S3, str]
) -> None:
    user, home = bucket
    cluster.fill()
    with storage_file(region, ratios=cluster.before):
        region.scs("apply", "ceph", "--yes")
        assert cluster.ratios() == cluster.before
        wait(lambda: written(user, f"{home}/after", 4096)[0] == 200, SOON, "a write after the ratio was raised")
