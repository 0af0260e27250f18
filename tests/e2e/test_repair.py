# SPDX-License-Identifier: Apache-2.0
"""Drift is seen and repaired; an option changes what it names; an interrupted apply is finished by the next."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from blackbox import RegionUnderTest, wait

pytestmark = pytest.mark.e2e


@pytest.fixture(autouse=True)
def clean(region: RegionUnderTest) -> Iterator[None]:
    """Each test begins and ends with nothing to change."""
    assert region.plan() == []
    yield
    assert region.plan() == []


def first_host(region: RegionUnderTest, container: str) -> str:
    return next(host for host, name in region.containers() if name == container)


@pytest.mark.parametrize("container", ["glance", "keystone", "memcached"])
def test_removed_container_is_made_again(region: RegionUnderTest, container: str) -> None:
    host = first_host(region, container)
    region.on(host, "docker", "rm", "--force", container)
    changes = region.plan()
    assert [(c["host"], c["subject"], c["kind"]) for c in changes] == [(host, container, "create")]
    region.apply()
    region.wait_healthy(host, container)


def test_file_edited_by_hand_is_put_right(region: RegionUnderTest) -> None:
    host = first_host(region, "keystone")
    path = "/etc/scs/keystone/keystone.conf"
    before = region.on(host, "cat", path)
    region.on(host, "sh", "-c", f"echo '# by hand' >> {path}")
    changes = region.plan()
    assert {c["service"] for c in changes} == {"keystone"}
    assert {c["host"] for c in changes} == {host}
    assert any(c["kind"] == "file" and "keystone.conf" in c["subject"] for c in changes), changes
    region.apply()
    assert region.on(host, "cat", path) == before


@pytest.fixture
def override(region: RegionUnderTest) -> Iterator[Path]:
    """An override file of keystone.conf that does not exist yet; removed and applied afterwards."""
    path = region.folder / "config" / "keystone" / "keystone.conf"
    assert not path.exists(), f"{path} is the operator's"
    made = [p for p in (path.parent, path.parent.parent) if not p.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    yield path
    path.unlink(missing_ok=True)
    for folder in made:
        folder.rmdir()
    region.apply()


def test_an_option_changes_what_it_names(region: RegionUnderTest, override: Path) -> None:
    ids = {
        (host, name): (state["Id"], state["State"]["StartedAt"])
        for host, name in region.containers()
        for state in [region.inspect(host, name)]
    }
    override.write_text("[token]\nexpiration = 7201\n")
    changes = region.plan()
    assert {c["service"] for c in changes} == {"keystone"}
    reasons = " ".join(c["reason"] for c in changes)
    assert "expiration" in reasons and "7201" in reasons, changes
    explained = region.scs("config", "explain", "keystone", "keystone.conf").out
    assert str(override.relative_to(region.folder)) in explained
    region.apply()
    assert region.plan() == []
    touched = {
        name
        for (host, name), before in ids.items()
        for state in [region.inspect(host, name)]
        if (state["Id"], state["State"]["StartedAt"]) != before
    }
    assert touched == {c["subject"] for c in changes if c["kind"] in ("replace", "restart", "create")}
    region.scs("validate", "token")


def test_interrupted_apply_is_finished_by_the_next(region: RegionUnderTest) -> None:
    removed = [(first_host(region, name), name) for name in ("glance", "placement", "nova_scheduler", "horizon")]
    for host, name in removed:
        region.on(host, "docker", "rm", "--force", name)
    wanted = {(c["host"], c["subject"]) for c in region.plan()}
    assert wanted >= set(removed)
    run = region.start("apply", "--yes")
    try:

        def at_work() -> bool:
            assert run.poll() is None, f"apply ended before it was interrupted: {run.communicate()[0]}"
            latest = region.scs("runs", "list", "--limit", "1", "--json").json()
            shown = region.scs("runs", "show", latest[0]["id"], "--json").json() if latest else {"steps": []}
            return bool(latest) and latest[0]["status"] == "running" and bool(shown["steps"])

        wait(at_work, 120, "apply has begun no step", 0.2)
        refused = region.scs("apply", "--yes", expect=2)
        assert "is locked by" in refused.err and f"pid {run.pid}" in refused.err
        os.killpg(run.pid, signal.SIGINT)
        output = run.communicate(timeout=120)[0]
        assert run.returncode == 130, output
        assert "Traceback" not in output
    finally:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
            run.wait()
    assert region.scs("runs", "show", "--json").json()["status"] == "interrupted"
    region.apply()
    for host, name in removed:
        region.wait_healthy(host, name)
    names = region.on(removed[0][0], "docker", "ps", "--all", "--format", "{{.Names}}").split()
    assert len(names) == len(set(names))
    region.scs("validate", "catalogue")
