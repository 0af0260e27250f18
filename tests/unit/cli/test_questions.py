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

SCS = [sys.executable, "-c", "from scs_deploy.cli.main import main; main()"]


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


@pytest.fixture(scope="module")
def regions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A region that is complete enough to plan with names."""
    folder = tmp_path_factory.mktemp("regions")
    subprocess.run([*SCS, "env", "init", "berlin", "--from", "testbed"], env=environ(folder), check=True,
                   capture_output=True)  # fmt: skip
    return folder


def environ(regions: Path) -> dict[str, str]:
    return {**os.environ, "SCS_ENVIRONMENTS": str(regions)}


def refused(regions: Path, *arguments: str) -> str:
    """The message of a command that has no terminal and no --yes."""
    command = [*SCS, *arguments, "-e", "berlin"]
    done = subprocess.run(
        command, env=environ(regions), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    return done.stderr


@pytest.mark.parametrize("arguments", [("apply",), ("apply", "keystone"), ("upgrade", "run")])
def test_commands_that_interrupt_services_need_confirmation(arguments: tuple[str, ...], regions: Path) -> None:
    assert refused(regions, *arguments) == (
        "error: confirmation required, but no terminal is attached (add --yes)\n"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("apply", "keystoen"), "no service, layer or container 'keystoen' (did you mean keystone"),
        (("apply", "openstak"), "no service, layer or container 'openstak' (did you mean openstack, "),
        (("apply", "--host", "testbed-9"), "no host 'testbed-9' in the inventory (did you mean testbed-1?)"),
        (("restart", "keystoen"), "no service, layer or container 'keystoen'"),
        (("stop", "keystone", "--host", "testbed-9"), "no host 'testbed-9' in the inventory"),
        (("upgrade", "release", "1999.1"), "no release '1999.1'"),
        (("runs", "resume"), "no run was recorded in this region yet"),
        (("rollback", "nosuch"), "no run 'nosuch'"),
        (("backup", "restore"), "/"),
    ],
)
def test_without_a_terminal_the_real_reason_comes_first(arguments: tuple[str, ...], reason: str, regions: Path) -> None:
    said = refused(regions, *arguments)
    assert reason in said
    assert "--yes" not in said


def test_a_suggestion_is_never_what_was_refused(regions: Path) -> None:
    """keystone is a container too, nova is not."""
    said = refused(regions, "config", "show", "nova", "nova.conf")
    assert "no container 'nova' (it is a service; its containers are: nova_" in said
    assert "did you mean nova_api" in refused(regions, "config", "show", "nova_ap", "nova.conf")
