# SPDX-License-Identifier: Apache-2.0
"""Help and the man page: quick, complete, and readable in a narrow terminal."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scs_deploy.cli import _help, _outline

SCS = [sys.executable, "-c", "from scs_deploy.cli.main import main; main()"]
ROOT = Path(__file__).resolve().parents[3]
MAN = ROOT / "docs" / "reference" / "scs.1"
COMMANDS = dict(_outline.walk(_outline.load()))


def scs(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*SCS, *arguments], env={**os.environ, **environ}, check=False, capture_output=True, text=True
    )


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("columns", [60, 80])
def test_help_breaks_between_words_only(path: tuple[str, ...], columns: int) -> None:
    said = _help.text(path, COMMANDS[path], columns)
    assert all(len(line) <= columns for line in said.splitlines())
    words = said.split()
    for option in COMMANDS[path]["options"]:
        assert {w.strip(",.") for w in words} >= {*option["names"], *option["choices"]}


@pytest.mark.parametrize("path", [p for p, c in COMMANDS.items() if not c["commands"]], ids=" ".join)
def test_every_command_has_help_and_an_example(path: tuple[str, ...]) -> None:
    command = COMMANDS[path]
    assert command["help"]
    assert " ".join(path) in command["example"]
    assert all(o["help"] for o in command["options"])


@pytest.mark.parametrize(
    "arguments", [("plan",), ("runs", "show"), ("recover", "mariadb"), ("console",), ("logs", "keystone", "-n", "5")]
)
def test_the_short_and_the_long_option_show_the_same(arguments: tuple[str, ...]) -> None:
    done = scs(*arguments, "-h")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == scs(*arguments, "--help").stdout
    path = [word for word in arguments[:2] if word in ("plan", "runs", "show", "recover", "mariadb", "console", "logs")]
    assert done.stdout.startswith(f"Usage: scs {' '.join(path)} ")


def test_an_incomplete_command_shows_help_and_fails() -> None:
    for arguments, first in (((), "Usage: scs [OPTIONS] COMMAND"), (("runs",), "Usage: scs runs [OPTIONS] COMMAND")):
        done = scs(*arguments)
        assert (done.returncode, done.stdout.splitlines()[0]) == (2, first)


def test_what_asks_for_no_help_gets_none() -> None:
    """The value of an option, and words of another program."""
    root = _outline.load()
    for words in (["logs", "nova", "-n", "-h"], ["console", "node-1", "ls", "-h"], ["logs", "--", "-h"]):
        place = _outline.locate(root, words)
        assert place is not None
        assert not place.help


def test_a_mistyped_command_gets_a_suggestion() -> None:
    done = scs("pln", "--help")
    assert done.returncode == 2
    assert "Did you mean 'plan'?" in " ".join(done.stderr.split())


def test_without_the_outline_typer_shows_help(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path\nfrom scs_deploy.cli import _outline, main\n"
        f"_outline.FILE = Path({str(tmp_path / 'none.json')!r})\nmain.main()"
    )
    for option in ("-h", "--help"):
        done = subprocess.run([sys.executable, "-c", code, "plan", option], capture_output=True, text=True, check=True)
        assert "Usage: scs plan" in done.stdout


@pytest.mark.parametrize(("arguments", "most"), [(("--help",), 0.4), (("plan", "--help"), 0.4)])
def test_help_is_quick(arguments: tuple[str, ...], most: float) -> None:
    def seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        scs(*arguments)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(3)) < most


def test_the_man_page_has_every_command() -> None:
    said = MAN.read_text(encoding="utf-8").replace("\\-", "-")
    for path, command in COMMANDS.items():
        if not command["commands"]:
            assert f"\n.SS {' '.join(path)} " in said


@pytest.mark.skipif(not shutil.which("groff"), reason="no groff")
def test_groff_reads_the_man_page_without_a_warning() -> None:
    done = subprocess.run(["groff", "-man", "-ww", "-z", str(MAN)], capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_pip_installs_the_man_page_and_the_outline(tmp_path: Path) -> None:
    """As a wheel would: setuptools' own installation of data into a prefix."""
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("docs/reference", "scs_deploy/cli"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("scs_deploy/__init__.py", "ansible.cfg"):
        (tmp_path / name).touch()
    command = [sys.executable, "setup.py", "-q", "install_data", "--install-dir", "prefix", "build_py", "-d", "lib"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "prefix/share/man/man1/scs.1").read_bytes() == MAN.read_bytes()
    assert (tmp_path / "lib/scs_deploy/cli/commands.json").is_file()
