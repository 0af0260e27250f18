# SPDX-License-Identifier: Apache-2.0
"""The guest image's cache and its build scripts."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from pathlib import Path

import pytest

from scs_deploy.validate import guest_image


def record(folder: Path, version: str, key: str | None = None) -> Path:
    image = folder / f"{key or guest_image.inputs(version)}.qcow2"
    image.write_bytes(b"image")
    image.with_suffix(".json").write_text(json.dumps({"package": "linux-image", "version": version}))
    return image


def test_a_built_image_is_reused(tmp_path: Path) -> None:
    image = record(tmp_path, "6.12.1")
    found = guest_image.ensure(tmp_path, "no/such:image")
    assert (found.path, found.version) == (image, "6.12.1")
    assert found.name == f"scs-guest-{image.stem[:12]}"


def test_an_image_of_other_scripts_is_not_reused(tmp_path: Path) -> None:
    record(tmp_path, "6.12.1", "0" * 64)
    assert guest_image.cached(tmp_path) is None
    record(tmp_path, "6.12.1").unlink()
    assert guest_image.cached(tmp_path) is None


def test_inputs_change_with_the_kernel() -> None:
    assert guest_image.inputs("6.12.1") != guest_image.inputs("6.12.2")


def test_all_scripts_are_sent_executable() -> None:
    with tarfile.open(fileobj=io.BytesIO(guest_image._archive())) as archive:
        assert {Path(m.name).name for m in archive} == {"build.sh", "init", "udhcpc.script"}
        assert all(m.mode == 0o755 for m in archive)


@pytest.mark.parametrize("name", ["build.sh", "init", "udhcpc.script"])
def test_scripts_parse(name: str) -> None:
    subprocess.run(["sh", "-n", str(guest_image.FILES / name)], check=True)
