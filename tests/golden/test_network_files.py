# SPDX-License-Identifier: Apache-2.0
"""Files of a host's network, byte for byte, for every form of link and both renderers.

After a wanted change: `make golden-update`, then read `git diff tests/golden`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from scs_deploy.host.network import render
from scs_deploy.inventory import link_checks
from scs_deploy.inventory.links import Link

GOLDEN = Path(__file__).parent / "host_network"
CASES: dict[str, dict[str, Any]] = yaml.safe_load((GOLDEN / "cases.yml").read_text(encoding="utf-8"))


def rendered(case: str, renderer: str) -> dict[str, str]:
    """path below the case's folder: text."""
    links = {name: Link.model_validate(link or {}) for name, link in CASES[case].items()}
    assert link_checks.problems("node-1", links) == []
    return {path.lstrip("/"): text for path, text in render.files(links, renderer, "").items()}


@pytest.mark.parametrize("renderer", render.RENDERERS)
@pytest.mark.parametrize("case", CASES)
def test_files_are_as_recorded(case: str, renderer: str) -> None:
    now, folder = rendered(case, renderer), GOLDEN / renderer / case
    if os.environ.get("UPDATE_GOLDEN"):
        for old in folder.rglob("*"):
            if old.is_file():
                old.unlink()
        for name, text in now.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    recorded = {str(p.relative_to(folder)): p.read_text(encoding="utf-8") for p in folder.rglob("*") if p.is_file()}
    assert sorted(now) == sorted(recorded), "other files than recorded: make golden-update"
    for name, text in now.items():
        assert text == recorded[name], f"{name} differs: make golden-update, then read git diff tests/golden"


def test_nothing_is_left_of_cases_that_are_gone() -> None:
    for renderer in render.RENDERERS:
        assert {p.name for p in (GOLDEN / renderer).iterdir()} == set(CASES)
