# SPDX-License-Identifier: Apache-2.0
"""The node's module that writes configuration files."""

from __future__ import annotations

import base64
import importlib.util
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from scs_deploy.base import paths


@pytest.fixture(scope="module")
def files() -> ModuleType:
    """The module, as Python."""
    source = paths.collections() / "ansible_collections/scs/core/plugins/modules/files.py"
    spec = importlib.util.spec_from_file_location("scs_module_files", source)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def entry(path: Path, text: str) -> dict[str, Any]:
    """One file as the engine sends it."""
    content = base64.b64encode(text.encode()).decode()
    return {"path": str(path), "content": content, "mode": "0640", "uid": os.getuid(), "gid": os.getgid()}


def test_a_file_takes_the_place_of_the_directory_that_docker_made(files: ModuleType, tmp_path: Path) -> None:
    """A container that was created before its file was written leaves an empty directory there."""
    path = tmp_path / "mariadb" / "gate.sh"
    path.mkdir(parents=True)
    assert files.write(entry(path, "one"), check=True)
    assert path.is_dir(), "check mode changes nothing"
    assert files.write(entry(path, "one"), check=False)
    assert path.read_text() == "one"
    assert not files.write(entry(path, "one"), check=False)


def test_a_directory_that_holds_something_is_not_removed(files: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "mariadb" / "gate.sh"
    path.mkdir(parents=True)
    (path / "mine").touch()
    with pytest.raises(OSError, match="not empty"):
        files.write(entry(path, "one"), check=False)
    assert (path / "mine").exists()
