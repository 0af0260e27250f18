# SPDX-License-Identifier: Apache-2.0
"""Drift is seen and repaired; an option changes what it names; an interrupted apply is finished by the next."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openstack
import pytest

from tests.e2e.blackbox import RegionUnderTest, wait

pytestmark = pytest.mark.e2e


@pytest.fixture(autouse=True)
def clean(region: RegionUnderTest) -> Iterator[None]:
    """Each test begins and ends with nothing to change."""
    assert region.plan() == []
    yield
    assert region.plan() == []


def first_host(region: RegionUnderTest, container: str) -> str:
    return next(host for host, name in region.containers() if name == container)


def test_removed_containers_are_made_again(region: RegionUnderTest) -> None:
    names = ("glance", "keystone", "memcached_tls")
    removed = [(first_host(region, name), name) for name in names]
    for host, name in removed:
        region.on(host, "docker", "rm", "--force", name)
    before = region.snapshot()
    changes = region.plan()
    print(changes)
    assert {(c["host"], c["subject"], c["kind"]) for c in changes} == {(h, n, "create") for h, n in removed}
    region.apply()
    after = region.snapshot()
    assert {name for name in after if before.get(name) != after[name]} == set(removed)
    for host, name in removed:
        region.wait_healthy(host, name)


def test_file_edited_by_hand_is_put_right(region: RegionUnderTest) -> None:
    host = first_host(region, "keystone")
    path = "/etc/scs/keystone/keystone.conf"
    before = region.on(host, "cat", path)
    region.on(host, "sh", "-c", f"printf '[token]\\nexpiration = 60\\n' >> {path}")
    changes = region.plan()
    print(changes)
    assert {(c["host"], c["kind"], c["subject"]) for c in changes} == {
        (host, "file", "keystone/keystone.conf"),
        (host, "restart", "keystone"),
    }
    region.apply()
    assert region.on(host, "cat", path) == before


@pytest.fixture
def override(region: RegionUnderTest) -> Iterator[Path]:
    """The folder of override files, which must be empty; emptied and applied afterwards."""
    folder = region.folder / "config"
    assert not [p for p in folder.rglob("*") if p.is_file()], f"{folder} is the operator's"
    folder.mkdir(exist_ok=True)
    yield folder
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    region.apply()


def test_an_option_changes_what_it_names(region: RegionUnderTest, override: Path) -> None:
    before = region.snapshot()
    (override / "keystone.conf").write_text("[token]\nexpiration = 7201\n")
    changes = region.plan()
    print(changes)
    touched = {(c["host"], c["subject"]) for c in changes}
    assert {name for _, name in touched} == {
        "keystone/keystone.conf", "keystone_fernet/keystone.conf", "keystone", "keystone_fernet",
    }  # fmt: skip
    assert {c["kind"] for c in changes} == {"file", "restart"}
    assert all("[token] expiration 3600 -> 7201" in c["reason"] for c in changes), changes
    explained = region.scs("config", "explain", "keystone", "keystone.conf").out
    assert "config/keystone.conf" in explained
    region.apply()
    assert region.plan() == []
    after = region.snapshot()
    assert before.keys() == after.keys()
    assert {name for name in after if before[name] != after[name]} == touched
    region.scs("validate", "token")


@pytest.mark.long
def test_interrupted_apply_is_finished_by_the_next(region: RegionUnderTest, override: Path) -> None:
    before = everything(region)
    for number, devices in ((signal.SIGINT, 4), (signal.SIGKILL, 5)):
        (override / "nova.conf").write_text(f"[DEFAULT]\nmax_local_block_devices = {devices}\n")
        assert len([c for c in region.plan() if c["kind"] == "restart"]) >= 5
        output = interrupt(region, number)
        record = region.scs("runs", "show", "--json").json()
        done = f"{record['changes_done']} of {record['changes_total']}"
        print(f"{number.name}: {output.splitlines()[-1]!r}; record {record['id']} {record['status']}, {done}")
        assert record["status"] == "interrupted"
        assert record["changes_done"] < record["changes_total"]
    print(region.apply().out)
    assert region.plan() == []
    region.scs("validate", "catalogue", "services-up")
    assert everything(region) == before


def interrupt(region: RegionUnderTest, number: signal.Signals) -> str:
    """Apply, send a signal in the middle of the restarts; returns what the apply printed."""
    latest = region.scs("runs", "list", "--limit", "1", "--json").json()[0]["id"]
    run = region.start("apply", "--yes")
    try:

        def rolling() -> bool:
            assert run.poll() is None, f"apply ended before it was interrupted: {run.communicate()[0]}"
            newest = region.scs("runs", "list", "--limit", "1", "--json").json()[0]["id"]
            steps = region.scs("runs", "show", newest, "--json").json()["steps"] if newest != latest else []
            return any(s["phase"] == "roll" and s["status"] == "running" for s in steps)

        wait(rolling, 120, "apply has begun no restart", 0.1)
        if number is signal.SIGINT:
            refused = region.scs("apply", "--yes", expect=2)
            print(refused.err.strip())
            assert f"@{socket.gethostname()} (pid {run.pid}, `scs apply --yes`) since 20" in refused.err
        os.killpg(run.pid, number)
        output = run.communicate(timeout=120)[0]
    finally:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
            run.wait()
    assert "Traceback" not in output
    if number is signal.SIGINT:
        assert run.returncode == 130, output
        assert output.endswith("interrupted; run the same command again to continue\n")
    return output


def everything(region: RegionUnderTest) -> dict[str, list[str]]:
    """All containers, accounts, catalogue entries and agents: none may double."""
    files = {"OS_CLIENT_CONFIG_FILE": "clouds.yaml", "OS_CLIENT_SECURE_FILE": "secure.yaml"}
    with pytest.MonkeyPatch.context() as patch:
        for name, file in files.items():
            patch.setenv(name, str(region.folder / "state" / file))
        with openstack.connect(cloud=f"{region.name}-admin") as cloud:
            identity: Any = cloud.identity
            found = {
                "services": [s.type for s in identity.services()],
                "endpoints": [f"{e.interface} {e.url}" for e in identity.endpoints()],
                "users": [u.name for u in identity.users()],
                "projects": [p.name for p in identity.projects()],
                "roles": [str(r.to_dict()["scope"]) + r.user["id"] for r in identity.role_assignments() if r.user],
                "compute": [f"{s.binary} {s.host}" for s in cloud.compute.services()],
                "agents": [f"{a.binary} {a.host}" for a in cloud.network.agents()],
                "hypervisors": [h.name for h in cloud.compute.hypervisors()],
            }
    for host in sorted({host for host, _ in region.containers()}):
        found[host] = region.on(host, "docker", "ps", "--all", "--format", "{{.Names}}").split()
    return {kind: sorted(names) for kind, names in found.items()}
