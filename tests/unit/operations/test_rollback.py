# SPDX-License-Identifier: Apache-2.0
"""What a rollback takes back, and what keeps it from that."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from scs_deploy.base.errors import RefusedError
from scs_deploy.environment import release_lock
from scs_deploy.environment.environment import Environment, Keep
from scs_deploy.operations import rollback
from scs_deploy.operations.upgrade import release_files
from scs_deploy.spec.release import Lock, LockedImage
from scs_deploy.state import snapshot
from scs_deploy.state.runs import Run, Status, Step
from tests.unit.secrets.test_secrets import SETTINGS, region

OLD, NEW = "a", "b"


def lock(release: str = "2025.1", **digests: str) -> Lock:
    images = {n: LockedImage(reference=f"scs/{n}", digest=f"sha256:{d * 64}", size=1) for n, d in digests.items()}
    return Lock(release=release, images=images)


def run(name: str, before: str = "x", inputs: str = "y", follows: bool = True) -> Run:
    return Run(
        id=name, command="scs upgrade", owner="me@here", host="here", pid=1, process=1, started=datetime.now(UTC),
        finished=None, status=Status.DONE, changes_total=1, changes_done=1, inputs=inputs, message="", before=before,
        follows=follows,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("runs", "name", "found"),
    [
        ([run("3"), run("2"), run("1")], None, "3"),
        ([run("3"), run("2"), run("1")], "1", "1"),
        # a restart on demand and a run that changed nothing of it are passed over
        ([run("3", follows=False), run("2", before="y"), run("1")], None, "1"),
    ],
)
def test_which_run_goes_back(runs: list[Run], name: str | None, found: str) -> None:
    assert rollback.choose_run(runs, name).id == found


@pytest.mark.parametrize(
    ("runs", "name", "why"),
    [
        ([], None, "no run changed"),
        ([run("1")], "9", "no run '9'"),
        ([run("1", before="")], "1", "no run before it"),
        ([run("1", before="y")], "1", "changed neither"),
    ],
)
def test_runs_that_cannot_go_back(runs: list[Run], name: str | None, why: str) -> None:
    with pytest.raises(RefusedError, match=why):
        rollback.choose_run(runs, name)


def test_what_earlier_attempts_did_counts() -> None:
    """A manager that died has run jobs, too; so does one record of the same change each time that it was begun anew."""
    died = [run(n).model_copy(update={"status": Status.INTERRUPTED}) for n in ("5", "3")]
    restarted = run("4", follows=False)
    runs = [run("7"), run("6"), died[0], restarted, died[1], run("2"), run("1")]
    assert [r.id for r in rollback.runs_since(runs, runs[1])] == ["3", "4", "5", "6", "7"]
    assert [r.id for r in rollback.runs_since(runs, runs[0])] == ["7"]
    assert [r.id for r in rollback.runs_since(runs[:3], runs[1])] == ["5", "6", "7"]


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    found = region(tmp_path)
    found.file.write_text("release: '2025.1'\n")
    found.lock_file.write_text(release_lock.text(lock(nova=OLD, keystone=OLD)))
    for path, text in {
        "nova.conf": "[DEFAULT]\na = 1\n",
        "keystone/keystone.conf": "[token]\nexpiration = 60\n",
    }.items():
        (tmp_path / "config" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "config" / path).write_text(text)
    assert SETTINGS
    return found


@pytest.fixture
def then(environment: Environment) -> snapshot.Snapshot:
    """Kept before an upgrade that changed the images, one override, added another and removed the third."""
    kept = snapshot.keep(environment, "then", "specs-1")
    environment.lock_file.write_text(release_lock.text(lock(nova=NEW, keystone=NEW)))
    config = environment.path / "config"
    (config / "nova.conf").write_text("[DEFAULT]\na = 2\n")
    (config / "nova_compute").mkdir()
    (config / "nova_compute" / "nova.conf").write_text("[libvirt]\nx = 1\n")
    (config / "keystone" / "keystone.conf").unlink()
    return kept


def plan(
    environment: Environment, then: snapshot.Snapshot, specs: str = "specs-1", **only: Any
) -> rollback.RollbackPlan:
    about = snapshot.about(environment, specs)
    overrides = snapshot.written(environment.path)
    return rollback.plan_rollback("r", then, lock(nova=NEW, keystone=NEW), overrides, about, **only)


def test_everything_goes_back_and_forward_again(environment: Environment, then: snapshot.Snapshot) -> None:
    before = snapshot.contents(environment.path)
    back = plan(environment, then)
    assert [c.image for c in back.images] == ["keystone", "nova"]
    assert {p: c is None for p, c in back.overrides.items()} == {
        "config/keystone/keystone.conf": False, "config/nova.conf": False, "config/nova_compute/nova.conf": True,
    }  # fmt: skip
    assert back.notes == ()

    held = rollback.write(environment, back)
    assert environment.lock_file.read_text() == release_lock.text(lock(nova=OLD, keystone=OLD))
    assert (environment.path / "config" / "nova.conf").read_text() == "[DEFAULT]\na = 1\n"
    assert not (environment.path / "config" / "nova_compute" / "nova.conf").exists()
    rollback.restore(held)
    assert snapshot.contents(environment.path) == before


def test_a_restored_override_with_secrets_stays_its_owners(environment: Environment, then: snapshot.Snapshot) -> None:
    file = environment.path / "config" / "nova.conf"
    file.write_text("[DEFAULT]\na = 1\n")
    file.chmod(0o600)
    kept = snapshot.keep(environment, "private", "specs-1")
    assert (kept.folder / "config" / "nova.conf").stat().st_mode & 0o777 == 0o600
    file.unlink()
    held = rollback.write(environment, plan(environment, kept))
    assert file.stat().st_mode & 0o777 == 0o600
    file.chmod(0o640)
    again = rollback.write(environment, plan(environment, kept).model_copy(update={"overrides": {
        "config/nova.conf": b"[DEFAULT]\na = 2\n"}}))  # fmt: skip
    assert file.stat().st_mode & 0o777 == 0o640, "a file that is there passes its mode on"
    rollback.restore(again)
    assert file.stat().st_mode & 0o777 == 0o640
    rollback.restore(held)
    assert not file.exists()


def test_a_new_file_is_never_readable_for_others_before_it_is_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    real = os.fdopen

    def opened(handle: int, mode: str) -> Any:
        seen.append(os.fstat(handle).st_mode & 0o777)
        return real(handle, mode)

    monkeypatch.setattr(os, "fdopen", opened)
    before = os.umask(0)
    try:
        release_files.put(tmp_path / "config" / "nova.conf", b"secret")
    finally:
        os.umask(before)
    assert seen == [0o600]
    assert (tmp_path / "config" / "nova.conf").stat().st_mode & 0o777 == 0o600


def test_one_service_goes_back(environment: Environment, then: snapshot.Snapshot) -> None:
    files = frozenset({"config/nova.conf", "config/nova", "config/nova_compute"})
    back = plan(environment, then, images=frozenset({"nova"}), files=files)
    assert {n: i.digest[-1] for n, i in back.lock.images.items()} == {"nova": OLD, "keystone": NEW}
    assert set(back.overrides) == {"config/nova.conf", "config/nova_compute/nova.conf"}


def test_what_stays_is_told(environment: Environment, then: snapshot.Snapshot) -> None:
    environment.file.write_text("release: '2025.1'\nregion: other\n")
    notes = " ".join(plan(environment, then, specs="specs-2").notes)
    assert "environment.yml has changed" in notes and "use the earlier version" in notes


def test_another_release_goes_back_in_environment_yml_and_the_lock_and_forward_again(
    environment: Environment, then: snapshot.Snapshot
) -> None:
    now = lock("2026.1", nova=NEW, keystone=OLD, skyline=NEW)
    environment.lock_file.write_text(release_lock.text(now))
    environment.file.write_text("# ours\nrelease: '2026.1'  # since May\nregion: x\n")
    before = snapshot.contents(environment.path)
    back = rollback.plan_rollback(
        "r", then, now, snapshot.contents(environment.path / "config"), snapshot.about(environment, "s")
    )
    assert back.release == "2025.1" and not back.empty
    assert [(c.image, bool(c.old), bool(c.new)) for c in back.images] == [
        ("nova", True, True),
        ("skyline", True, False),
    ]

    held = rollback.write(environment, back)
    assert environment.file.read_text() == '# ours\nrelease: "2025.1"  # since May\nregion: x\n'
    assert environment.lock_file.read_text() == release_lock.text(lock(nova=OLD, keystone=OLD))
    rollback.restore(held)
    assert snapshot.contents(environment.path) == before


def test_one_service_alone_does_not_go_to_another_release(environment: Environment, then: snapshot.Snapshot) -> None:
    with pytest.raises(RefusedError, match=r"run r changed the release from 2025\.1 to 2026\.1"):
        rollback.plan_rollback(
            "r", then, lock("2026.1", nova=NEW), {}, snapshot.about(environment, "s"), images=frozenset({"nova"})
        )


def test_inputs_that_were_not_kept_are_refused(environment: Environment) -> None:
    with pytest.raises(RefusedError, match="has no snapshot"):
        snapshot.load(environment, "other")


def test_the_same_inputs_are_kept_once_and_old_ones_go(environment: Environment) -> None:
    settings = environment.settings.model_copy(update={"keep": Keep(snapshots=2)})
    environment = environment.model_copy(update={"settings": settings})
    for name in ("one", "two", "one", "three"):
        snapshot.keep(environment, name, "s")
        time.sleep(0.02)  # file systems count in ticks
    assert {p.name for p in (environment.state / "inputs").iterdir()} == {"one", "three"}


def step(task: str, phase: str = "migrate") -> Step:
    return Step(
        run="r", sequence=1, phase=phase, task=task, host="a", subject="", status=Status.DONE,
        started=datetime.now(UTC), finished=None, message="",
    )  # fmt: skip


JOBS = {"nova.db_sync": "nova", "keystone.db_expand": "keystone"}
SCHEMAS = {"nova": "nova", "nova_api": "nova", "keystone": "keystone"}
RAN = [(run("r1"), [step("Run keystone.db_expand, nova.db_sync"), step("Replace nova_api", "roll")])]


@pytest.mark.parametrize(
    ("then", "now", "formats", "found"),
    [
        # jobs that changed nothing are no obstacle
        ({"nova": "1", "keystone": "7"}, {"nova": "1", "keystone": "7"}, {"mariadb": ("11.8", "11.8")}, []),
        ({"nova": "1"}, {"nova": "2"}, {}, ["schema nova went from 1 to 2: nova.db_sync in r1"]),
        ({"nova_api": "", "nova": "1"}, {"nova_api": "5", "nova": "1"}, {},
         ["schema nova_api went from none to 5: nova.db_sync in r1"]),
        ({}, {}, {"mariadb": ("11.8", "12.0")}, ["mariadb: 12.0 wrote its data, which 11.8 cannot read"]),
        (None, {}, {}, [
            "keystone.db_expand ran in r1, and the earlier schema revisions are unknown",
            "nova.db_sync ran in r1, and the earlier schema revisions are unknown",
        ]),
        ({"nova": "1"}, None, {}, [
            "keystone.db_expand ran in r1, and the current schema revisions are unknown",
            "nova.db_sync ran in r1, and the current schema revisions are unknown",
        ]),
    ],
)  # fmt: skip
def test_obstacles(
    then: dict[str, str] | None, now: dict[str, str] | None, formats: dict[str, tuple[str, str]], found: list[str]
) -> None:
    assert rollback.find_obstacles(RAN, then, now, SCHEMAS, formats, JOBS) == found


EXPAND, CONTRACT = step("Run keystone.db_expand"), step("Run a.b, keystone.db_contract", "finish")
KEYSTONE = {"keystone.db_expand": "keystone", "keystone.db_contract": "keystone", "nova.db_sync": "nova"}


@pytest.mark.parametrize(
    ("steps", "now", "release", "found"),
    [
        # earlier images work with an expanded schema, in the same release and in the one before
        ([EXPAND], {"keystone": "2"}, "", []),
        ([EXPAND], {"keystone": "2"}, "2025.1", []),
        ([EXPAND, CONTRACT], {"keystone": "2"}, "",
         ["schema keystone went from 1 to 2: keystone.db_expand in r1, keystone.db_contract in r1"]),
        # every new image runs it, mostly for nothing
        ([EXPAND, CONTRACT], {"keystone": "1"}, "", []),
        # but between releases nobody promises that
        ([step("Run nova.db_sync")], {"keystone": "1"}, "2025.1",
         ["nova.db_sync ran in r1: release 2025.1 may be unable to read data written since"]),
        ([], {"keystone": "2"}, "2025.1", ["schema keystone went from 1 to 2: not by scs"]),
    ],
)  # fmt: skip
def test_an_expanded_schema_is_no_obstacle_and_a_contracted_one_is(
    steps: list[Step], now: dict[str, str], release: str, found: list[str]
) -> None:
    additive = frozenset({"keystone.db_expand"})
    ran = [(run("r1"), steps)]
    assert rollback.find_obstacles(ran, {"keystone": "1"}, now, SCHEMAS, {}, KEYSTONE, additive, release) == found


def test_nothing_known_and_no_job_ran() -> None:
    assert rollback.find_obstacles([(run("r1"), [])], None, None, SCHEMAS, {}, JOBS) == []


@pytest.mark.parametrize(
    ("version", "parts", "found"),
    [
        ("1:11.8.3-0+deb13u1", 2, "11.8"), ("4.0.5-8", 2, "4.0"), ("25.03.0-1~deb13u2", 2, "25.03"),
        ("4.0+dfsg-1", 2, "4.0"), ("3", 2, "3"), ("", 2, ""),
    ],
)  # fmt: skip
def test_series_of_a_version(version: str, parts: int, found: str) -> None:
    assert rollback.series(version, parts) == found
