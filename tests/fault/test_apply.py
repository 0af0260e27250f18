# SPDX-License-Identifier: Apache-2.0
"""A node dies under `scs apply`: the command says so, and finishes when it is repeated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.blackbox import RegionUnderTest
from tests.fault.conftest import Faults
from tests.fault.faults import Node, wait
from tests.fault.members import Membership

CONTAINER = "placement"
OPTION = "[placement]\nrandomize_allocation_candidates = false\n"
"""The default, written down: it restarts the container on each host and changes nothing else."""


@pytest.fixture
def override(region: RegionUnderTest) -> Iterator[Path]:
    """A file that changes a container's configuration; it goes away and is applied without."""
    file = region.folder / "config" / CONTAINER / "placement.conf"
    assert not file.exists(), f"{file} is the operator's: this test would overwrite it"
    made = [p for p in (file.parent.parent, file.parent) if not p.exists()]
    file.parent.mkdir(parents=True, exist_ok=True)
    yield file
    file.unlink(missing_ok=True)
    for folder in reversed(made):
        folder.rmdir()
    region.apply()


def test_a_dead_control_host_keeps_nobody_from_repairing_another(
    trial: Faults, members: Membership, region: RegionUnderTest, override: Path
) -> None:
    """A plan for all hosts is refused in one line; with --host others change, and no drain needs the dead host."""
    first, *_, victim = list(members.nodes.values())
    with trial(lost=victim.host) as t:
        before = first.started(CONTAINER)
        victim.kill()
        try:
            t.answers_for(10)
            override.write_text(OPTION, encoding="utf-8")
            refused = region.scs("apply", "--yes", CONTAINER, expect=2)
            assert f"host {victim.host} is unreachable" in refused.err
            assert refused.err.count("\n") == 1
            done = region.scs("apply", "--yes", CONTAINER, "--host", first.host)
            t.note(f"with --host {first.host}: {done.out.strip().splitlines()[-1]}")
            assert first.started(CONTAINER) != before
            states = region.scs("status", CONTAINER, "--json", expect=1).json()
            assert [s["host"] for s in states if s["state"] == "unreachable"] == [victim.host]
        finally:
            t.returns()
            victim.start()
        t.whole_again()
        region.scs("apply", "--yes", CONTAINER)


def test_an_override_that_changes_during_a_run_is_named(
    trial: Faults, members: Membership, region: RegionUnderTest, override: Path
) -> None:
    """All hosts get what the plan said, none the later text; the run says that it could not verify, and why."""
    nodes = list(members.nodes.values())
    with trial():
        before = {node.host: node.started(CONTAINER) for node in nodes}
        override.write_text(OPTION, encoding="utf-8")
        process = region.start("apply", "--yes", CONTAINER)
        wait(
            lambda: any(n.started(CONTAINER) != before[n.host] for n in nodes) or process.poll() is not None,
            120, "the first restart", interval=0.2,
        )  # fmt: skip
        override.write_text(OPTION.replace("false", "true"), encoding="utf-8")
        output = process.communicate(timeout=600)[0]
        assert process.returncode == 1, output
        assert "not verified" in output and "placement.conf was changed" in output
        for node in nodes:
            text = region.on(node.host, "cat", f"/etc/scs/{CONTAINER}/placement.conf")
            assert "randomize_allocation_candidates = false" in text
        override.write_text(OPTION, encoding="utf-8")
        assert region.plan() == []


def test_node_dies_under_apply(trial: Faults, members: Membership, region: RegionUnderTest, override: Path) -> None:
    nodes = list(members.nodes.values())
    with trial() as t:
        before = {node.host: node.started(CONTAINER) for node in nodes}
        override.write_text(OPTION, encoding="utf-8")
        process = region.start("apply", "--yes", CONTAINER)

        def restarted() -> list[Node]:
            return [node for node in nodes if node.started(CONTAINER) != before[node.host]]

        wait(lambda: restarted() or process.poll() is not None, 120, "the first restart", interval=0.2)
        done = {node.host for node in restarted()}
        victim = next(node for node in reversed(nodes) if node.host not in done)
        try:
            victim.kill()
            output = process.communicate(timeout=600)[0]
            t.note(f"{victim} died after {', '.join(sorted(done))}; apply said: {output.strip().splitlines()[-1]}")
            assert process.returncode == 1, output
            assert victim.host in output.strip().splitlines()[-1], output
            run = region.scs("runs", "show", "--json").json()
            steps = {(s["host"], s["status"]) for s in run["steps"]}
            assert run["status"] == "failed"
            assert {(host, "done") for host in done} <= steps
            assert (victim.host, "failed") in steps
            assert run["changes_done"] < run["changes_total"]
            t.answers_for(10)
        finally:
            t.returns()
            victim.start()
        t.whole_again()
        again = region.scs("apply", "--yes", CONTAINER)
        t.note(f"the same command: {again.out.strip().splitlines()[-1]}")
        assert all(node.started(CONTAINER) != before[node.host] for node in nodes)
