# SPDX-License-Identifier: Apache-2.0
"""A report of a deployed region has its state and its logs, and none of its secrets."""

from __future__ import annotations

import json
import tarfile
import uuid
from pathlib import Path

import pytest

from tests.e2e.blackbox import RegionUnderTest

pytestmark = pytest.mark.e2e


def test_a_report_has_everything_but_secrets(region: RegionUnderTest, tmp_path: Path) -> None:
    host, mark = region.containers()[0][0], uuid.uuid4().hex
    # what a careless administrator may leave in the journal; a secret itself would be found there by other tests
    region.on(host, "logger", "--priority", "user.err", f"{mark} https://admin:{mark}x@proxy.example refused")
    file = tmp_path / "report.tar.gz"
    made = region.scs("report", "--since", "30m", "--output", str(file), "--json").json()
    assert {p["file"]: p["code"] for p in made["parts"]}["doctor.json"] == 0
    with tarfile.open(file) as archive:
        contents = {m.name.partition("/")[2]: archive.extractfile(m) for m in archive.getmembers()}
        texts = {name: stream.read().decode() for name, stream in contents.items() if stream}
    assert {c["container"] for c in json.loads(texts["status.json"])} == {c for _, c in region.containers()}
    line = next(row for row in texts["logs.jsonl"].splitlines() if mark in row)
    assert json.loads(line)["text"] == f"{mark} https://<login>@proxy.example refused"
    found = {name for name, value in region.secrets.items() if any(value in text for text in texts.values())}
    assert found == set()
    refused = region.scs("report", "--output", str(file), expect=2)
    assert f"{file}: exists" in refused.err


def test_a_report_is_refused_before_it_begins(region: RegionUnderTest) -> None:
    assert "--since 1h is not before --until 2h" in region.scs("report", "--until", "2h", expect=2).err
    assert "no such folder" in region.scs("report", "-o", "/nowhere/r.tar.gz", expect=2).err
