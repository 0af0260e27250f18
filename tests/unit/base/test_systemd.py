# SPDX-License-Identifier: Apache-2.0
"""Which units are started when they are installed, and stopped when they are removed."""

from __future__ import annotations

from pathlib import Path

import pytest

from scs_deploy.base import systemd
from scs_deploy.base.errors import RefusedError

TIMER = {
    "a.service": "[Service]\nType=oneshot\n",
    "a.timer": "[Timer]\nOnCalendar=daily\n\n[Install]\nWantedBy=timers.target\n",
}
SERVICE = {"b.service": "[Service]\nExecStart=x\n\n[Install]\nWantedBy=multi-user.target\n"}


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """What systemctl is told."""
    found: list[str] = []
    monkeypatch.setattr(systemd, "RUNNING", tmp_path)
    monkeypatch.setattr(systemd, "_systemctl", lambda *words: found.append(" ".join(words)))
    return found


def test_a_timer_is_started_and_its_service_is_not(said: list[str], tmp_path: Path) -> None:
    assert systemd.install(TIMER, "x", tmp_path) == [tmp_path / "a.service", tmp_path / "a.timer"]
    assert said == ["daemon-reload", "enable --now a.timer"]
    said.clear()
    assert {f.name for f in systemd.remove("a", tmp_path)} == {"a.timer", "a.service"}
    assert said == ["disable --now a.timer", "daemon-reload"]
    assert list(tmp_path.iterdir()) == []


def test_a_service_that_runs_takes_its_new_unit(said: list[str], tmp_path: Path) -> None:
    systemd.install(SERVICE, "x", tmp_path)
    assert said == ["daemon-reload", "enable b.service", "restart b.service"]
    said.clear()
    systemd.remove("b", tmp_path)
    assert said == ["disable --now b.service", "daemon-reload"]
    assert systemd.remove("b", tmp_path) == []


def test_without_systemd_it_says_what_to_run_instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd, "RUNNING", tmp_path / "nothing")
    with pytest.raises(RefusedError, match="run `scs serve` with another scheduler"):
        systemd.install(SERVICE, "scs serve", tmp_path)
