# SPDX-License-Identifier: Apache-2.0
"""After a run, monitoring hosts have what only the manager knows; that never fails the run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from scs_deploy.base import paths
from scs_deploy.base.errors import ScsError
from scs_deploy.base.model import Model
from scs_deploy.engine.events import Event, Note, Watch, ignore
from scs_deploy.operations import manager_metrics
from scs_deploy.operations.backup import proofs
from scs_deploy.operations.base import Operation, Session
from scs_deploy.region.certificates import wanted_leaves
from scs_deploy.region.region import Region
from scs_deploy.secrets import pki, store, vault
from scs_deploy.state.runs import run_store
from tests.support import fake_ssh, shipped
from tests.support.images import needs

EXPORTERS = "scs/exporters:2025.1"
NODE = "testbed-1"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped environment, with its secrets and certificates."""
    folder = tmp_path_factory.mktemp("environments") / "testbed"
    shipped.environment(paths.root() / "environments" / "testbed", folder)
    shutil.copytree(paths.root() / "inventories" / "testbed", folder / "inventory")
    file = folder / "environment.yml"
    file.write_text(file.read_text(encoding="utf-8").replace("../../inventories/testbed", "inventory"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCS_ENVIRONMENTS", str(folder.parent))
        made = Region.load("testbed")
    vault.create_password(made.environment)
    store.ensure(made.environment, made.catalog.secrets(), made.catalog.secret_formats)
    pki.ensure(made.environment, wanted_leaves(made.environment, made.catalog, made.inventory))
    made.environment.ssh_key.parent.mkdir(parents=True, exist_ok=True)
    made.environment.ssh_key.write_text("a key\n", encoding="utf-8")
    return folder


@pytest.fixture
def region(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Region]:
    """A copy of it, whose host is a folder of the test."""
    shutil.copytree(template, tmp_path / "environments" / "testbed")
    monkeypatch.setenv("SCS_ENVIRONMENTS", str(tmp_path / "environments"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}/hosts/bin:{os.environ['PATH']}")
    with fake_ssh.serving(tmp_path / "hosts"):
        yield Region.load("testbed")


class Request(Model):
    """Of the operation below."""

    fail: bool = False


class Example(Operation[Request, tuple[str, ...], str]):
    """Does nothing, or fails."""

    name = "example"
    requests = Request
    repeat = "a test"

    def plan(self, watch: Watch = ignore) -> tuple[str, ...]:
        return ("one",)

    def total(self, plan: tuple[str, ...]) -> int:
        return len(plan)

    def empty_result(self, plan: tuple[str, ...]) -> str:
        return ""

    def carry_out(self, session: Session, plan: tuple[str, ...]) -> str:
        if self.request.fail:
            raise ScsError("it failed")
        return "done"


def written(tmp_path: Path) -> dict[str, float]:
    file = tmp_path / "hosts/lib/metrics/manager.prom"
    lines = file.read_text(encoding="utf-8").splitlines()
    return {
        line.rpartition(" ")[0].replace("{}", ""): float(line.rpartition(" ")[2]) for line in lines if line[0] != "#"
    }


def test_a_run_is_told_and_one_that_failed_too(region: Region, tmp_path: Path) -> None:
    events: list[Event] = []
    assert Example(region, Request()).run(events.append) == "done"
    assert [e for e in events if isinstance(e, Note)] == []
    found = written(tmp_path)
    assert found['scs_manager_run_succeeded{operation="example"}'] == 1
    assert found["scs_manager_run_unfinished"] == 0
    assert found['scs_manager_run_finished_timestamp_seconds{operation="example"}'] == pytest.approx(
        time.time(), abs=60
    )
    # no backup yet: it counts from the first run
    assert found["scs_manager_backup_timestamp_seconds"] == pytest.approx(time.time(), abs=60)
    end = found['scs_manager_authority_not_after_timestamp_seconds{authority="issues"}']
    assert end > time.time() + 365 * 86400
    assert 'scs_manager_authority_not_after_timestamp_seconds{authority="ovn_control"}' in found
    with pytest.raises(ScsError, match="it failed"):
        Example(region, Request(fail=True)).run()
    found = written(tmp_path)
    assert found['scs_manager_run_succeeded{operation="example"}'] == 0
    assert found["scs_manager_run_unfinished"] == 1


def test_backups_and_upgrades(region: Region, tmp_path: Path) -> None:
    with run_store(region.environment) as runs:
        for command, operation, end in (
            ("scs backup create", "backup create", "done"),
            ("scs upgrade run --unattended --images", "upgrade", "done"),
            ("scs upgrade run", "upgrade", "failed"),
            ("scs backup create --only keystone", "backup create", "done"),
            ("scs backup create", "backup create", "failed"),
        ):
            runs.start(command, operation=operation, changing=operation == "upgrade").finish(end)
            time.sleep(0.01)
        started = {r.command: r for r in runs.list() if r.status == "done"}
    proofs.remember(region.environment, "20260131T023000Z")
    proofs.remember(region.environment, "20260130T023000Z")
    manager_metrics.push(region, pytest.fail)
    found = written(tmp_path)
    assert found["scs_manager_backup_verified_timestamp_seconds"] == 1769826600
    assert found['scs_manager_run_succeeded{operation="backup create"}'] == 0
    whole, night = started["scs backup create"].finished, started["scs upgrade run --unattended --images"].finished
    assert whole
    assert night
    assert found["scs_manager_backup_timestamp_seconds"] == pytest.approx(whole.timestamp(), abs=0.005)
    assert found["scs_manager_upgrade_timestamp_seconds"] == pytest.approx(night.timestamp(), abs=0.005)
    assert found["scs_manager_run_unfinished"] == 1, "the upgrade by hand"


def test_a_host_that_is_gone_fails_no_run(region: Region, tmp_path: Path) -> None:
    variables = region.environment.path / "inventory/host_vars" / f"{NODE}.yml"
    text = variables.read_text(encoding="utf-8")
    variables.write_text(re.sub("^ansible_host: .*$", "ansible_host: gone.test", text, flags=re.MULTILINE))
    events: list[Event] = []
    assert Example(Region.load("testbed"), Request()).run(events.append) == "done"
    (note,) = (e.text for e in events if isinstance(e, Note))
    assert note.startswith(f"monitoring was not told of this run: {NODE}: ")
    assert "No route to host" in note
    assert "\n" not in note
    assert not (tmp_path / "hosts/lib/metrics").exists()


def test_damaged_certificates_fail_no_run(region: Region) -> None:
    region.environment.certificates_file.write_text("no certificates\n", encoding="utf-8")
    said: list[str] = []
    manager_metrics.push(region, said.append)
    (line,) = said
    assert line.startswith("monitoring was not told of this run: ")


@needs(EXPORTERS)
def test_node_exporter_reads_it(region: Region, tmp_path: Path) -> None:
    Example(region, Request()).run()
    folder = tmp_path / "hosts/lib/metrics"
    for parent in (folder, *folder.parents):
        if tmp_path in (parent, *parent.parents):
            parent.chmod(0o755)
    start = "prometheus-node-exporter --web.listen-address=127.0.0.1:9100 --collector.disable-defaults"
    ask = "curl -s --retry 20 --retry-connrefused --retry-delay 1 127.0.0.1:9100/metrics"
    shell = f"{start} --collector.textfile --collector.textfile.directory=/m >/dev/null 2>&1 & {ask}"
    command = ["docker", "run", "--rm", "--network=none", "--user=prometheus", f"--volume={folder}:/m:ro", EXPORTERS]
    done = subprocess.run([*command, "sh", "-c", shell], capture_output=True, text=True, timeout=120, check=True)
    assert "node_textfile_scrape_error 0" in done.stdout
    assert 'scs_manager_run_succeeded{operation="example"} 1' in done.stdout
    assert 'node_textfile_mtime_seconds{file="/m/manager.prom"}' in done.stdout
