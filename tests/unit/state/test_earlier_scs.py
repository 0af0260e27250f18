# SPDX-License-Identifier: Apache-2.0
"""An update of scs keeps regions, secrets, run records and locks; going back is refused before anything changes.

The region is one that an earlier scs made: a snapshot of tests/fixtures, whose manager died during its last run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from scs_deploy.environment import environment as environments
from scs_deploy.operations.apply import Apply
from scs_deploy.operations.resume import resumption
from scs_deploy.region.region import Region
from scs_deploy.secrets import vault
from scs_deploy.state import snapshot
from scs_deploy.state.lock import region_lock
from scs_deploy.state.runs import run_store

ROOT = Path(__file__).parents[3]
EARLIER = "d20b7dde0"
MAIN = "import sys; from scs_deploy.cli.main import main; sys.argv[0] = 'scs'; main()"

APPLIED, RESTARTED, SAVED, FAILED, LAST = "06b3kvc67", "06b3kvcdd", "06b3kvcez", "06b3kvdn7", "06b3kvhaq"


@pytest.fixture
def region(tmp_path: Path) -> Path:
    """The folder of the region `berlin`."""
    archive = ROOT / "tests" / "fixtures" / f"region-of-{EARLIER}.tar.gz"
    subprocess.run(["tar", "-x", "-f", archive, "-C", tmp_path], check=True)
    return tmp_path / "berlin"


@pytest.fixture
def complete(region: Path) -> Path:
    """The same, with the setting that today's scs requires."""
    with (region / "inventory" / "group_vars" / "all.yml").open("a") as file:
        file.write("neutron_dns_servers: [192.0.2.53]\n")
    return region


def scs(region: Path, *arguments: str, code: int = 0, root: Path = ROOT) -> str:
    """What a command says, of today's scs or of that in `root`."""
    environ = {**os.environ, "SCS_ENVIRONMENTS": str(region.parent), "SCS_ENVIRONMENT": "berlin", "COLUMNS": "160"}
    command = [sys.executable, "-c", MAIN, *arguments]
    done = subprocess.run(command, cwd=root, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr if code else done.stdout


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout of the earlier scs."""
    if subprocess.run(["git", "-C", ROOT, "cat-file", "-e", f"{EARLIER}^{{commit}}"], capture_output=True).returncode:
        pytest.skip(f"this clone is shallow: it has no commit {EARLIER}")
    folder = tmp_path_factory.mktemp("earlier")
    packed = subprocess.run(["git", "-C", ROOT, "archive", EARLIER], check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", folder], input=packed, check=True)
    return folder


def test_records_are_all_there(region: Path) -> None:
    runs = {r["id"]: r for r in json.loads(scs(region, "runs", "list", "--json"))}
    assert {i: (r["command"], r["status"], r["changing"]) for i, r in runs.items()} == {
        LAST: ("scs apply", "interrupted", True),
        FAILED: ("scs apply keystone", "failed", True),
        SAVED: ("scs backup create", "done", False),
        RESTARTED: ("scs restart keystone", "done", True),
        APPLIED: ("scs apply --yes", "done", True),
    }
    shown = json.loads(scs(region, "runs", "show", APPLIED, "--json"))
    (step,) = shown["steps"]
    assert (step["host"], step["subject"], step["status"], step["jobs"]) == ("testbed-1", "keystone", "done", None)
    (measured,) = shown["measured"]
    assert (measured["requests"], measured["failed"], measured["gap"]["seconds"]) == (90, 2, 1.5)
    assert "override keystone.conf: [token] expiration 3600 -> 7200" in scs(region, "runs", "diff", APPLIED, FAILED)


def test_what_earlier_records_lack_is_said_in_a_line(region: Path) -> None:
    shown = scs(region, "runs", "show", FAILED, "--plan").splitlines()
    assert "an earlier scs, which recorded neither its version nor its plan" in shown
    assert "no plan is recorded for this run" in shown
    assert "keystone is not healthy" in shown


def vault_values(region: Path) -> dict[str, str]:
    """Every secret of the region."""
    password = (region / "vault_password").read_bytes().strip()
    text = vault.decrypt((region / "secrets.yml").read_text(), password, "secrets.yml")
    return dict(yaml.safe_load(text))


def test_secrets_and_the_ca_are_the_same(region: Path) -> None:
    before = (region / "ca.crt").read_bytes()
    secure = yaml.safe_load((region / "state" / "secure.yaml").read_text())
    password = secure["clouds"]["berlin-admin"]["auth"]["password"]
    assert scs(region, "secrets", "show", "keystone_admin_password").strip() == password
    # a host had one certificate for everything
    parts = {p["part"]: p for p in json.loads(scs(region, "env", "check", "--json", code=2))["parts"]}
    assert "galera/testbed-1" in parts["certificates"]["error"]
    assert parts["certificates"]["hint"] == "scs secrets init"
    before_secrets = vault_values(region)
    said = scs(region, "secrets", "init")
    assert "backup_signing_key" in said
    # what a later scs needs is added, everything else stays
    assert vault_values(region).items() >= before_secrets.items()
    assert "certificates: 0 issued" in scs(region, "secrets", "init")
    assert (region / "ca.crt").read_bytes() == before
    parts = {p["part"]: p for p in json.loads(scs(region, "env", "check", "--json", code=2))["parts"]}
    assert not parts["certificates"].get("error")


def build_new_images(region: Path) -> None:
    """What `scs images build` adds to the lock: images of services that are new."""
    lock = region / "release.lock.yml"
    data = yaml.safe_load(lock.read_text(encoding="utf-8"))
    data["images"].setdefault("barbican", {"reference": "scs/barbican", "digest": f"sha256:{1:064x}", "size": 1})
    lock.write_text(yaml.safe_dump(data), encoding="utf-8")


def test_what_the_description_lacks_is_said_in_a_line_before_a_plan(region: Path) -> None:
    parts = json.loads(scs(region, "env", "check", "--json", code=2))["parts"]
    (error,) = [p["error"] for p in parts if p["part"] == "name servers"]
    scs(region, "secrets", "init")
    assert "scs images build barbican" in scs(region, "plan", "--offline", code=2)
    build_new_images(region)
    assert "host testbed-1: neutron_dns_servers: not set" in error
    assert error in scs(region, "plan", "--offline", code=2).replace("\n", "")


def test_the_region_is_planned_with_its_own_values(complete: Path) -> None:
    scs(complete, "secrets", "init")
    build_new_images(complete)
    (host,) = json.loads(scs(complete, "plan", "--offline", "--json"))["hosts"]
    assert {"keystone", "glance", "nova_compute"} <= host["containers"].keys()
    assert scs(complete, "config", "diff", "keystone", "keystone.conf").strip() == "[token] expiration 3600 -> 7200"


def test_the_last_run_can_be_resumed(complete: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCS_ENVIRONMENTS", str(complete.parent))
    operation, run = resumption(Region.load("berlin"), None)
    assert isinstance(operation, Apply)
    assert (run.id, operation.command) == (LAST, "scs apply")


def test_a_rollback_finds_the_earlier_inputs(region: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCS_ENVIRONMENTS", str(region.parent))
    environment = environments.load("berlin")
    with run_store(environment) as store:
        before = snapshot.load(environment, store.get(FAILED).before)
    assert before.overrides() == {"keystone.conf": b"[token]\nexpiration = 3600\n"}
    assert before.lock.read_bytes() == environment.lock_file.read_bytes()


def test_the_lock_of_a_manager_that_died_is_free(region: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCS_ENVIRONMENTS", str(region.parent))
    held = json.loads((region / "state" / "lock").read_text())
    with region_lock(environments.load("berlin")) as lock:
        assert lock.token == held["token"] + 1


def test_the_earlier_scs_refuses_todays_records(region: Path, earlier: Path) -> None:
    # reading changes nothing; writing brings the records to today's version
    scs(region, "runs", "abandon", LAST)
    database = region / "state" / "runs.sqlite3"
    before = database.read_bytes()
    for command in (("runs", "list"), ("runs", "resume", "--yes")):
        said = scs(region, *command, code=2, root=earlier).splitlines()
        assert said == ["error: run records are of version 9, this scs knows 4 (use the newer scs for this region)"]
    assert database.read_bytes() == before
    # what has no version of its own reads the same in both
    assert scs(region, "secrets", "list", root=earlier)


def test_todays_lock_keeps_the_earlier_scs_out(region: Path, earlier: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCS_ENVIRONMENTS", str(region.parent))
    with region_lock(environments.load("berlin"), "scs upgrade run"):
        said = scs(region, "apply", "--yes", code=2, root=earlier)
    assert "region berlin is locked by" in said
    assert "`scs upgrade run`" in said
