# SPDX-License-Identifier: Apache-2.0
"""Check that volumes keep what a guest writes: attached, grown, from a snapshot, restored from a backup, from an image.

One guest boots from a volume. It says on its console what the disks that are attached to it hold, and writes a word on
those without it. So whatever was written is read back through the same path as a user's data.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scs_deploy.desired.listeners import settings_of
from scs_deploy.region.region import Region as Described
from scs_deploy.validate import disks, measure
from scs_deploy.validate.console import ending, guest_lines
from scs_deploy.validate.region import Region, wait_until_gone
from scs_deploy.validate.registry import CheckFailedError, NotApplicableError, Outcome, check

BOOT_DEADLINE = 420
REPORT_DEADLINE = 90
SECTOR = 512


@check("volume-services", requires=("token",))
def volume_services(region: Region) -> Outcome:
    """Cinder's services are up."""
    if not region.has_volumes:
        raise NotApplicableError("the region has no volumes")
    state: dict[str, list[str]] = {}

    def look() -> bool:
        services = [s for s in region.cloud.block_storage.services() if s.status == "enabled"]
        missing = {"cinder-scheduler", "cinder-volume", "cinder-backup"} - {s.binary for s in services}
        state["down"] = [f"{s.binary} on {s.host} is {s.state}" for s in services if s.state != "up"]
        state["down"] += [f"no {name}" for name in sorted(missing)]
        state["up"] = [s.host for s in services]
        return not state["down"]

    if not measure.until(look, REPORT_DEADLINE, 3):
        raise CheckFailedError("; ".join(state["down"]))
    return Outcome(f"{len(state['up'])} services")


@check("volume", requires=("volume-services", "storage-writes"), budget=30.0, creates=True)
def volume(region: Region) -> Outcome:
    """A volume becomes available."""
    made = region.made

    def create() -> None:
        new = region.cloud.block_storage.create_volume(name=region.name, size=1)
        made["volume"] = disks.await_available(region, "volume", new)

    samples = [measure.seconds(create)]
    return Outcome(f"1 GiB of type {made['volume'].volume_type}", samples)


@check("volume-clone", requires=("volume-services", "storage-writes"), budget=60.0, creates=True)
def volume_clone(region: Region) -> Outcome:
    """A volume is made of a raw image, by a clone in Ceph where images are there: no data is copied."""
    api, name = region.cloud.image, f"{region.name}-raw"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "raw"
        file.write_bytes(region.name.encode().ljust(8 << 20, b"\0"))
        image = api.create_image(
            name, filename=str(file), disk_format="raw", container_format="bare", visibility="private",
            tags=[region.name], wait=True, timeout=disks.DEADLINE, allow_duplicates=True,
        )  # fmt: skip

    def create() -> None:
        api_volume = region.cloud.block_storage.create_volume(name=f"{region.name}-clone", size=2, image_id=image.id)
        region.made["clone"] = disks.await_available(region, "volume", api_volume)

    samples = [measure.seconds(create)]
    volume_id, described = region.made["clone"].id, region.description
    if glance_store(described) != "rbd":
        return Outcome("copied, since images are in files", samples)
    if disks.parent(described, volume_id) != f"images/{image.id}":
        raise CheckFailedError(f"volume {volume_id} is a copy of image {image.id}, not a clone")
    return Outcome("a clone: nothing was copied", samples)


def glance_store(described: Described) -> str:
    """Where new images go."""
    host = described.hosts_of("glance")[0]
    return str(settings_of(described, host)["glance_store"])


@check(
    "volume-boot", requires=("volume-services", "storage-writes", "image", "flavor", "network", "security-group"),
    budget=240.0, creates=True,
)  # fmt: skip
def volume_boot(region: Region) -> Outcome:
    """A server boots from a volume that is made of an image."""
    made, compute = region.made, region.cloud.compute
    root = {
        "boot_index": 0, "uuid": made["image"].id, "source_type": "image", "destination_type": "volume",
        "volume_size": 1, "delete_on_termination": True,
    }  # fmt: skip

    def boot() -> None:
        made["volume_server"] = compute.create_server(
            name=f"{region.name}-volume", flavor_id=made["flavor"].id, block_device_mapping_v2=[root],
            networks=[{"uuid": made["network"].id}], security_groups=[{"name": made["security_group"].id}],
            user_data=disks.user_data(region.name),
        )  # fmt: skip

        def ended() -> bool:
            made["volume_server"] = compute.get_server(made["volume_server"].id)
            return made["volume_server"].status in ("ACTIVE", "ERROR") and "ready" in guest_lines(said())

        def said() -> str:
            return disks.console(region, made["volume_server"])

        measure.until(ended, BOOT_DEADLINE, 2)
        server = made["volume_server"]
        if server.status != "ACTIVE":
            fault = (server.fault or {}).get("message", "no fault message")
            raise CheckFailedError(f"server {server.name} is {server.status}: {fault}")
        if "ready" not in guest_lines(said()):
            raise CheckFailedError(f"server {server.name} did not boot; its console ends: {ending(said())}")

    samples = [measure.seconds(boot)]
    return Outcome(f"on {made['volume_server'].compute_host}", samples)


@check("volume-guest", requires=("volume", "volume-boot"), budget=60.0)
def volume_guest(region: Region) -> Outcome:
    """A guest writes on a volume that is attached while it runs, and reads it back from the storage."""
    server, new = region.made["volume_server"], region.made["volume"]
    seen: dict[str, str] = {}

    def write() -> None:
        disks.attach(region, server, new)
        seen.update(disks.seen(region, server, new))

    samples = [measure.seconds(write)]
    if seen.get("wrote") != region.name:
        raise CheckFailedError(f"the guest wrote {region.name} on a volume and read {seen.get('wrote') or 'nothing'}")
    return Outcome(samples=samples)


@check("volume-extend", requires=("volume-guest",), budget=60.0)
def volume_extend(region: Region) -> Outcome:
    """A volume grows while it is attached, and the guest sees it."""
    server, grown = region.made["volume_server"], region.made["volume"]
    wanted = (2 << 30) // SECTOR

    def extend() -> None:
        region.cloud.block_storage.extend_volume(grown, 2)
        disks.seen(region, server, grown, lambda seen: seen.get("sectors") == str(wanted))

    return Outcome("1 to 2 GiB", [measure.seconds(extend)])


@check("volume-snapshot", requires=("volume-guest",), budget=90.0, creates=True)
def volume_snapshot(region: Region) -> Outcome:
    """A volume of a snapshot, taken while the volume is attached, holds what the guest had written."""
    api, made = region.cloud.block_storage, region.made

    def copy() -> Any:
        snapshot = api.create_snapshot(name=region.name, volume_id=made["volume"].id, force=True)
        snapshot = disks.await_available(region, "snapshot", snapshot)
        new = api.create_volume(name=f"{region.name}-snapshot", snapshot_id=snapshot.id, size=snapshot.size)
        return disks.await_available(region, "volume", new)

    return _holds(region, "snapshot", copy)


@check("volume-backup", requires=("volume-guest",), budget=180.0, creates=True)
def volume_backup(region: Region) -> Outcome:
    """A volume that is restored from an incremental backup holds what the guest had written."""
    api, made = region.cloud.block_storage, region.made

    def restore() -> Any:
        backup: Any = None
        for incremental in (False, True):
            backup = api.create_backup(
                name=region.name, volume_id=made["volume"].id, is_incremental=incremental, force=True
            )
            backup = disks.await_available(region, "backup", backup)
        if not backup.is_incremental:
            raise CheckFailedError(f"backup {backup.id} is not incremental")
        new = disks.await_available(region, "volume", api.create_volume(name=f"{region.name}-backup", size=backup.size))
        api.restore_backup(backup, volume_id=new.id)
        disks.await_available(region, "backup", backup)
        return disks.await_available(region, "volume", new)

    return _holds(region, "backup", restore)


@check("volume-detach", requires=("volume-guest",), budget=60.0)
def volume_detach(region: Region) -> Outcome:
    """A volume is detached from a running guest."""
    server, detached = region.made["volume_server"], region.made["volume"]
    return Outcome(samples=[measure.seconds(lambda: disks.detach(region, server, detached))])


def _holds(region: Region, what: str, copy: Callable[[], Any]) -> Outcome:
    """Make a copy of the volume, attach it to the guest, and compare what that finds."""
    server = region.made["volume_server"]
    copied: dict[str, Any] = {}
    samples = [measure.seconds(lambda: copied.update(volume=copy()))]
    disks.attach(region, server, copied["volume"])
    said = disks.seen(region, server, copied["volume"])
    disks.check_content(f"a volume of the {what}", said, region.name)
    disks.detach(region, server, copied["volume"])
    # before the snapshot that it may depend on
    api = region.cloud.block_storage
    api.delete_volume(copied["volume"])
    wait_until_gone(api.get_volume, copied["volume"].id)
    # what it writes hides what it had not found
    again = said.get("reads", "1") != "1"
    return Outcome(f"the guest read the end twice ({said['reads']})" if again else "", samples)
