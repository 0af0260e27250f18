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
