# SPDX-License-Identifier: Apache-2.0
"""A plan runs with the files that it was computed from, or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scs_deploy.base import frozen
from scs_deploy.base.errors import RefusedError
from scs_deploy.desired import render
from scs_deploy.engine import runner
from scs_deploy.engine.observe import pinned
from scs_deploy.region import example, sources
from scs_deploy.region.region import Region
from scs_deploy.region.sources import ChangedError


@pytest.fixture
def region(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Region:
    monkeypatch.setenv("SCS_ENVIRONMENTS", str(tmp_path))
    example.start("berlin", "testbed")
    override = tmp_path / "berlin" / "config" / "keystone.conf"
    override.parent.mkdir()
    override.write_text("[token]\nexpiration = 7200\n")
    return Region.load("berlin")


def touch(file: Path) -> list[dict[str, Any]]:
    """A play that needs no region: its task is a plain module."""
    task = {"name": "Change something", "ansible.builtin.command": {"argv": ["touch", str(file)]}}
    return [{"name": "Change", "hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [task]}]


def test_ansible_ends_before_its_first_task_if_an_input_changed(region: Region, tmp_path: Path) -> None:
    shown, late = tmp_path / "shown", tmp_path / "late"
    runner.run_playbook(region.environment, touch(shown), variables=pinned(region)).raise_for()
    assert shown.exists()
    (region.environment.path / "config" / "keystone.conf").write_text("[token]\nexpiration = 99999\n")
    result = runner.run_playbook(region.environment, touch(late), variables=pinned(region))
    assert not late.exists()
    assert result.changed
    with pytest.raises(ChangedError):
        result.raise_for(changing=True)


@pytest.mark.parametrize(
    "name",
    ["environment.yml", "release.lock.yml", "secrets.yml", "certificates.yml", "ca.crt", "config/nova.conf",
     "services/mine/service.yml", "images/mine.yml", "inventory/group_vars/all.yml"],
)  # fmt: skip
def test_each_input_is_named(region: Region, name: str) -> None:
    region.check_unchanged()
    file = region.environment.path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    verb = "changed" if file.exists() else "added"
    file.write_bytes((file.read_bytes() if file.exists() else b"") + b"# another\n")
    with pytest.raises(RefusedError, match=f"since this plan was made: .*{name} was {verb}"):
        region.check_unchanged()


def test_records_of_runs_are_no_input(region: Region) -> None:
    settings = region.environment.settings.model_copy(update={"inventory": "."})
    environment = region.environment.model_copy(update={"settings": settings})
    before = sources.digests(environment)
    (environment.state / "runs").mkdir(parents=True)
    (environment.state / "runs" / "log").write_text("x")
    assert sources.digests(environment) == before


def test_what_an_editor_leaves_is_no_input(region: Region) -> None:
    folder = region.environment.path
    for name in ("config/.nova.conf.swp", "inventory/.hosts.yml.swp", "inventory/hosts.yml~"):
        (folder / name).write_text("x")
    region.check_unchanged()


def test_a_process_renders_what_it_froze(region: Region, tmp_path: Path) -> None:
    keystone = region.catalog.services["keystone"].model_copy(update={"directory": tmp_path})
    template = tmp_path / "greeting.j2"
    template.write_text("shown")
    try:
        frozen.freeze([template])
        template.write_text("edited")
        assert render.template(keystone, "greeting.j2", {}) == "shown"
        assert frozen.read_text(template) == "shown"
    finally:
        frozen.thaw()
    assert frozen.read_text(template) == "edited"


def test_everything_shipped_is_an_input(region: Region) -> None:
    names = sources.digests(region.environment)
    for name in ("openstack/services/keystone/service.yml", "core/plugins/modules/containers.py"):
        assert any(found.endswith(name) for found in names)
    assert "scs_deploy/engine/action.py" in names
