# SPDX-License-Identifier: Apache-2.0
"""Every command in the handbook exists, with its options; tests/e2e/test_docs.py runs those that a testbed can run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scs_deploy.base import variables
from tests.support import command_lines, handbook
from tests.support.handbook_shell import Shell, follow, shows

PAGES = handbook.pages()
GENERATED = "reference"
NEW_REGIONS = [p for p in PAGES if p.name in handbook.NEED_NO_REGION]


def name(file: Path) -> str:
    return str(file.relative_to(handbook.ROOT))


@pytest.mark.parametrize("file", PAGES, ids=name)
def test_each_block_says_what_it_is(file: Path) -> None:
    """A block of commands that is not marked as one would not be tested."""
    assert {b.where: b.language for b in handbook.blocks(file) if b.language not in handbook.LANGUAGES} == {}
    for block in handbook.blocks(file):
        if block.language == "text":
            assert not [x for x in block.lines if x.lstrip().startswith(handbook.PROMPT)], block.where


@pytest.mark.parametrize("file", PAGES, ids=name)
def test_commands_are_shell(file: Path) -> None:
    for command in handbook.commands(file):
        done = subprocess.run(["bash", "-n", "-c", command.text], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command.where}: {done.stderr}"


@pytest.mark.parametrize("file", PAGES, ids=name)
def test_commands_of_scs_exist(file: Path) -> None:
    lines = [(line, text, False) for line, text in handbook.inline(file)]
    if GENERATED not in file.parts:
        # the reference shows usages, not commands
        lines += [(command.line, command.text, True) for command in handbook.commands(file)]
    wrong = [
        f"{name(file)}:{line}: scs {' '.join(arguments)}: {reason}"
        for line, text, whole in lines
        for arguments in command_lines.of_scs(text)
        if (reason := command_lines.wrong(arguments, whole))
    ]
    assert wrong == []


@pytest.mark.parametrize("file", PAGES, ids=name)
def test_tests_that_run_a_command_instead_exist(file: Path) -> None:
    reasons = [c.not_run for c in handbook.commands(file)]
    for test in [w.strip(";,.") for reason in reasons for w in reason.split() if w.startswith("tests/")]:
        assert (handbook.ROOT / test).exists(), test


@pytest.mark.parametrize("file", NEW_REGIONS, ids=name)
def test_a_new_region_is_described_as_the_guide_says(file: Path, tmp_path: Path) -> None:
    """These commands contact no host."""
    environ = variables.reduced({"HOME": str(tmp_path), "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"})
    follow(handbook.commands(file), Shell(tmp_path, environ, tmp_path / "state"))
    assert (tmp_path / "regions" / "berlin" / "environment.yml").is_file()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("scs plam", "no command 'plam'"),
        ("sudo .venv/bin/scs plan --foo", "No such option: --foo"),
        ("a=$(scs runs list --limit many)", "valid integer"),
        ("scs plan | scs env check a b", "too many arguments: b"),
        ("scs plan --allow dataplane", "'data-plane'"),
        ("scs node drain", "host is missing"),
        ("scs recover mariadb --from a", "No such option: --from"),
        ("scs upgrade", "names no command"),
        ("docker run --rm scs/manager plam", "no command 'plam'"),
    ],
)
def test_a_command_that_cannot_work_is_found(line: str, reason: str) -> None:
    said = [command_lines.wrong(arguments, whole=True) for arguments in command_lines.of_scs(line)]
    assert reason in (said[-1] or "")


def page(folder: Path, text: str) -> list[handbook.Command]:
    file = folder / "page.md"
    file.write_text(text, encoding="utf-8")
    return handbook.commands(file)


def test_comments_say_what_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handbook, "ROOT", tmp_path)
    block = "```console\n$ scs a   # all\n$ scs a b \\\n    c\nshown\n```\n"
    said = page(tmp_path, f"<!-- not run: `scs a`: reason -->\n<!-- may exit 1: `scs a b`: other -->\n{block}")
    assert [(c.text, c.not_run, set(c.exits), c.shown) for c in said] == [
        ("scs a   # all", "reason", {0}, ()),
        ("scs a b \\\nc", "", {0, 1}, ("shown",)),
    ]
    assert [c.not_run for c in page(tmp_path, f"<!-- not run: it -->\n{block}")] == ["it", "it"]
    for wrong in ("<!-- not run -->", "<!-- not run: `scs x`: no such command -->"):
        with pytest.raises(ValueError, match=r"page\.md:2"):
            page(tmp_path, f"{wrong}\n{block}")


def test_commands_share_variables_and_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handbook, "ROOT", tmp_path)
    shell = Shell(tmp_path, {"PATH": "/usr/bin:/bin"}, tmp_path / "state")
    text = "$ name=$(echo first)\n$ test -t 0 && read answer && echo $name: $answer\nfirst: y\n$ false\n"
    commands = page(tmp_path, f"```console\n{text}```\n")
    with pytest.raises(AssertionError, match=r"page\.md:5: false: exit 1"):
        follow(commands, shell)
    with pytest.raises(AssertionError, match="not in the output"):
        follow(page(tmp_path, "```console\n$ echo one\ntwo\n```\n"), shell)


def test_what_is_shown_may_differ_in_numbers() -> None:
    said = "host    state\nhost-7  running  12 ms\n"
    for line in ("host state", "host-1 running 2.5 s", "  ...", "host-1 ..."):
        assert shows(said, line), line
    for line in ("host", "host-1 stopped 2.5 s", "other ..."):
        assert not shows(said, line), line
