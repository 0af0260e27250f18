# SPDX-License-Identifier: Apache-2.0
"""A rolling change under load: no request fails, and what a manager that dies leaves, a resumption ends."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.blackbox import RegionUnderTest
from tests.fault.conftest import Faults

OPTIONS = {
    "keystone/keystone.conf": "[DEFAULT]\nmax_token_size = {n}\n",
    "placement/placement.conf": "[placement]\nallocation_conflict_retry_count = {n}\n",
    "neutron_api/neutron.conf": "[DEFAULT]\nmax_allowed_address_pair = {n}\n",
    "nova_api/nova.conf": "[api]\nmax_limit = {n}\n",
}
"""Override file: an option that no request of a prober notices; another number restarts the container everywhere."""
SERVICES = ("keystone", "placement", "neutron", "nova")
KILLS = 3
"""How often the manager dies in one run."""


@pytest.fixture
def overrides(region: RegionUnderTest) -> Iterator[Any]:
    """Writes the options with a number; they go away at the end and the region is applied without."""
    made: list[Path] = []
    for name in OPTIONS:
        file = region.folder / "config" / name
        assert not file.exists(), f"{file} is the operator's: this test would overwrite it"
        made += [p for p in (file.parent.parent, file.parent) if not p.exists() and p not in made]

    def write(number: int) -> None:
        for name, text in OPTIONS.items():
            file = region.folder / "config" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text.format(n=number), encoding="utf-8")

    yield write
    for name in OPTIONS:
        (region.folder / "config" / name).unlink(missing_ok=True)
    for folder in reversed(made):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    region.apply()


def measured(region: RegionUnderTest) -> dict[str, dict[str, Any]]:
    """What the run's own prober saw, by kind."""
    run = region.scs("runs", "show", "--json").json()
    assert run["status"] == "done", run["message"]
    return {s["kind"]: s for s in run["measured"]}


def test_no_request_fails_while_the_apis_change(trial: Faults, region: RegionUnderTest, overrides: Any) -> None:
    with trial(longest=None) as t:
        overrides(1001)
        region.scs("apply", "--yes", *SERVICES, timeout=1800)
        t.whole_again()
    seen = measured(region)
    failed = {kind: s["errors"] for kind, s in seen.items() if s["failed"]}
    assert seen, "the run was not measured"
    assert not failed, failed


def test_a_run_whose_manager_dies_is_resumed(trial: Faults, region: RegionUnderTest, overrides: Any) -> None:
    with trial(longest=None) as t:
        overrides(1002)
        process = region.start("apply", "--yes", *SERVICES)
        deaths = 0
        while True:
            moment = random.uniform(5, 60)
            try:
                process.wait(timeout=moment)
                break
            except subprocess.TimeoutExpired:
                if deaths == KILLS:
                    process.wait(timeout=1800)
                    break
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            deaths += 1
            run = region.scs("runs", "show", "--json").json()
            t.note(f"the manager died after {moment:.0f} s: {run['changes_done']} of {run['changes_total']} changes")
            assert run["status"] == "interrupted"
            # what Ansible left on the hosts ends by itself; the next run waits for it
            time.sleep(2)
            process = region.start("runs", "resume", "--yes")
        assert process.returncode == 0, process.communicate()[0]
        run = region.scs("runs", "show", "--json").json()
        assert (run["status"], run["attempt"]) == ("done", deaths + 1)
        t.whole_again()
