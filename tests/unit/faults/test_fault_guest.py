# SPDX-License-Identifier: Apache-2.0
"""The guest of the fault tests: what its program writes is what is read back, and its pauses are seen."""

from __future__ import annotations

import io
import os
import signal
import subprocess
from pathlib import Path

import pytest

from scs_deploy.shared.ceph.status import Status
from scs_deploy.state.measurement import longest_gap
from tests.fault import layout, volume_numbers
from tests.fault.console import Tail
from tests.fault.layout import AREA, BLOCK, FIRST, Write
from tests.fault.members import ceph_problems, cinder_problems
from tests.unit.shared.test_ceph_status import recorded

SCRIPT = Path(__file__).parents[2] / "fault" / "guest_writer.sh"
TOKEN = "scs-0123"


def written(number: int, begin: float, end: float, seen: float, good: bool = True) -> Write:
    return Write(AREA + number, begin, end, good, seen)


def boot(disk: Path, folder: Path, lines: int) -> list[str]:
    """What a guest says until its power goes after some lines."""
    folder.mkdir(exist_ok=True)
    usleep = folder / "usleep"
    usleep.write_text("#!/bin/sh\nexec sleep 0.01\n", encoding="utf-8")
    usleep.chmod(0o755)
    text = layout.user_data(SCRIPT.read_text(encoding="utf-8"), TOKEN).replace(layout.DISK, str(disk))
    text = text.replace("/tmp/number", str(folder / "number"))
    guest = subprocess.Popen(
        ["/bin/sh", "-c", text], stdout=subprocess.PIPE, text=True, start_new_session=True,
        env={"PATH": f"{folder}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert guest.stdout
    said = [guest.stdout.readline() for _ in range(lines)]
    os.killpg(guest.pid, signal.SIGKILL)
    said += guest.stdout.readlines()
    guest.wait()
    return said


def test_what_a_guest_writes_is_found_after_it_was_killed_twice(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.touch()
    os.truncate(disk, layout.SIZE << 30)
    said = [line for _ in range(2) for line in boot(disk, tmp_path / "bin", 6)]
    told = {w.number: w for line in said if (w := layout.parse(line, 0.0))}
    assert {n // AREA for n in told} == {1, 2}
    assert all(w.good for w in told.values())

    with disk.open("rb") as file:

        def read(offset: int, count: int) -> bytes:
            file.seek(offset)
            return file.read(count)

        runs = volume_numbers.numbers(read, TOKEN, BLOCK, FIRST, layout.attempted(told))
    found = {n for begin, end in runs for n in range(begin, end + 1)}
    assert set(told) <= found
    assert len(runs) == 2


def test_only_the_guests_own_numbers_are_found() -> None:
    blocks = [b"", f"{TOKEN} 1\n".encode(), f"{TOKEN} 2\n".encode(), b"scs-4567 3\n", f"{TOKEN} 7\n".encode()]
    data = io.BytesIO(bytes(FIRST * BLOCK) + b"".join(block.ljust(BLOCK, b"\0") for block in blocks))

    def read(offset: int, count: int) -> bytes:
        data.seek(offset)
        return data.read(count).ljust(count, b"\0")

    assert volume_numbers.numbers(read, TOKEN, BLOCK, FIRST, [(1, 6)]) == [[1, 2]]


@pytest.mark.parametrize(
    ("line", "write"),
    [
        ("scs-guest: wrote 65537 31.05 31.09\r", Write(65537, 31.05, 31.09, True, 7.0)),
        ("/ # scs-guest: failed 65538 31.59 61.02", Write(65538, 31.59, 61.02, False, 7.0)),
        ("scs-guest: wrote 65537 31.05", None),
        ("scs-guest: ready uptime=30.11", None),
    ],
)
def test_lines_of_the_console(line: str, write: Write | None) -> None:
    assert layout.parse(line, 7.0) == write


def test_a_write_that_waits_is_a_pause_by_the_guests_clock_and_the_managers_time() -> None:
    writes = [
        written(1, 30.0, 30.1, 1000.4),
        written(2, 30.6, 38.6, 1008.7),  # read 0.2 s after it was said: the soonest
        written(3, 39.1, 39.2, 1009.5),
    ]
    gap = longest_gap(layout.KIND, layout.samples(writes), 1000.0, 1009.5)
    assert gap.seconds == pytest.approx(8.0)
    assert gap.begin == pytest.approx(1000.7, abs=0.2)
    assert layout.away(writes) == 0


def test_a_guest_that_is_gone_waits_for_nothing_and_is_away() -> None:
    writes = [written(1, 900.0, 900.1, 1000.0), written(AREA + 1, 20.0, 20.1, 1100.0)]
    assert layout.away(writes) == pytest.approx(100)
    assert longest_gap(layout.KIND, layout.samples(writes), 999.9, 1100.1).seconds < 1
    assert layout.attempted({w.number: w for w in writes}) == [(AREA + 1, AREA + 2), (2 * AREA + 1, 2 * AREA + 2)]


def test_a_console_is_followed_through_a_new_start(tmp_path: Path) -> None:
    file, tail = tmp_path / "console.log", Tail()
    file.write_bytes(b"one\ntw")
    assert tail.read(file) == ["one"]
    with file.open("ab") as more:
        more.write(b"o\nthree\n")
    assert tail.read(file) == ["two", "three"]
    # QEMU begins the file anew when the guest starts
    file.write_bytes(b"four\n")
    assert tail.read(file) == ["four"]
    # on another host it is another file
    file.rename(tmp_path / "console.log.0")
    file.write_bytes(b"five\nfive and six\n")
    assert tail.read(file) == ["five", "five and six"]


def test_services_of_cinder_that_are_missing() -> None:
    def service(binary: str, host: str, state: str = "up") -> dict[str, str]:
        return {"binary": binary, "host": host, "state": state, "status": "enabled"}

    wanted = {(b, h) for b in ("cinder-volume", "cinder-scheduler") for h in ("ha-1", "ha-2")}
    found = [
        service("cinder-volume", "ha-1@rbd"),
        service("cinder-volume", "ha-2@rbd", "down"),
        service("cinder-scheduler", "ha-1"),
    ]
    assert cinder_problems(found, wanted) == ["cinder-scheduler on ha-2 is unknown", "cinder-volume on ha-2 is down"]


def test_what_ceph_lacks_is_named() -> None:
    found = Status.parse(recorded("down")["status"])
    said = ceph_problems(found, ("a", "b"), 4)
    assert said[:4] == [
        "ceph_mon on b is not in the quorum", "1 of 2 ceph_mgr are there", "ceph has 3 OSDs, the inventory 4",
        "osd.2 is down",
    ]  # fmt: skip
    assert "27 placement groups are active+undersized+degraded" in said
    assert any(line.startswith("ceph: PG_DEGRADED") for line in said)
    # a whole cluster, whose clients have keys of 128 bits
    update: dict[str, object] = {"down": (), "placement_groups": {"active+clean+scrubbing": 3}}
    update["checks"] = tuple(c for c in found.checks if c.name == "AUTH_INSECURE_CLIENT_KEY_TYPE")
    assert ceph_problems(found.model_copy(update=update), ("a",), 3) == []
