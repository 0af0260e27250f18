# SPDX-License-Identifier: Apache-2.0
"""Check the types of volumes that are more than a name: encrypted ones, and those for several servers at once.

The types are the region's own, from its cloud.yml: without such a type, the checks do not apply. Encrypted volumes are
compared with what Ceph holds of them, past the hypervisor, and so is one that is not encrypted: its content is found.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scs_deploy.environment.cloud import MULTIATTACH, YES
from scs_deploy.validate import disks, measure
from scs_deploy.validate.console import ending, guest_lines
from scs_deploy.validate.region import Region
from scs_deploy.validate.registry import CheckFailedError, NotApplicableError, Outcome, check

RESTART_DEADLINE = 300


@check("volume-encrypted", requires=("volume-guest",), budget=120.0, creates=True)
def volume_encrypted(region: Region) -> Outcome:
    """A guest writes on an encrypted volume, of which Ceph holds a LUKS header and no plain text."""
    made, server, word = region.made, region.made["volume_server"], region.name
    kind = _type(region, "encrypted volumes", lambda t: _encrypted(region, t))
    seen: dict[str, str] = {}

    def write() -> None:
        made["encrypted"] = _volume(region, f"{word}-encrypted", kind)
        disks.attach(region, server, made["encrypted"])
        seen.update(disks.seen(region, server, made["encrypted"]))

    samples = [measure.seconds(write)]
    if seen.get("wrote") != word:
        raise CheckFailedError(f"the guest wrote {word} on a volume and read {seen.get('wrote') or 'nothing'}")
    for volume in (made["encrypted"], made["volume"]):
        if problem := exposure(disks.raw(region.description, volume.id, word), volume.is_encrypted):
            raise CheckFailedError(f"volume {volume.name} of type {volume.volume_type}: {problem}")
    return Outcome(f"of type {kind.name}", samples)


def exposure(raw: dict[str, Any], encrypted: bool) -> str:
    """What is wrong with what Ceph holds of a volume on which a guest wrote; empty: nothing."""
    if encrypted and not raw["luks"]:
        return "Ceph holds no LUKS header"
    if encrypted and raw["word"]:
        return "Ceph holds what the guest wrote in plain text"
    if not encrypted and not raw["word"]:
        return "what the guest wrote is not found in Ceph, so that nothing is known of encrypted ones"
    return ""


@check("volume-restart", requires=("volume-encrypted",), budget=180.0)
def volume_restart(region: Region) -> Outcome:
    """A guest that is restarted finds what it wrote on an encrypted volume."""
    server, word = region.made["volume_server"], region.name

    def restart() -> None:
        before = _uptime(region, server)
        region.cloud.compute.reboot_server(server.id, "HARD")

        def ready() -> bool:
            # the console may still be the one of the guest before; the guest may be up before Nova is done
            there = 0 < _uptime(region, server) != before
            return there and region.cloud.compute.get_server(server.id).task_state is None

        if not measure.until(ready, RESTART_DEADLINE, 2):
            status = region.cloud.compute.get_server(server.id).status
            end = ending(disks.console(region, server))
            raise CheckFailedError(f"server {server.name} is {status}, and did not boot; its console ends: {end}")

    samples = [measure.seconds(restart)]
    disks.check_content("after its restart the volume", disks.seen(region, server, region.made["encrypted"]), word)
    return Outcome(samples=samples)


def _uptime(region: Region, server: Any) -> float:
    """When the guest said that it is ready, in seconds since its start; 0: it has not."""
    return float(guest_lines(disks.console(region, server)).get("ready", {}).get("uptime", 0))


@check("volume-shared", requires=("volume-boot", "console-log"), budget=90.0, creates=True)
def volume_shared(region: Region) -> Outcome:
    """A volume is attached to two servers at once, and one reads what the other wrote."""
    writer, reader, word = region.made["volume_server"], region.made["server"], region.name
    kind = _type(region, "volumes for several servers", lambda t: t.extra_specs.get(MULTIATTACH) == YES)
    seen: dict[str, str] = {}

    def share() -> None:
        volume = region.made["shared"] = _volume(region, f"{word}-shared", kind)
        disks.attach(region, writer, volume)
        disks.seen(region, writer, volume)
        disks.attach(region, reader, volume)
        seen.update(disks.seen(region, reader, volume))

    samples = [measure.seconds(share)]
    if seen.get("found") != word:
        found = seen.get("found") or "nothing"
        raise CheckFailedError(f"server {writer.name} wrote {word}, and server {reader.name} found {found}")
    disks.release(region, reader, region.made["shared"])
    disks.detach(region, writer, region.made["shared"])
    return Outcome(f"of type {kind.name}", samples)


def _type(region: Region, what: str, fits: Callable[[Any], bool]) -> Any:
    """The first of the region's public types that fits.

    :raises NotApplicableError: none does
    """
    types = sorted((t for t in region.cloud.block_storage.types() if t.is_public), key=lambda t: str(t.name))
    for found in types:
        if fits(found):
            return found
    raise NotApplicableError(f"the region has no type of {what}")


def _encrypted(region: Region, kind: Any) -> bool:
    return bool(region.cloud.block_storage.get_type_encryption(kind).provider)


def _volume(region: Region, name: str, kind: Any) -> Any:
    new = region.cloud.block_storage.create_volume(name=name, size=1, volume_type=kind.name)
    return disks.await_available(region, "volume", new)
