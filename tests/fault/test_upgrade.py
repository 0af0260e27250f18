# SPDX-License-Identifier: Apache-2.0
"""A rolling change under load: no request fails, and what a manager that dies leaves, a resumption ends."""

from __future__ import annotations

import io
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from scs_deploy.base import docker_engine
from tests.e2e.blackbox import RegionUnderTest
from tests.fault.conftest import Faults, Trial
from tests.fault.faults import wait
from tests.fault.members import Membership

OPTIONS = {
    "keystone/keystone.conf": "[DEFAULT]\nmax_token_size = {n}\n",
    "placement/placement.conf": "[placement]\nallocation_conflict_retry_count = {n}\n",
    "neutron_api/neutron.conf": "[DEFAULT]\nmax_allowed_address_pair = {n}\n",
    "nova_api/nova.conf": "[api]\nmax_limit = {n}\n",
}
"""Override file: an option that no request of a prober notices; another number restarts the container everywhere."""
SERVICES = ("keystone", "placement", "neutron", "nova")
KILLS = 3
"""How often the manager dies in one run."""
DEATHS = int(os.environ.get("SCS_FAULT_KILL", "0"))
"""How often it dies in an update or upgrade of all images."""

STORAGE = ("ceph", "cinder")
"""Images of what stores data: monitors, managers, OSDs and radosgw; Cinder."""
LONGEST_PAUSE = 10.0
"""Seconds that a write of a guest, or of a client of S3, may wait while what stores it is replaced."""

Command = tuple[str, ...]
RESUME: Command = ("runs", "resume", "--yes")


@pytest.fixture
def overrides(region: RegionUnderTest) -> Iterator[Any]:
    """Writes the options with a number; they go away at the end and the region is applied without."""
    made: list[Path] = []
    for name in OPTIONS:
        file = region.folder / "config" / name
        assert not file.exists(), f"{file} is the operator's: this test would overwrite it"
        made += [p for p in (file.parent.parent, file.parent) if not p.exists() and p not in made]

    def write(number: int) -> None:
        for name, text in OPTIONS.items():
            file = region.folder / "config" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text.format(n=number), encoding="utf-8")

    yield write
    for name in OPTIONS:
        (region.folder / "config" / name).unlink(missing_ok=True)
    for folder in reversed(made):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    region.apply()


def failures(region: RegionUnderTest, status: str = "done") -> dict[str, dict[str, int]]:
    """Kind: errors and their numbers, of the requests that failed for the prober of the last run."""
    run = region.scs("runs", "show", "--json").json()
    assert run["status"] == status, run["message"]
    assert run["measured"], "the run was not measured"
    return {s["kind"]: s["errors"] for s in run["measured"] if s["failed"]}


def test_no_request_fails_while_the_apis_change(trial: Faults, region: RegionUnderTest, overrides: Any) -> None:
    with trial(longest=None) as t:
        overrides(1001)
        region.scs("apply", "--yes", *SERVICES, timeout=1800)
        t.whole_again()
    assert failures(region) == {}


def images(region: RegionUnderTest) -> set[str]:
    """Digests that containers run by, without those of the node's own."""
    return {region.inspect(h, c)["Config"]["Image"].rpartition("@")[2] for h, c in region.containers()}


CONTENT = "RUN cp -a /usr/lib/python3* /srv"
"""What new packages bring: thousands of files, that each host pulls and unpacks; a third of what a real update is."""

IMAGE = "horizon"
"""It has no jobs: what fails is the first container that is replaced."""


@contextmanager
def other_images(region: RegionUnderTest, names: Iterable[str], line: str = "") -> Iterator[None]:
    """Images of other contents, as new packages would make them, pushed and locked; then the tags are as before.

    :param line: of their recipe, for what else is to be different
    """
    engine, release = docker_engine.connect(), region.settings["release"]
    good = {name: engine.images.get(f"scs/{name}:{release}") for name in names}
    lock = region.folder / "release.lock.yml"
    text = lock.read_text(encoding="utf-8")
    made = []
    try:
        for name, image in good.items():
            recipe = f"FROM {image.id}\n{line}\nLABEL scs.inputs={name}-{time.time_ns():x}\n"
            tag = f"scs/{name}:{release}"
            made.append(engine.images.build(fileobj=io.BytesIO(recipe.encode()), tag=tag, rm=True)[0])
        region.scs("images", "push")
        assert lock.read_text(encoding="utf-8") != text
        yield
    finally:
        for name, image in good.items():
            image.tag(f"scs/{name}", release)
        for image in made:
            engine.images.remove(str(image.id), force=True)


def killed(
    t: Any, region: RegionUnderTest, command: Command, again: Command, kills: int, longest: float, last: float = 1800
) -> None:
    """Kill the manager `kills` times at random points of `command`, each time go on with `again`, until it ends.

    :param longest: seconds between two deaths
    :param last: seconds for what is left after the last one
    """

    def begun() -> bool:
        """The run has a record of this process, which exists once its plan is made; or the process ended."""
        run = region.scs("runs", "show", "--json").json()
        return process.poll() is not None or (run["pid"], run["status"]) == (process.pid, "running")

    process, deaths = region.start(*command), 0
    while True:
        wait(begun, 300, "a run of the process")
        moment = random.uniform(1, longest)
        try:
            said = process.communicate(timeout=last if deaths == kills else moment)[0]
            break
        except subprocess.TimeoutExpired:
            assert deaths < kills, "the run does not end"
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        deaths += 1
        run = region.scs("runs", "show", "--json").json()
        t.note(f"the manager died after {moment:.0f} s: {run['changes_done']} of {run['changes_total']} changes")
        assert again != RESUME or run["status"] == "interrupted"
        # what Ansible left on the hosts ends by itself; the next run waits for it
        process = region.start(*again)
    assert process.returncode == 0, said
    run = region.scs("runs", "show", "--json").json()
    assert run["status"] == "done"
    assert again != RESUME or run["attempt"] == deaths + 1
    assert deaths == kills, "it ended before it could be killed so often"


def test_a_run_whose_manager_dies_is_resumed(trial: Faults, region: RegionUnderTest, overrides: Any) -> None:
    with trial(longest=None) as t:
        overrides(1002)
        killed(t, region, ("apply", "--yes", *SERVICES), RESUME, KILLS, 60)
        t.whole_again()


def test_an_update_of_all_images_serves_its_users(trial: Faults, region: RegionUnderTest) -> None:
    """Every container is replaced; with SCS_FAULT_KILL the manager dies so often on the way."""
    names = yaml.safe_load((region.folder / "release.lock.yml").read_text(encoding="utf-8"))["images"].keys()
    command, before = ("upgrade", "run", "--yes", "--no-validate", "--allow", "data-plane"), images(region)
    changed = names - {"base", "openstack-base", "node", "registry"}
    with trial(longest=None) as t, other_images(region, changed, CONTENT):
        killed(t, region, command, RESUME, DEATHS, 120)
        t.whole_again()
    now = images(region)
    assert now.isdisjoint(before)
    for host in {h for h, _ in region.containers()}:
        held = set(region.on(host, "docker", "images", "--digests", "--format", "{{.Digest}}").split())
        assert held <= now | before, f"{host} holds images that nothing needs"
    assert region.plan() == []
    if not DEATHS:
        assert failures(region) == {}
        if t.guest:
            unpaused(t, "guest")


def test_an_update_of_the_storage_serves_its_users(trial: Faults, members: Membership, region: RegionUnderTest) -> None:
    """Every daemon of Ceph and every process of Cinder is replaced while a guest and a client of S3 write."""
    if not members.monitors:
        pytest.skip("the region has no Ceph")
    command, before = ("upgrade", "run", "--yes", "--no-validate", "--allow", "data-plane"), images(region)
    with trial(longest=None) as t, other_images(region, STORAGE, CONTENT):
        begin = time.monotonic()
        region.scs(*command)
        t.note(f"images of {', '.join(STORAGE)} replaced in {time.monotonic() - begin:.0f} s")
        t.whole_again()
    now = images(region)
    assert (len(now - before), len(before - now)) == (len(STORAGE), len(STORAGE)), "other images changed, or not all"
    assert region.plan() == []
    assert failures(region) == {}
    failed = {s.kind: s.errors for s in t.prober.summaries() if s.failed}
    assert failed == {}, f"requests of the tests' own prober failed: {failed}"
    unpaused(t)


def unpaused(t: Trial, *writers: str) -> None:
    """No write failed, and none waited longer than LONGEST_PAUSE.

    :param writers: guest, s3; none: all that wrote
    :raises AssertionError: one did
    """
    found = {who: t.numbers[who] for who in writers or ("guest", "s3") if who in t.numbers}
    assert found, "nobody wrote"
    for who, numbers in found.items():
        assert numbers["acknowledged"] > 0, f"no write of {who} was acknowledged"
        assert numbers["failed"] == 0, f"{numbers['failed']} writes of {who} failed"
        pause = numbers["longest_pause_seconds"]
        assert pause < LONGEST_PAUSE, f"a write of {who} waited {pause} s, {LONGEST_PAUSE:g} s are allowed"
    assert found.get("guest", {}).get("away_seconds", 0) == 0, "the guest was restarted"


def test_a_failed_gate_is_taken_back(trial: Faults, region: RegionUnderTest) -> None:
    """An image that does not work reaches one host, no user, and is gone after `scs rollback`."""
    lock = region.folder / "release.lock.yml"
    text, before = lock.read_text(encoding="utf-8"), images(region)
    with trial(longest=None) as t, other_images(region, (IMAGE,), "ENV PYTHONHOME=/nowhere"):
        failed = region.scs("upgrade", "run", "--yes", "--no-validate", expect=1)
        assert f"{IMAGE} " in failed.err and "its log ends with" in failed.err, str(failed)
        assert failures(region, "failed") == {}
        assert len(images(region) - before) == 1, "the run went on to another host"
        begin = time.monotonic()
        region.scs("rollback", "--yes")
        t.note(f"the previous images run again {time.monotonic() - begin:.0f} s after `scs rollback`")
        t.whole_again()
    assert images(region) == before
    assert lock.read_text(encoding="utf-8") == text
    assert failures(region) == {}


@pytest.fixture(scope="module")
def release(region: RegionUnderTest) -> str:
    """SCS_FAULT_RELEASE: where the region goes, for good. Its images are built before, which takes long."""
    name = os.environ.get("SCS_FAULT_RELEASE", "")
    if not name:
        pytest.skip("SCS_FAULT_RELEASE names no release: the region would not come back from it")
    rows = region.scs("images", "list", "--release", name, "--json").json()
    missing = [row["image"] for row in rows if not row["digest"]]
    assert not missing, f"scs images build --release {name}: {', '.join(missing)}"
    return name


def files(region: RegionUnderTest) -> dict[str, bytes]:
    """What of the environment's folder a release changes."""
    return {p.name: p.read_bytes() for p in region.folder.glob("*.yml")}


def test_a_release_that_is_only_shown_changes_nothing(region: RegionUnderTest, release: str) -> None:
    before, runs = files(region), region.scs("runs", "list", "--json").json()
    said = region.scs("upgrade", "release", release, "--plan", "--allow", "data-plane").out
    assert "nova.upgrade_check" in said and ": ready" in said, said
    assert files(region) == before
    assert region.scs("runs", "list", "--json").json() == runs
    assert region.plan() == []
    # what is pending is told, and nothing else happens
    file = region.folder / "config" / "keystone" / "keystone.conf"
    assert not file.exists()
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        file.write_text("[DEFAULT]\nmax_token_size = 1003\n", encoding="utf-8")
        refused = region.scs("upgrade", "release", release, "--plan", expect=2)
        assert " pending with release" in refused.err, str(refused)
    finally:
        file.unlink()
        file.parent.rmdir()


def test_a_release_upgrade_serves_its_users(trial: Faults, region: RegionUnderTest, release: str) -> None:
    """With SCS_FAULT_KILL the manager dies on the way as well, and the same command goes on."""
    before, old = files(region), images(region)
    command = ("upgrade", "release", release, "--yes", "--allow", "data-plane")
    with trial(longest=None) as t:
        # all deaths within the 18 minutes that the upgrade of a testbed takes
        killed(t, region, command, command, DEATHS, 2000 / max(DEATHS, 1), last=7200)
        t.whole_again()
    if not DEATHS:
        assert failures(region) == {}
    now = files(region)
    lines = [set(text["environment.yml"].decode().splitlines()) for text in (before, now)]
    assert lines[1] - lines[0] == {f'release: "{release}"'}
    assert set(now) == set(before) - {f"release.lock.{release}.yml"}
    assert region.plan() == []
    gone = _others(before, release)
    assert gone & old, "the release has no other images"
    assert images(region).isdisjoint(gone)
    # and the way back is closed by what contracted, or wrote in a way that only the later release reads
    back = region.scs("rollback", "--plan", expect=2)
    assert "cannot be rolled back" in back.err and "restore a backup" in back.err, str(back)


def _others(before: dict[str, bytes], release: str) -> set[str]:
    """Digests of the earlier lock that the later one has not."""
    old, new = (
        {i["digest"] for i in yaml.safe_load(before[name])["images"].values()}
        for name in ("release.lock.yml", f"release.lock.{release}.yml")
    )
    return old - new
