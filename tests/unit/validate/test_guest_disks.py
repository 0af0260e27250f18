# SPDX-License-Identifier: Apache-2.0
"""What validation's guest says of its disks: the program runs here, on files that stand for disks and for /sys."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from scs_deploy.validate.console import guest_lines
from scs_deploy.validate.disks import SCRIPT

WORD = "scs-validate-1"
SECTORS = 8


class Machine:
    """A guest with one disk, vdb."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.disk, self.state = folder, folder / "dev" / "vdb", folder / "sys" / "vdb"
        for place in (self.disk.parent, self.state, folder / "tmp"):
            place.mkdir(parents=True)
        self.disk.write_bytes(bytes(SECTORS * 512))
        (self.state / "serial").write_text("serial-1\n")
        (self.state / "size").write_text(f"{SECTORS}\n")

    def holds(self, first: str, last: str) -> None:
        """Have the disk hold words at its ends."""
        content = bytearray(SECTORS * 512)
        content[: len(first)] = first.encode()
        content[-512 : -512 + len(last)] = last.encode()
        self.disk.write_bytes(content)

    def says(self) -> dict[str, dict[str, str]]:
        """What the guest says in two rounds."""
        text = SCRIPT.read_text(encoding="utf-8").replace("word=WORD", f"word={WORD}")
        instead = {
            "/proc/sys/vm/drop_caches": "/dev/null", "while :; do": "for _ in 1 2; do", "watch &": "watch",
            "sleep 1": ":", "sleep 2": ":", "/sys/block": f"{self.folder}/sys", "/dev/$1": f"{self.disk.parent}/$1",
            "/tmp/": f"{self.folder}/tmp/",
        }  # fmt: skip
        assert [old for old in instead if old not in text] == []
        # in one pass: the folder may have one of these in its name
        text = re.sub("|".join(map(re.escape, instead)), lambda found: instead[found[0]], text)
        done = subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=True, timeout=60)
        assert done.stderr == ""
        return guest_lines(done.stdout)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_new_disk_gets_the_word_at_both_ends(machine: Machine) -> None:
    said = machine.says()["disk-serial-1"]
    assert (said["found"], said["last"], said["wrote"], said["sectors"]) == ("", "", WORD, str(SECTORS))
    content = machine.disk.read_bytes()
    assert content.count(WORD.encode()) == 2
    assert content[-512:].startswith(WORD.encode())


def test_a_disk_with_the_word_is_left_as_it_is(machine: Machine) -> None:
    machine.holds(WORD, WORD)
    before = machine.disk.read_bytes()
    said = machine.says()["disk-serial-1"]
    assert (said["found"], said["last"], said["wrote"], said["reads"]) == (WORD, WORD, "", "1")
    assert machine.disk.read_bytes() == before


def test_an_end_without_the_word_is_read_twice_and_said(machine: Machine) -> None:
    machine.holds(WORD, "")
    said = machine.says()["disk-serial-1"]
    assert (said["found"], said["last"], said["reads"]) == (WORD, "", "2,first-of-512-bytes")


@pytest.mark.parametrize(("name", "content"), [("size", ""), ("size", "0\n"), ("serial", "")])
def test_nothing_is_said_of_a_disk_that_comes_or_goes(machine: Machine, name: str, content: str) -> None:
    machine.holds(WORD, WORD)
    before = machine.disk.read_bytes()
    (machine.state / name).write_text(content)
    assert machine.says() == {}
    assert machine.disk.read_bytes() == before
