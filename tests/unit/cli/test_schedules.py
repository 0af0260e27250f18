# SPDX-License-Identifier: Apache-2.0
"""`scs backup schedule` and `scs upgrade schedule` warn of a night that a clock change skips."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from scs_deploy.base import calendar
from scs_deploy.cli import backup, upgrade
from scs_deploy.operations.upgrade import schedule
from tests.unit.secrets.test_secrets import SETTINGS

pytestmark = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze")


@pytest.fixture
def region(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SCS_ENVIRONMENTS", str(tmp_path))
    monkeypatch.setenv("SCS_ENVIRONMENT", "test")
    monkeypatch.setattr(calendar, "local_zone", lambda: "Europe/Berlin")
    (tmp_path / "test").mkdir()
    return tmp_path / "test" / "environment.yml"


@pytest.mark.parametrize(("when", "warned"), [(None, False), ("*-*-* 02:30", True), ("*-*-* 02:30 UTC", False)])
def test_backup(region: Path, when: str | None, warned: bool) -> None:
    settings = {**SETTINGS, "vault_password_file": "vault_password"}
    region.write_text(yaml.safe_dump({**settings, **({"backup": {"schedule": when}} if when else {})}))
    done = CliRunner().invoke(backup.commands, ["schedule"])
    assert done.exit_code == 0, done.output
    assert f"OnCalendar={when or '*-*-* 04:30:00'}\n" in done.stdout
    said = f"warning: {region}: backup.schedule: '*-*-* 02:30' does not run on "
    assert (said in done.stderr) == warned, done.stderr


@pytest.mark.parametrize(("when", "warned"), [("*-*-* 02:30", True), ("*-*-* 05:00", False)])
def test_upgrade(region: Path, when: str, warned: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    region.write_text(yaml.safe_dump({**SETTINGS, "vault_password_file": "vault_password"}))
    monkeypatch.setattr(schedule, "schedule", lambda environment, expression: [])
    done = CliRunner().invoke(upgrade.app, ["schedule", when])
    assert done.exit_code == 0, done.output
    assert ("warning: '*-*-* 02:30' does not run on " in done.stderr) == warned, done.stderr
