# SPDX-License-Identifier: Apache-2.0
"""Upgrades without anybody at hand: when they begin at all, and what systemd is told."""

from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from scs_deploy.base.errors import RefusedError
from scs_deploy.cli import _measured as measured
from scs_deploy.operations.upgrade import schedule as upgrade
from scs_deploy.prober.watch import ProbeOptions
from scs_deploy.state.runs import Run, Status


def run(status: Status, message: str = "") -> Run:
    return Run(
        id="06afj0awy", command="scs apply", owner="me@here", host="here", pid=1, process=1,
        started=datetime.now(UTC), finished=None, status=status, changes_total=3, changes_done=1, inputs="x",
        message=message, resume="{}", follows=True,
    )  # fmt: skip


@pytest.mark.parametrize("latest", [None, run(Status.DONE), run(Status.ABANDONED), run(Status.REFUSED)])
def test_an_unattended_upgrade_begins(latest: Run | None) -> None:
    upgrade.check_unattended(latest)


@pytest.mark.parametrize(
    ("latest", "says"),
    [
        (run(Status.PAUSED, "3 requests failed"), "is paused: 3 requests failed"),
        (run(Status.FAILED, "host a: no space"), "is failed: host a: no space"),
        (run(Status.INTERRUPTED), "is interrupted: its process ended"),
    ],
)
def test_an_unattended_upgrade_judges_no_half_done_run(latest: Run, says: str) -> None:
    with pytest.raises(RefusedError, match=says) as error:
        upgrade.check_unattended(latest)
    assert "scs runs resume 06afj0awy" in error.value.hint
    with pytest.raises(RefusedError, match=says) as error:
        upgrade.check_unattended(
            latest.model_copy(update={"command": "scs node replace a", "resume": "", "follows": False})
        )
    assert error.value.hint == "`scs node replace a` again or scs runs abandon 06afj0awy; then upgrade"


def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    folder = tmp_path / "a b 50%n"
    folder.mkdir()
    program = shutil.copy("/usr/bin/true", folder)
    texts = upgrade.units("testbed", "*-*-* 03:00", str(program), {"SCS_ROOT": '/opt/"s" 50%'})
    assert set(texts) == {"scs-upgrade-testbed.service", "scs-upgrade-testbed.timer"}
    assert " upgrade run --unattended --images --environment testbed\n" in "".join(texts.values())
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd here to verify them")
    found = subprocess.run(
        ["systemd-analyze", "verify", *map(str, sorted(tmp_path.glob("scs-*")))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert [line for line in found.stderr.splitlines() if "scs-upgrade" in line] == []


@pytest.mark.parametrize(
    ("given", "options"),
    [
        ((None, False, None), ProbeOptions()),
        ((0, False, "192.0.2.1"), ProbeOptions(max_failed=0, ping="192.0.2.1")),
        ((None, True, None), ProbeOptions(enabled=False)),
        ((None, False, "2001:db8::1"), ProbeOptions(ping="2001:db8::1")),
    ],
)
def test_options_of_the_prober(given: tuple[int | None, bool, str | None], options: ProbeOptions) -> None:
    assert measured.options(*given) == options


@pytest.mark.parametrize("given", [(3, True, None), (None, True, "192.0.2.1"), (None, False, "vm-1")])
def test_options_that_make_no_sense_are_refused(given: tuple[int | None, bool, str | None]) -> None:
    with pytest.raises(RefusedError):
        measured.options(*given)
