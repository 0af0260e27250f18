# SPDX-License-Identifier: Apache-2.0
"""A region's release in its own files: changed together, back together, and finished when interrupted in between."""

from __future__ import annotations

from pathlib import Path

import pytest

from scs_deploy.base.errors import RefusedError
from scs_deploy.environment import environment as environments
from scs_deploy.environment import release_lock
from scs_deploy.environment.environment import Environment
from scs_deploy.environment.release_lock import load_lock
from scs_deploy.operations.upgrade import release_files as ahead
from scs_deploy.spec.release import Lock
from scs_deploy.state import snapshot


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('---\n# ours\nrelease: "2025.1"\nregion: a\n', '---\n# ours\nrelease: "2026.1"\nregion: a\n'),
        ("region: a\nrelease:  '2025.1'   # until May\n", 'region: a\nrelease:  "2026.1"   # until May\n'),
        ("release: special\r\nregion: a\r\n", 'release: "2026.1"\r\nregion: a\r\n'),
        # the same word elsewhere
        ("# release: x\nnote: release\nrelease: a#b\n", '# release: x\nnote: release\nrelease: "2026.1"\n'),
    ],
)
def test_only_the_release_changes(before: str, after: str) -> None:
    assert ahead.text_with(before, "2026.1") == after


@pytest.mark.parametrize(
    "text", ["region: a\n", "{release: '2025.1', region: a}\n", "release:\n  '2025.1'\n", "release: 'a\n  b'\n"]
)
def test_a_file_that_cannot_be_edited_is_refused(text: str) -> None:
    with pytest.raises(RefusedError, match="cannot find the key `release`") as error:
        ahead.text_with(text, "2026.1", "/r/environment.yml")
    assert 'release: "2026.1"' in error.value.hint


def settings(folder: Path) -> str:
    return (folder / "environment.yml").read_text(encoding="utf-8")


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    monkeypatch.setenv("SCS_ENVIRONMENTS", str(tmp_path))
    text = """\
# ours
release: "2025.1"
networks: {management: {cidr: 192.0.2.0/24}}
api:
  internal: {address: 192.0.2.1, name: a.example}
  external: {address: 192.0.2.2, name: b.example}
registry: {address: 192.0.2.3}
vault_password_file: x
"""
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "environment.yml").write_text(text)
    here = environments.load("r")
    here.lock_file.write_text(release_lock.text(Lock(release="2025.1", images={})))
    return here


def test_a_region_is_seen_with_another_release(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = environments.load("r", "2026.1")
    assert seen.settings.release == "2026.1"
    assert seen.lock_file.name == "release.lock.2026.1.yml"
    assert environments.load("r", "2025.1") == environment
    with pytest.raises(RefusedError) as error:
        load_lock(seen)
    assert "scs images build --release 2026.1" in error.value.hint
    # as Ansible's processes do
    monkeypatch.setenv(environments.AHEAD, "2026.1")
    assert environments.load("r") == seen


def built(environment: Environment) -> None:
    """What `scs images build --release` leaves."""
    release_lock.save(Lock(release="2026.1", images={}), environments.load("r", "2026.1").lock_file)


def test_files_change_and_change_back_together(environment: Environment) -> None:
    built(environment)
    before = snapshot.contents(environment.path)
    held = ahead.switch(environment, "2026.1")
    now = environments.load("r")
    assert (now.settings.release, load_lock(now).release, now.ahead) == ("2026.1", "2026.1", False)
    assert settings(now.path).startswith('# ours\nrelease: "2026.1"\n')
    assert sorted(p.name for p in now.path.iterdir() if p.is_file()) == ["environment.yml", "release.lock.yml"]
    assert not ahead.settle(now)
    ahead.restore(held)
    assert snapshot.contents(environment.path) == before


def test_a_switch_that_was_interrupted_is_finished(environment: Environment) -> None:
    built(environment)
    assert not ahead.settle(environment)
    environment.file.write_text(ahead.text_with(settings(environment.path), "2026.1"))
    half = environments.load("r")
    with pytest.raises(RefusedError, match=r"for release 2025\.1, but environment\.yml names 2026\.1") as error:
        load_lock(half)
    assert error.value.hint == "scs upgrade release 2026.1 continues the upgrade"
    assert ahead.settle(half)
    assert load_lock(half).release == "2026.1"
    assert not ahead.settle(half)


def test_what_cannot_be_edited_writes_nothing(environment: Environment) -> None:
    built(environment)
    environment.file.write_text(settings(environment.path).replace('release: "2025.1"', 'release:\n  "2025.1"'))
    before = snapshot.contents(environment.path)
    with pytest.raises(RefusedError):
        ahead.switch(environment, "2026.1")
    assert snapshot.contents(environment.path) == before
