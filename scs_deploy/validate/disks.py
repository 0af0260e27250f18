# SPDX-License-Identifier: Apache-2.0
"""What checks of volumes share: a guest that tells of its disks, attaching, and a look at what Ceph holds."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from scs_deploy.engine import remote
from scs_deploy.region.region import Region as Described
from scs_deploy.validate import measure, raw_volume
from scs_deploy.validate.console import ending, guest_lines
from scs_deploy.validate.region import Region
from scs_deploy.validate.registry import CheckFailedError

SCRIPT = Path(__file__).parent / "user_data" / "disks.sh"
DEADLINE = 300
"""Seconds for a volume, a snapshot or a backup to become what was asked for."""
DISK_DEADLINE = 120
"""Seconds until the guest says what a disk holds."""
SERIAL = 20
"""Characters of a volume's id that a virtio disk shows as its serial number."""
POOL, CLIENT, READER = "volumes", "cinder", "cinder_volume"
"""Pool of volumes, a client that may read it, and the container that has the client's key."""


def user_data(word: str) -> str:
    """User data of a guest that tells of its disks, and writes a word on those that do not have it."""
    script = SCRIPT.read_text(encoding="utf-8").replace("word=WORD", f"word={word}")
    return base64.b64encode(script.encode()).decode()


def console(region: Region, server: Any) -> str:
    """What a server's console says since it started; empty: it does not run."""
    from openstack.exceptions import ConflictException, NotFoundException

    if server.status != "ACTIVE":
        return ""
    try:
        return str(region.cloud.compute.get_server_console_output(server.id)["output"] or "")
    except (NotFoundException, ConflictException):
        # between the two lives of a guest that is restarted
        return ""


def await_available(region: Region, kind: str, thing: Any) -> Any:
    """Wait until a volume, snapshot or backup is available.

    :raises CheckFailedError: it failed, or takes too long
    """
    get = getattr(region.cloud.block_storage, f"get_{kind}")
    latest = {"thing": thing}

    def ended() -> bool:
        latest["thing"] = get(thing.id)
        return latest["thing"].status == "available" or "error" in latest["thing"].status

    measure.until(ended, DEADLINE)
    found = latest["thing"]
    if found.status != "available":
        reason = getattr(found, "fail_reason", None)
        raise CheckFailedError(f"{kind} {found.name or found.id} is {found.status}{f': {reason}' if reason else ''}")
    return found


def attach(region: Region, server: Any, volume: Any) -> None:
    """Attach a volume to a running server.

    The guest may see the disk while Cinder still refuses to detach it, so Cinder is waited for.

    :raises CheckFailedError: it takes too long
    """
    region.cloud.compute.create_volume_attachment(server, volume_id=volume.id)
    latest: dict[str, Any] = {}

    def attached() -> bool:
        latest["volume"] = region.cloud.block_storage.get_volume(volume.id)
        servers = {a["server_id"] for a in latest["volume"].attachments}
        return latest["volume"].status == "in-use" and server.id in servers

    if not measure.until(attached, DEADLINE):
        status = latest["volume"].status
        raise CheckFailedError(f"volume {volume.name or volume.id} is {status}, not attached to server {server.name}")


def release(region: Region, server: Any, volume: Any) -> None:
    """Detach a volume from one of several servers; until that is done, Cinder refuses to detach it from another.

    :raises CheckFailedError: it takes too long
    """
    region.cloud.compute.delete_volume_attachment(server, volume.id)

    def released() -> bool:
        found = region.cloud.block_storage.get_volume(volume.id)
        return found.status == "in-use" and server.id not in {a["server_id"] for a in found.attachments}

    if not measure.until(released, DEADLINE):
        raise CheckFailedError(f"volume {volume.name or volume.id} is still attached to server {server.name}")


def detach(region: Region, server: Any, volume: Any) -> Any:
    """Detach a volume from the one server that has it."""
    region.cloud.compute.delete_volume_attachment(server, volume.id)
    return await_available(region, "volume", volume)


def seen(
    region: Region, server: Any, volume: Any, wanted: Callable[[dict[str, str]], bool] = lambda _: True
) -> dict[str, str]:
    """What a guest says of a volume, once it is what is wanted; by default, once it says anything.

    :raises CheckFailedError: it never is
    """
    word = f"disk-{volume.id[:SERIAL]}"
    said: dict[str, dict[str, str]] = {}

    def look() -> bool:
        said.update(guest_lines(console(region, server)))
        return word in said and wanted(said[word])

    if not measure.until(look, DISK_DEADLINE, 2):
        words = " ".join(f"{k}={v}" for k, v in said.get(word, {}).items()) or "nothing of it"
        raise CheckFailedError(f"volume {volume.name or volume.id}: the guest says {words} within {DISK_DEADLINE} s")
    return said[word]


def check_content(what: str, said: Mapping[str, str], word: str) -> None:
    """Check that a guest found a word at the beginning and at the end of a volume.

    :raises CheckFailedError: it did not
    """
    first, last = (said.get(key) or "nothing" for key in ("found", "last"))
    if (first, last) != (word, word):
        all_of_it = " ".join(f"{key}={value}" for key, value in said.items())
        raise CheckFailedError(
            f"the guest wrote {word}, but {what} begins with {first} and ends with {last}; it says {all_of_it}"
        )


def parent(described: Described, volume_id: str) -> str:
    """`pool/image` that a volume is a clone of in Ceph; empty: it is none."""
    command = ("rbd", "--id", CLIENT, "info", "--format", "json", f"{POOL}/volume-{volume_id}")
    found = json.loads(_ask(described, command)).get("parent", {})
    return f"{found['pool']}/{found['image']}" if found else ""


def raw(described: Described, volume_id: str, word: str) -> dict[str, Any]:
    """What Ceph holds of a volume, as `raw_volume` tells."""
    program = Path(raw_volume.__file__).read_text(encoding="utf-8")
    answer: dict[str, Any] = json.loads(
        _ask(described, ("python3", "-c", program, POOL, f"volume-{volume_id}", word), f"read volume {volume_id}")
    )
    return answer


def _ask(described: Described, argv: tuple[str, ...], what: str = "") -> str:
    """:raises CheckFailedError: the first host of cinder-volume cannot tell"""
    host = described.hosts_of("cinder", READER)[0].name
    answers = remote.execute(described, {host: (remote.Command(container=READER, argv=argv, timeout=300),)})
    if host in answers.unreachable:
        raise CheckFailedError(f"{host}: {answers.unreachable[host]}")
    answer = answers.by_host[host][0]
    if answer.code:
        raise CheckFailedError(f"{what or ' '.join(argv)} on {host}: {ending(answer.output)}")
    return answer.output
