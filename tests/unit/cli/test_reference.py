# SPDX-License-Identifier: Apache-2.0
"""docs/reference/ says what the code does, and the handbook's links lead somewhere."""

import importlib.util
import re
import shutil
import sys
import textwrap
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from scs_deploy.spec.service import Service

ROOT = Path(__file__).resolve().parents[3]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    """tools/reference.py, which is a program and no package."""
    return loaded("reference")


def loaded(name: str) -> ModuleType:
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.remove(str(ROOT / "tools"))


def test_reference_is_current(reference: ModuleType) -> None:
    assert [f.name for f in reference.stale(reference.FOLDER)] == [], "run make docs"


def test_check_names_stale_missing_and_left_over_files(
    reference: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "docs" / "reference"
    shutil.copytree(reference.FOLDER, folder)
    monkeypatch.setattr(reference, "FOLDER", folder)
    assert reference.main(["--check"]) == 0
    (folder / "cli.md").write_text("old\n")
    (folder / "service.md").unlink()
    (folder / "gone.md").write_text("nobody writes this\n")
    assert reference.main(["--check"]) == 1
    said = capsys.readouterr().err
    for name in ("cli.md", "service.md", "gone.md"):
        assert f"docs/reference/{name} is not current" in said
    assert said.count("\n") == 3


def test_comments_of_yaml_keys_are_those_above_and_beside() -> None:
    parts = loaded("reference_parts")
    text = "settings:\n  a_x: 1\n  # above\n  a_y: {k: v}   # beside\n  a_z: '#'  # hash\nother: 1\n"
    assert parts.comments(text, "settings") == {"a_x": "", "a_y": "above beside", "a_z": "hash"}
    assert parts.comments(text, "none") == {}


def test_the_example_of_the_guide_is_a_service() -> None:
    guide = (ROOT / "docs" / "how-to" / "add-a-service.md").read_text(encoding="utf-8")
    example = textwrap.dedent(guide.partition("```yaml\n")[2].partition("```")[0])
    service = Service.model_validate(
        {**yaml.safe_load(example), "name": "example", "layer": "openstack", "directory": ROOT}
    )
    assert service.all_secrets == ("example_database_password", "example_keystone_password")


def slug(heading: str) -> str:
    """The anchor that GitHub makes of a heading."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("file", [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))], ids=lambda f: f.name)
def test_links_lead_somewhere(file: Path) -> None:
    for target in LINK.findall(file.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        other = (file.parent / path).resolve() if path else file
        assert other.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", other.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in map(slug, headings), target
