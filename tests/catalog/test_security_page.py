# SPDX-License-Identifier: Apache-2.0
"""What docs/explanation/security.md promises: each paragraph names a test that checks it, or the file that does it."""

from __future__ import annotations

import re

import pytest

from scs_deploy.base import paths

PAGE = paths.root() / "docs" / "explanation" / "security.md"
LINK = re.compile(r"\]\((\.\./\.\./[^)#]+)(?:#[^)]*)?\)")


def paragraphs() -> list[tuple[str, str]]:
    """(section, paragraph); one that leads to a list or a table is one with it, and an introduction is none."""
    found: list[tuple[str, str]] = []
    section = ""
    for block in re.split(r"\n\s*\n", PAGE.read_text(encoding="utf-8").strip()):
        if block.startswith("#"):
            section = block.lstrip("# ")
        elif block.startswith(("|", "- ")) and found and found[-1][0] == section:
            found[-1] = (section, found[-1][1] + "\n" + block)
        elif section != "Security":
            found.append((section, block))
    return found


@pytest.mark.parametrize(("section", "text"), paragraphs())
def test_a_promise_names_what_keeps_it(section: str, text: str) -> None:
    assert LINK.search(text), f"{section}: name a test or a file"


def test_what_is_named_exists_and_tests_something() -> None:
    named = set(LINK.findall(PAGE.read_text(encoding="utf-8")))
    assert len(named) > 20
    for target in named:
        path = (PAGE.parent / target).resolve()
        assert path.exists(), target
        if "/tests/" in target:
            assert re.search(r"^(async )?def test_", path.read_text(encoding="utf-8"), re.M), f"{target} has no test"
