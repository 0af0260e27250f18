# SPDX-License-Identifier: Apache-2.0
"""`scs upgrade release` on a region without hosts: what it refuses before it asks one, and what its files become."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import typer
from typer.testing import CliRunner

from scs_deploy.base import paths
from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.cli import env, images, upgrade
from scs_deploy.environment import environment as environments
from scs_deploy.environment import release_lock
from scs_deploy.environment.release_lock import load_lock
from scs_deploy.images import registry
from scs_deploy.operations.apply import Applied
from scs_deploy.operations.backup import proofs
from scs_deploy.operations.upgrade import release as release_upgrade
from scs_deploy.operations.upgrade.daily import DailyUpgrade
from scs_deploy.plan.region import Plan
from scs_deploy.region import inputs
from scs_deploy.region.region import Region
from scs_deploy.spec import release as releases
from scs_deploy.spec.release import Lock, LockedImage
from scs_deploy.state import snapshot
from scs_deploy.state.runs import RunStore
from tests.conftest import Certificates, Secrets

IMAGES = len(releases.load_release("2025.1").images)

app = typer.Typer()
env.register(app)
images.register(app)
upgrade.register(app)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A region at 2025.1, and releases 2025.1, 2026.1 (from it) and 2027.1 (from that one)."""
    shipped, root = paths.root(), tmp_path / "root"
    (root / "releases").mkdir(parents=True)
    for name in ("collections", "images", "environments", "inventories"):
        (root / name).symlink_to(shipped / name)
    text = (shipped / "releases" / "2025.1.yml").read_text()
    (root / "releases" / "2025.1.yml").write_text(text)
    for name, before in (("2026.1", "2025.1"), ("2027.1", "2026.1")):
        new = text.replace('openstack: "2025.1"', f'openstack: "{name}"\nupgrades_from: ["{before}"]')
        (root / "releases" / f"{name}.yml").write_text(new)
    monkeypatch.setenv("SCS_ROOT", str(root))
    monkeypatch.setenv("SCS_ENVIRONMENTS", str(tmp_path / "regions"))
    monkeypatch.delenv("SCS_ENVIRONMENT", raising=False)
    (tmp_path / "regions").mkdir()
    assert CliRunner().invoke(app, ["env", "init", "berlin", "--from", "testbed"]).exit_code == 0
    here = tmp_path / "regions" / "berlin"
    lock("2025.1")
    return here


def lock(release: str, mariadb: str = "1:11.8.3-1", leave_out: str = "") -> None:
    """What `scs images build` leaves of a release."""
    file = environments.load("berlin", release).lock_file
    names = sorted(n for n in releases.load_release(release).images if n != leave_out)
    digit = release[3]
    locked = {
        n: LockedImage(
            reference=f"scs/{n}", digest=f"sha256:{i:063x}{digit}", size=1,
            packages={"mariadb-server": mariadb} if n == "mariadb" else {},
        )
        for i, n in enumerate(names)
    }  # fmt: skip
    release_lock.save(Lock(release=release, images=locked), file)


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["upgrade", *arguments])
    if isinstance(result.exception, ScsError):
        raise result.exception
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def refused(*arguments: str) -> str:
    with pytest.raises(RefusedError) as error:
        run(*arguments)
    return f"{error.value.message} | {error.value.hint}"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("release", "2031.1"), "no release '2031.1' | there are: 2025.1, 2026.1, 2027.1"),
        (("release", "2027.1"), "cannot be reached directly from 2025.1 | scs upgrade release 2026.1"),
        (("release", "2026.1"), "images are not built"),
        (("--plan",), "--plan requires a release"),
        (("--no-backup",), "--no-backup requires a release"),
        (("release", "2026.1", "--plan", "--images"), "scs images build --release 2026.1"),
        (("--release", "2026.1", "--unattended"), "--release cannot be combined with --unattended"),
        (
            ("--release", "2026.1", "--timer", "*-*-* 03:00"),
            "--timer and --remove-timer cannot be combined",
        ),
        (("--release", "2027.1"), "cannot be reached directly from 2025.1"),
    ],
)
def test_refusals_that_change_nothing(arguments: tuple[str, ...], says: str, folder: Path) -> None:
    before = kept(folder)
    assert says in refused(*arguments, *(() if "--plan" in arguments else ("--yes",)))
    assert kept(folder) == before


def test_nobody_is_there_to_ask() -> None:
    assert "add --yes" in refused("--release", "2026.1")


def test_a_release_does_not_go_back(folder: Path) -> None:
    file = folder / "environment.yml"
    file.write_text(file.read_text().replace('release: "2025.1"', 'release: "2026.1"'))
    assert "release 2025.1 is not later than 2026.1" in refused("--release", "2025.1", "--yes")


def test_an_open_run_is_somebodys_decision(folder: Path) -> None:
    (folder / "state").mkdir(exist_ok=True)
    store = RunStore(folder / "state" / "runs.sqlite3")
    record = store.start("scs apply", changes_total=2, inputs="x", resume="{}")
    with pytest.raises(ScsError), record.recording():
        raise ScsError("host a: no space")
    store.close()
    lock("2026.1")
    said = refused("--release", "2026.1", "--yes")
    assert f"run {record.id} is failed" in said and f"scs runs resume {record.id}" in said


def test_images_that_the_registry_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    lock("2026.1", leave_out="nova")
    assert f"1 of {IMAGES} images are not built: nova" in refused("--release", "2026.1", "--plan")
    lock("2026.1")
    monkeypatch.setattr(registry, "missing", lambda _environment, _images: {"glance"})
    assert f"1 of {IMAGES} images are not built: glance" in refused("--release", "2026.1", "--plan")


def test_a_series_of_mariadb_that_members_may_not_go_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "missing", lambda _environment, _images: set())
    lock("2026.1", mariadb="1:13.4.1-1")
    assert "mariadb 11.8 -> 13.4: 11.8 can be upgraded to 12.3" in refused("--release", "2026.1", "--plan")


def test_a_schedule_needs_a_time(folder: Path) -> None:
    assert "requires either a calendar expression or --remove" in refused("schedule")


def test_the_old_spelling_names_the_new_one(folder: Path) -> None:
    result = CliRunner().invoke(app, ["upgrade", "--release", "2031.1", "--yes"])
    assert "use `scs upgrade release 2031.1`" in result.stderr


@pytest.fixture
def generated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets and certificates, which nothing here reads."""
    load = Region.load

    def with_dummies(*arguments: Any) -> Any:
        region = load(*arguments)
        return dataclasses.replace(
            region,
            load_secrets=lambda _environment: Secrets(region.catalog.secrets()),
            load_certificates=lambda _environment: cast(Any, Certificates()),
        )

    monkeypatch.setattr(Region, "load", with_dummies)


def perform(monkeypatch: pytest.MonkeyPatch, ends: Callable[[Callable[[Plan], bool]], Applied]) -> Applied:
    """Switch, with another end than that of a run against hosts."""
    plan = release_upgrade.ReleasePlan(now="2025.1", release="2026.1", plan=Plan(changes=()))
    monkeypatch.setattr(DailyUpgrade, "execute", lambda _self, _session, confirm: ends(confirm))
    request = release_upgrade.ReleaseRequest(release="2026.1", validation=False)
    return release_upgrade.ReleaseUpgrade(Region.load("berlin"), request).run(plan=plan)


def kept(folder: Path) -> dict[str, bytes]:
    """The environment's files but those of this manager."""
    return {p: c for p, c in snapshot.contents(folder).items() if not p.startswith("state/")}


def test_files_change_and_the_earlier_ones_are_kept(
    folder: Path, generated: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock("2026.1")
    earlier = (folder / "release.lock.yml").read_bytes()
    name = inputs.inputs(Region.load("berlin"))

    def ends(confirm: Callable[[Plan], bool]) -> Applied:
        now = Region.load("berlin")
        assert (now.release.openstack, now.lock.release) == ("2026.1", "2026.1")
        assert confirm(Plan(changes=()))
        return Applied("r1", 7, 0)

    assert perform(monkeypatch, ends).run == "r1"
    assert environments.load("berlin").settings.release == "2026.1"
    # what a rollback reads
    assert snapshot.load(environments.load("berlin"), name).lock.read_bytes() == earlier
    # the same command goes on, with what is left
    assert not release_upgrade.check_path(environments.load("berlin"), "2026.1")


def test_files_go_back_when_no_run_came_of_it(folder: Path, generated: None, monkeypatch: pytest.MonkeyPatch) -> None:
    lock("2026.1")
    before = kept(folder)

    def ends(_confirm: Callable[[Plan], bool]) -> Applied:
        raise RefusedError("host a cannot be reached")

    with pytest.raises(RefusedError, match="cannot be reached"):
        perform(monkeypatch, ends)
    assert kept(folder) == before


def test_files_stay_when_the_run_fails(folder: Path, generated: None, monkeypatch: pytest.MonkeyPatch) -> None:
    lock("2026.1")

    def ends(confirm: Callable[[Plan], bool]) -> Applied:
        confirm(Plan(changes=()))
        raise ScsError("nova_compute is not healthy")

    with pytest.raises(ScsError, match="not healthy"):
        perform(monkeypatch, ends)
    assert environments.load("berlin").settings.release == "2026.1"
    assert load_lock(environments.load("berlin")).release == "2026.1"


def test_proofs_of_backups_outlive_the_process_and_damage(folder: Path) -> None:
    environment = environments.load("berlin")
    assert proofs.read(environment) == {}
    proofs.remember(environment, "20260501T020000Z")
    proofs.remember(environment, "20260502T020000Z")
    assert sorted(proofs.read(environment)) == ["20260501T020000Z", "20260502T020000Z"]
    (folder / "state" / "verified-backups.json").write_text("{")
    assert proofs.read(environment) == {}
