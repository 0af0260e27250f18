# SPDX-License-Identifier: Apache-2.0
"""Completion as a user has it: `scs --install-completion` in a fresh home, then a real bash that completes."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scs_deploy.cli import _names as names
from scs_deploy.environment import environment as environments
from scs_deploy.state.runs import run_store

BASH = shutil.which("bash")
SCS = [sys.executable, "-c", "from scs_deploy.cli.main import main; main()"]
TAB = 0.15
"""Seconds of the processor that one TAB may take."""

ASK = """
source ~/.bashrc
COMP_WORDS=({words}) COMP_CWORD={last}
_scs_completion scs
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which completion was installed from bash."""
    folder = tmp_path_factory.mktemp("home")
    done = _bash(folder, "scs --install-completion")
    assert done.returncode == 0, done.stderr
    assert "completion installed" in done.stdout
    return folder


@pytest.fixture(scope="module")
def regions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of regions in which ordinary commands were used, and one run was recorded."""
    folder = tmp_path_factory.mktemp("regions")
    for arguments in (["env", "init", "berlin", "--from", "testbed"], ["runs", "list", "-e", "berlin"],
                      ["inventory", "show", "-e", "berlin"]):  # fmt: skip
        subprocess.run([*SCS, *arguments], env={**os.environ, "SCS_ENVIRONMENTS": str(folder)}, check=True,
                       capture_output=True)  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def run(regions: Path) -> str:
    """The id of a run of the region."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCS_ENVIRONMENTS", str(regions))
        with run_store(environments.load("berlin")) as store:
            return store.start("scs apply").id


def _bash(home: Path, script: str, regions: Path | None = None) -> subprocess.CompletedProcess[str]:
    assert BASH
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environ = {**os.environ, "HOME": str(home), "PATH": path, "SCS_ENVIRONMENTS": str(regions or home)}
    # a bash that reads its commands from standard input is the parent that the installation looks for
    return subprocess.run(
        [BASH, "--norc"], input=script, env=environ, check=False, capture_output=True, text=True
    )  # fmt: skip


def _offered(line: str, regions: Path, shell: str = "bash", **more: str) -> subprocess.CompletedProcess[str]:
    """What scs answers for a line whose last word is being typed."""
    words = line.split(" ")
    asks = {"COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1), "_TYPER_COMPLETE_ARGS": line}
    environ = {**os.environ, "SCS_ENVIRONMENTS": str(regions), "_SCS_COMPLETE": f"complete_{shell}", **asks, **more}
    return subprocess.run(SCS, env=environ, check=False, capture_output=True, text=True)


@pytest.mark.skipif(not BASH, reason="no bash")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["scs", "rollb"], {"rollback"}),
        (["scs", "backup", "v"], {"verify"}),
        (["scs", "plan", "--exit"], {"--exit-code"}),
        (["scs", "plan", "--allow", "data"], {"data-plane"}),
        (["scs", "logs", "keystone_f"], {"keystone_fernet"}),
        (["scs", "plan", "opensta"], {"openstack", "openstack_exporter"}),
        (["scs", "status", "keystone", "--host", "t"], {"testbed-1"}),
        (["scs", "plan", "--host", "=", "t"], {"testbed-1"}),
        (["scs", "env", "use", "b"], {"berlin"}),
        (["scs", "testbed", "up", "--layout", ""], {"single", "ha"}),
        (["scs", "nonsense", "a"], set()),
    ],
)
def test_bash_completes(home: Path, regions: Path, words: list[str], offered: set[str]) -> None:
    line = " ".join(word or "''" for word in words)
    done = _bash(home, ASK.format(words=line, last=len(words) - 1), regions)
    assert set(done.stdout.split()) == offered, done.stderr
    assert done.stderr == ""


def test_runs_complete_from_their_records(regions: Path, run: str) -> None:
    assert _offered(f"scs runs show {run[:3]}", regions).stdout.split() == [run]
    # other shells show what it was
    assert _offered("scs runs show ", regions, "fish", _TYPER_COMPLETE_FISH_ACTION="get-args").stdout.startswith(
        f"{run}\t"
    )
    assert f'"{run}":"' in _offered("scs runs show ", regions, "zsh").stdout


def test_zsh_completes_files_where_no_name_is_meant(regions: Path) -> None:
    assert _offered("scs plan --out ", regions, "zsh").stdout == "_files"


def test_fish_is_told_whether_there_are_candidates(regions: Path) -> None:
    assert _offered("scs plan key", regions, "fish", _TYPER_COMPLETE_FISH_ACTION="is-args").returncode == 0
    assert _offered("scs plan --out ", regions, "fish", _TYPER_COMPLETE_FISH_ACTION="is-args").returncode == 1


def test_a_name_is_offered_once(regions: Path) -> None:
    assert "keystone" in _offered("scs plan ", regions).stdout.split()
    assert "keystone" not in _offered("scs plan keystone ", regions).stdout.split()


def test_words_of_other_programs_are_not_completed(regions: Path) -> None:
    assert _offered("scs console te", regions).stdout.split() == ["testbed-1"]
    assert _offered("scs console testbed-1 ", regions).stdout == ""


@pytest.mark.parametrize("content", [None, "", "[]", '{"SERVICE": 7}', "\0\0"])
def test_a_missing_or_broken_cache_breaks_no_tab(tmp_path: Path, content: str | None) -> None:
    state = tmp_path / "berlin" / "state"
    state.mkdir(parents=True)
    (state.parent / "environment.yml").touch()
    if content is not None:
        (state / names.FILE).write_text(content)
    (state / "runs.sqlite3").write_text("no database")
    for line in ("scs plan k", "scs runs show 0", "scs plan -e nowhere k", "scs plan -e berlin 'k"):
        done = _offered(line, tmp_path)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_cache_that_cannot_be_written_ends_no_command(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / names.FILE).mkdir()
    names.remember(tmp_path, {"HOST": ["a"]})
    assert [p.name for p in (tmp_path / "state").iterdir()] == [names.FILE]


def test_kinds_are_kept_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a" / "state").mkdir(parents=True)
    monkeypatch.setenv("SCS_ENVIRONMENTS", str(tmp_path))
    names.remember(tmp_path / "a", {"HOST": ["one"], "BACKUP": ["1", "2"]})
    names.changed(tmp_path / "a", "BACKUP", ["3"], ["1"])
    assert list(names.known("BACKUP", "a")) == ["2", "3"]
    assert list(names.known("HOST", "a")) == ["one"]


@pytest.mark.parametrize("line", ["scs ", "scs plan k", "scs runs show ", "scs logs keystone --host "])
def test_a_tab_is_quick(line: str, regions: Path) -> None:
    assert min(_seconds(lambda: _offered(line, regions)) for _ in range(5)) < TAB


def _seconds(work: object) -> float:
    """Time on the processor, which other programs do not prolong by much."""
    assert callable(work)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    work()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
