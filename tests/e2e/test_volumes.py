# SPDX-License-Identifier: Apache-2.0
"""Volumes that are encrypted, change their type, or move to another project or host keep what a guest wrote on them.

The guest is the one that `scs validate --keep` booted from a volume: it says what the first and the last sector of each
attached disk hold, and writes its word there.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from scs_deploy.environment.cloud import MULTIATTACH, YES, VolumeType
from scs_deploy.region.region import Region
from scs_deploy.secrets import clouds
from scs_deploy.validate import disks
from scs_deploy.validate import region as validation
from scs_deploy.validate.console import guest_lines
from tests.e2e.blackbox import RegionUnderTest, wait

pytestmark = [pytest.mark.e2e, pytest.mark.long]

SECTOR, HEADER = 512, 4 << 20
"""Bytes; a LUKS header has less, and is a part of an encrypted volume that has grown."""
TRANSFERS = "3.70"
"""The first version of Cinder's API that moves encrypted volumes to other projects, or shows the id of a key."""
MOVED, BOOTED = 300, 420
LABEL = "SCS-GUEST"
"""On the file system of the guest image."""


@pytest.fixture(scope="module")
def described(region: RegionUnderTest) -> Region:
    return Region.load(region.name, reading=True)


@pytest.fixture(scope="module")
def cloud(described: Region, report: dict[str, Any]) -> validation.Region:
    """What validation made, and the cloud that it made it in."""

    def unused() -> Path:
        raise AssertionError("the guest image is there")

    found = validation.Region(described.environment, report["id"], unused)
    if not found.has_volumes:
        pytest.skip("the region has no volumes")
    return found


@pytest.fixture(scope="module")
def guest(cloud: validation.Region) -> Any:
    """The server that tells of its disks."""
    compute = cloud.cloud.compute
    return compute.get_server(compute.find_server(f"{cloud.name}-volume", ignore_missing=False).id)


@pytest.fixture(scope="module")
def name_of(described: Region) -> Callable[[str], str]:
    """The first type of the region's cloud.yml that fits a description; without one, the test is skipped."""
    fits: dict[str, Callable[[VolumeType], bool]] = {
        "encrypted": lambda t: t.encrypted,
        "shared": lambda t: t.extra_specs.get(MULTIATTACH) == YES,
        "limited": lambda t: bool(t.qos) and not t.encrypted,
        "plain": lambda t: not (t.encrypted or t.qos or t.extra_specs),
    }

    def find(what: str) -> str:
        for name, kind in described.cloud.volume_types.items():
            if fits[what](kind):
                return name
        pytest.skip(f"no type of volumes is {what}")

    return find


Make = Callable[..., Any]


@pytest.fixture
def make(cloud: validation.Region, guest: Any) -> Iterator[Make]:
    """Makes volumes, which go when the test is over."""
    api = cloud.cloud.block_storage
    made: list[Any] = []

    def create(kind: str, size: int = 1, **origin: str) -> Any:
        name = f"{cloud.name}-e2e-{len(made)}"
        made.append(api.create_volume(name=name, size=size, volume_type=kind, **origin))
        return disks.await_available(cloud, "volume", made[-1])

    yield create
    for volume in reversed(made):
        if api.get_volume(volume.id).attachments:
            disks.detach(cloud, guest, volume)
        api.delete_volume(volume.id)
        validation.wait_until_gone(api.get_volume, volume.id)


def write(cloud: validation.Region, guest: Any, volume: Any) -> dict[str, str]:
    """Attach a new volume, on which the guest writes; returns what it says of it."""
    disks.attach(cloud, guest, volume)
    said = disks.seen(cloud, guest, volume)
    assert said["wrote"] == cloud.name, said
    return said


def check_copy(cloud: validation.Region, guest: Any, volume: Any, since: dict[str, str] | None = None) -> None:
    """Attach a volume on which the guest has written, compare, detach.

    :param since: what the guest said of the same volume before
    """
    before = float(since["uptime"]) if since else 0.0
    disks.attach(cloud, guest, volume)
    said = disks.seen(cloud, guest, volume, lambda now: float(now["uptime"]) > before)
    disks.check_content(f"volume {volume.name}", said, cloud.name)
    disks.detach(cloud, guest, volume)


def grow(cloud: validation.Region, guest: Any, volume: Any) -> None:
    """Extend an attached volume to 2 GiB; the guest writes at its new end."""
    cloud.cloud.block_storage.extend_volume(volume, 2)
    disks.seen(cloud, guest, volume, lambda said: int(said["sectors"]) >= ((2 << 30) - HEADER) // SECTOR)


@pytest.fixture(scope="module")
def grown(cloud: validation.Region, guest: Any, name_of: Callable[[str], str]) -> Iterator[Any]:
    """An encrypted volume that grew while the guest had it, and was written to before and after."""
    api = cloud.cloud.block_storage
    volume = api.create_volume(name=f"{cloud.name}-e2e-grown", size=1, volume_type=name_of("encrypted"))
    disks.await_available(cloud, "volume", volume)
    write(cloud, guest, volume)
    grow(cloud, guest, volume)
    yield disks.detach(cloud, guest, volume)
    api.delete_volume(volume.id)
    validation.wait_until_gone(api.get_volume, volume.id)


def test_an_encrypted_volume_that_grew_holds_what_was_written(
    cloud: validation.Region, guest: Any, grown: Any, described: Region
) -> None:
    check_copy(cloud, guest, grown, disks.seen(cloud, guest, grown))
    held = disks.raw(described, grown.id, cloud.name)
    assert (held["luks"], held["word"]) == (True, False)


def test_a_clone_of_an_encrypted_volume_is_whole(cloud: validation.Region, guest: Any, grown: Any, make: Make) -> None:
    check_copy(cloud, guest, make(grown.volume_type, 2, source_volume_id=grown.id))


def test_a_volume_of_a_snapshot_of_an_encrypted_one_is_whole(
    cloud: validation.Region, guest: Any, grown: Any, make: Make
) -> None:
    api = cloud.cloud.block_storage
    snapshot = api.create_snapshot(name=f"{cloud.name}-e2e", volume_id=grown.id)
    try:
        disks.await_available(cloud, "snapshot", snapshot)
        check_copy(cloud, guest, make(grown.volume_type, 2, snapshot_id=snapshot.id))
    finally:
        api.delete_snapshot(snapshot.id)


def test_a_backup_of_an_encrypted_volume_is_restored_to_its_end(
    cloud: validation.Region, guest: Any, name_of: Callable[[str], str], make: Make
) -> None:
    """One that has not grown: its copy ends where it does, which is the last that a guest tells of."""
    api = cloud.cloud.block_storage
    volume = make(name_of("encrypted"))
    write(cloud, guest, volume)
    disks.detach(cloud, guest, volume)
    backup = api.create_backup(name=f"{cloud.name}-e2e", volume_id=volume.id)
    try:
        disks.await_available(cloud, "backup", backup)
        copy = make(volume.volume_type)
        api.restore_backup(backup, volume_id=copy.id)
        disks.await_available(cloud, "backup", backup)
        disks.await_available(cloud, "volume", copy)
        check_copy(cloud, guest, copy)
    finally:
        api.delete_backup(backup.id)


def test_a_guest_boots_from_an_encrypted_volume(
    cloud: validation.Region, guest: Any, described: Region, name_of: Callable[[str], str], make: Make
) -> None:
    compute = cloud.cloud.compute
    image = cloud.cloud.image.find_image(cloud.name, ignore_missing=False)
    root = make(name_of("encrypted"), image_id=image.id)
    disk = {"boot_index": 0, "uuid": root.id, "source_type": "volume", "destination_type": "volume"}
    server = compute.create_server(
        name=f"{cloud.name}-e2e", flavor_id=compute.find_flavor(cloud.name).id, block_device_mapping_v2=[disk],
        networks=[{"uuid": cloud.cloud.network.find_network(cloud.name).id}],
    )  # fmt: skip
    try:

        def ready() -> bool:
            now = compute.get_server(server.id)
            assert now.status != "ERROR", now.fault
            return "ready" in guest_lines(disks.console(cloud, now))

        wait(ready, BOOTED, "the server has not booted")
        held = disks.raw(described, root.id, LABEL)
        assert (held["luks"], held["word"]) == (True, False)
        # one that is not encrypted, of the same image
        own = next(a["id"] for a in guest.attached_volumes if _bootable(cloud, a["id"]))
        assert disks.raw(described, own, LABEL)["word"]
    finally:
        compute.delete_server(server.id)
        compute.wait_for_delete(server, interval=1, wait=validation.REMOVE_TIMEOUT)
        disks.await_available(cloud, "volume", root)


def _bootable(cloud: validation.Region, volume: str) -> bool:
    return bool(cloud.cloud.block_storage.get_volume(volume).is_bootable)


def test_the_key_is_not_given_to_the_guest_and_not_shown_on_its_host(
    region: RegionUnderTest, cloud: validation.Region, guest: Any, name_of: Callable[[str], str], make: Make
) -> None:
    volume = make(name_of("encrypted"))
    write(cloud, guest, volume)
    session, storage = cloud.cloud.session, cloud.cloud.block_storage
    shown = storage.get(f"/volumes/{volume.id}", microversion=TRANSFERS).json()["volume"]
    key = session.get(
        f"/v1/secrets/{shown['encryption_key_id']}/payload", headers={"Accept": "application/octet-stream"},
        endpoint_filter={"service_type": "key-manager", "interface": "public"},
    ).content  # fmt: skip
    assert len(key) == 32
    host = cloud.cloud.compute.get_server(guest.id).compute_host
    pid = region.on(host, "pgrep", "--full", f"qemu.*{guest.id}").split()[0]
    texts = {
        "command line": region.on(host, "cat", f"/proc/{pid}/cmdline"),
        "environment": region.on(host, "cat", f"/proc/{pid}/environ"),
        "definition": region.on(host, "docker", "exec", "nova_libvirt", "virsh", "dumpxml", guest.id),
    }
    for container in ("nova_libvirt", "nova_compute", "cinder_volume", "barbican_api"):
        for where in (h for h, c in region.containers() if c == container):
            texts[f"log of {container} on {where}"] = region.on(where, "sh", "-c", f"docker logs {container} 2>&1")
    assert volume.id in texts["definition"]
    for what, text in texts.items():
        for form in (key.hex(), base64.b64encode(key).decode(), base64.b64encode(key.hex().encode()).decode()):
            assert form not in text, f"the {what} has the key"


@pytest.mark.parametrize("kind", ["limited", "shared"])
def test_a_volume_changes_its_type_and_keeps_its_content(
    kind: str, cloud: validation.Region, guest: Any, name_of: Callable[[str], str], make: Make
) -> None:
    before, after = name_of("plain"), name_of(kind)
    volume = make(before)
    said = write(cloud, guest, volume)
    disks.detach(cloud, guest, volume)
    for wanted in (after, before):
        retype(cloud, volume, wanted)
        assert cloud.cloud.block_storage.get_volume(volume.id).volume_type == wanted
    check_copy(cloud, guest, volume, said)


def test_a_change_between_plain_and_encrypted_fails_and_leaves_the_volume_as_it_was(
    cloud: validation.Region, guest: Any, name_of: Callable[[str], str], make: Make
) -> None:
    api = cloud.cloud.block_storage
    for before, after in (("plain", "encrypted"), ("encrypted", "plain")):
        volume = make(name_of(before))
        said = write(cloud, guest, volume)
        disks.detach(cloud, guest, volume)
        retype(cloud, volume, name_of(after))
        assert api.get_volume(volume.id).volume_type == name_of(before)
        check_copy(cloud, guest, volume, said)
        assert [v.id for v in api.volumes() if v.name == volume.name] == [volume.id], "a second volume is left"


def test_a_plain_volume_becomes_an_encrypted_one_through_an_image(
    cloud: validation.Region, guest: Any, described: Region, name_of: Callable[[str], str], make: Make
) -> None:
    volume = make(name_of("plain"))
    write(cloud, guest, volume)
    disks.detach(cloud, guest, volume)
    api, image = cloud.cloud.block_storage, cloud.cloud.image
    uploaded = api.upload_volume_to_image(volume.id, f"{cloud.name}-e2e", disk_format="raw", container_format="bare")
    try:
        wait(lambda: image.get_image(uploaded["image_id"]).status == "active", MOVED, "the image is not active")
        disks.await_available(cloud, "volume", volume)
        copy = make(name_of("encrypted"), 2, image_id=uploaded["image_id"])
    finally:
        image.delete_image(uploaded["image_id"])
    disks.attach(cloud, guest, copy)
    assert disks.seen(cloud, guest, copy)["found"] == cloud.name
    held = disks.raw(described, copy.id, cloud.name)
    assert (held["luks"], held["word"]) == (True, False)


def retype(cloud: validation.Region, volume: Any, kind: str) -> None:
    """Have Cinder change a volume's type, and wait until it has or has not."""
    api = cloud.cloud.block_storage
    api.retype_volume(volume.id, kind, "on-demand")
    wait(lambda: api.get_volume(volume.id).status in ("available", "in-use"), MOVED, "the volume changes its type")


@pytest.fixture
def member(cloud: validation.Region) -> Iterator[Callable[..., Any]]:
    """Sends requests to Cinder as a member of another project, who is nothing else."""
    identity, name = cloud.cloud.identity, f"{cloud.name}-e2e"
    password = secrets.token_urlsafe(24)
    project = identity.create_project(name=name, domain_id="default", description=name)
    user = identity.create_user(name=name, password=password, domain_id="default", description=name)
    identity.assign_project_role_to_user(project, user, next(identity.roles(name="member")))
    adapter = clouds.adapter(cloud.cloud, validation.VOLUMES, user.id, password, project.id)
    yield partial(adapter.request, microversion=TRANSFERS)
    identity.delete_user(user)
    identity.delete_project(project)


@pytest.mark.parametrize("kind", ["plain", "encrypted"])
def test_a_volume_moves_to_another_project_and_back(
    kind: str, cloud: validation.Region, guest: Any, name_of: Callable[[str], str], make: Make,
    member: Callable[..., Any],
) -> None:  # fmt: skip
    volume = make(name_of(kind))
    said = write(cloud, guest, volume)
    disks.detach(cloud, guest, volume)
    own = partial(cloud.cloud.block_storage.request, microversion=TRANSFERS)
    there = f"/volumes/{volume.id}"
    transfer(own, member, volume)
    assert member(there, "GET").json()["volume"]["id"] == volume.id
    names = [v["id"] for v in own("/volumes", "GET").json()["volumes"]]
    assert volume.id not in names, "it is in its former project, too"
    transfer(member, own, volume)
    assert member(there, "GET").status_code == 404
    check_copy(cloud, guest, volume, said)


def transfer(giver: Callable[..., Any], taker: Callable[..., Any], volume: Any) -> None:
    """Give a volume to another project, which takes it."""
    offered = giver("/volume-transfers", "POST", json={"transfer": {"volume_id": volume.id, "name": volume.name}})
    assert offered.status_code == 202, offered.text
    given = offered.json()["transfer"]
    wrong = taker(f"/volume-transfers/{given['id']}/accept", "POST", json={"accept": {"auth_key": "0" * 16}})
    assert wrong.status_code == 400, wrong.text
    taken = taker(f"/volume-transfers/{given['id']}/accept", "POST", json={"accept": {"auth_key": given["auth_key"]}})
    assert taken.status_code == 202, taken.text


def test_a_guest_moves_to_another_host_with_an_encrypted_volume(
    cloud: validation.Region, guest: Any, name_of: Callable[[str], str], make: Make
) -> None:
    """Nova needs the volume's key on the other host, for an administrator who reads no secret of a project."""
    compute = cloud.cloud.compute
    if sum(s.state == "up" and s.status == "enabled" for s in compute.services(binary="nova-compute")) < 2:
        pytest.skip("the region has only one hypervisor")
    volume = make(name_of("encrypted"))
    write(cloud, guest, volume)
    source = compute.get_server(guest.id).compute_host
    compute.live_migrate_server(guest.id, host=None, block_migration="auto")

    def moved() -> bool:
        now = compute.get_server(guest.id)
        return bool(now.status == "ACTIVE" and now.compute_host != source)

    wait(moved, MOVED, f"the guest is on {source}")
    grow(cloud, guest, volume)
    said = disks.seen(cloud, guest, volume)
    disks.detach(cloud, guest, volume)
    check_copy(cloud, guest, volume, said)
