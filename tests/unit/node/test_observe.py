# SPDX-License-Identifier: Apache-2.0
"""What the module observe tells of a node's files and containers."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from scs_deploy.observed import compare
from scs_deploy.observed.model import FoundDisk
from tests.support import node_modules
from tests.support.disk_images import OTHER, blank, filled, needed


def test_keys_stay_on_the_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = node_modules.load(monkeypatch, "observe")
    monkeypatch.setattr(module, "CONFIG", str(tmp_path))
    for name in ("web.conf", "host.key", "internal.pem"):
        (tmp_path / name).write_text("now")
    wanted = {str(tmp_path / n): "of another content" for n in ("web.conf", "host.key", "internal.pem")}
    present, texts = module.files(wanted)
    assert set(present) == set(wanted)
    assert texts == {str(tmp_path / "web.conf"): "now"}


def test_whatever_a_container_is_compared_by_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    module = node_modules.load(monkeypatch, "observe")
    host = {key: f"the {key}" for key in compare._HOST}
    full: Any = {"Name": "/web", "Config": defaultdict(str), "HostConfig": host, "State": defaultdict(str), "Image": ""}

    def engine(_: object, path: str) -> Any:
        return [{"Id": "1", "Labels": {}}] if path.startswith("/containers/json") else full

    monkeypatch.setattr(module, "engine", engine)
    monkeypatch.setattr(module, "unplanned", lambda *_: 0)
    assert module.containers(None)["web"]["HostConfig"] == host


@needed
@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("ext4", "holds ext4"), ("swap", "holds swap space"), ("gpt", "holds a partition table (gpt)"),
        ("dos", "holds a partition table (dos)"), ("anything", "holds data of an unknown kind"),
        ("a BlueStore", f"holds a BlueStore of osd.3 of cluster {OTHER}"),
    ],
)  # fmt: skip
def test_what_a_disk_holds_is_told_while_its_container_has_no_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, said: str
) -> None:
    module = node_modules.load(monkeypatch, "observe")
    path = str(filled(tmp_path / "disk", kind))
    wanted = {"store_a": {"volume": "store_a", "paths": [path]}}
    found = FoundDisk.model_validate(module.disks(wanted, [])[path])
    assert found.problem(()) == said
    assert (found.problem((OTHER,)) == "") == (kind == "a BlueStore"), "the region's own OSD is welcome"
    assert module.disks(wanted, ["store_a"]) == {}, "its container has data already"


@needed
def test_a_blank_disk_and_a_file_that_is_yet_to_be_made_are_no_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = node_modules.load(monkeypatch, "observe")
    for path in (str(blank(tmp_path / "disk")), str(tmp_path / "none")):
        assert FoundDisk.model_validate(module.disk(path)).problem(()) == ""
    assert FoundDisk.model_validate(module.disk("/dev/no-such-disk")).problem(()) == "does not exist"
