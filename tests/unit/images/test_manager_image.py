# SPDX-License-Identifier: Apache-2.0
"""The manager's image: what is in it, and that no region builds it."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from scs_deploy.base.errors import RefusedError
from scs_deploy.images.pins import lines
from scs_deploy.images.recipe import load_recipes
from scs_deploy.spec.release import load_release

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    """tools/manager_image.py, which is a program and no package."""
    spec = importlib.util.spec_from_file_location("manager_image", ROOT / "tools" / "manager_image.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["manager_image"] = module
    spec.loader.exec_module(module)
    return module


def test_it_has_what_scs_requires_and_no_more(tool: ModuleType) -> None:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pins = tool.locked(text)
    assert len(pins) == len(re.findall(r"^[a-z]\S*==", text, re.MULTILINE))
    chosen = tool.runtime(pins, "3.13")
    # the last two are dependencies of dependencies
    assert {"ansible-core", "typer", "python-openstackclient", "cryptography", "keystoneauth1", "cffi"} <= chosen.keys()
    assert not {"pytest", "mypy", "ruff", "molecule", "selenium", "ansible-lint"} & chosen.keys()
    for line in lines(chosen).splitlines():
        assert re.match(r"^\S+==\S+( --hash=sha256:[0-9a-f]{64})+$", line)


def test_a_package_without_a_pin_is_named(tool: ModuleType) -> None:
    pins = tool.locked((ROOT / "requirements.lock").read_text(encoding="utf-8"))
    del pins["cffi"]
    with pytest.raises(RefusedError, match=r"requirements\.lock: no pin for cffi"):
        tool.runtime(pins, "3.13")


@pytest.mark.parametrize("name", sorted(p.stem for p in (ROOT / "releases").glob("*.yml")))
def test_only_its_own_target_builds_it(tool: ModuleType, name: str) -> None:
    assert "manager" not in load_release(name).images
    recipes = load_recipes(tool.release_of(name))
    assert [*recipes] == ["base", "manager"]
    assert "openssh-client" in recipes["manager"].packages
