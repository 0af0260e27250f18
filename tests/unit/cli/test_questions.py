# SPDX-License-Identifier: Apache-2.0
"""What the operator is asked before something changes."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scs_deploy.cli._asking import question_of
from scs_deploy.plan.change import Change, Kind
from scs_deploy.plan.region import Plan
from scs_deploy.region.region import Region
from scs_deploy.spec.container import Impact
from scs_deploy.spec.job import Phase
from scs_deploy.state.measurement import Gap, Summary
from scs_deploy.state.runs import run_store


def change(host: str, impact: Impact) -> Change:
    return Change(
        kind=Kind.RESTART, service="keystone", host=host, subject="keystone", reason="", phase=Phase.ROLL, impact=impact
    )


@pytest.fixture
def region(testbed: Region, tmp_path: Path) -> Region:
    return dataclasses.replace(testbed, environment=testbed.environment.model_copy(update={"path": tmp_path}))


def test_it_names_region_count_hosts_and_worst_impact(region: Region) -> None:
    plan = Plan(changes=(change("a", Impact.RELOAD), change("b", Impact.API), change("b", Impact.NONE)))
    assert question_of("apply", region, plan) == "apply 3 changes on 2 hosts of testbed (worst impact: api)?"
    plan = Plan(changes=(change("region", Impact.NONE),))
    assert question_of("apply", region, plan) == "apply 1 change in testbed (worst impact: none)?"


def test_it_tells_what_users_noticed_before(region: Region) -> None:
    gap = Gap(kind="token issue", begin=0.0, seconds=1.94)
    summary = Summary(
        kind="token issue", requests=9, failed=0, per_second=1, p50=0.1, p99=0.2, gap=gap, errors={}
    )  # fmt: skip
    with run_store(region.environment) as store, store.start("scs apply").recording() as run:
        run.measuring()([summary])
    asked = question_of("apply", region, Plan(changes=(change("a", Impact.API),)))
    assert asked.endswith("(worst impact: api; the longest gap in the latest measured run was 1.9 s)?")
    # what users cannot notice says nothing of gaps
    assert "gap" not in question_of("apply", region, Plan(changes=(change("a", Impact.NONE),)))


@pytest.mark.parametrize("verb", ["stop", "restart"])
def test_commands_that_interrupt_services_need_confirmation(verb: str, tmp_path: Path) -> None:
    program = [sys.executable, "-c", "from scs_deploy.cli.main import main; main()"]
    environ = {**os.environ, "SCS_ENVIRONMENTS": str(tmp_path)}
    subprocess.run([*program, "env", "init", "berlin"], env=environ, check=True, capture_output=True)
    command = [*program, verb, "keystone", "-e", "berlin"]
    done = subprocess.run(command, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        2, "error: confirmation required, but no terminal is attached (add --yes)\n"
    )  # fmt: skip
