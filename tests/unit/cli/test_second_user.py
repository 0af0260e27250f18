# SPDX-License-Identifier: Apache-2.0
"""What users other than the owner see of a region: real processes with another user id, against real file modes."""

from __future__ import annotations

import grp
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from scs_deploy.environment import environment as environments
from scs_deploy.region.region import Region
from scs_deploy.state import snapshot
from scs_deploy.state.runs import run_store

SCS = [sys.executable, "-c", "from scs_deploy.cli.main import main; main()"]
STRANGER = 54321
GROUP = "users"
"""Exists on every Debian."""

READING = (
    "env list",
    "env check",
    "inventory show",
    "inventory check",
    "inventory graph",
    "runs list",
    "runs show",
    "config list keystone",
    "config show keystone keystone.conf",
    "config explain keystone keystone.conf",
)
"""What members of the operators' group may do."""

CHANGING = (
    "apply --yes",
    "upgrade run --yes",
    "restart keystone --yes",
    "secrets init",
    "secrets rotate all --yes",
    "bootstrap",
    "runs pause",
    "runs abandon",
    "runs resume --yes",
    "recover mariadb --yes",
)
CONNECTING = (
    "status",
    "logs keystone",
    "node list",
    "console testbed-1",
    "plan keystone",
    "openstack token issue",
    "secrets list",
)
"""What reads, but needs the owner's secrets or SSH key."""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a process of another user")


@pytest.fixture(scope="module")
def regions() -> Iterator[Path]:
    """A folder with the region berlin, which has secrets, an SSH key and one run, and is shared with a group."""
    # pytest's own folders are closed to other users
    folder = Path(tempfile.mkdtemp(prefix="scs-regions-"))
    folder.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCS_ENVIRONMENTS", str(folder))
        assert scs(folder, "env init berlin --from testbed", user=0).returncode == 0
        assert scs(folder, "secrets init -e berlin --create-vault-password", user=0).returncode == 0
        region = Region.load("berlin")
        images = "".join(
            f"  {image}: {{reference: scs/{image}, digest: 'sha256:{n:064x}', size: 1}}\n"
            for n, image in enumerate(region.release.images)
        )
        region.environment.lock_file.write_text(f"---\nrelease: '2025.1'\nimages:\n{images}")
        key = region.environment.ssh_key
        key.parent.mkdir(mode=0o700)
        key.write_text("no key\n")
        key.chmod(0o600)
        # a file that git checked out with everybody's rights
        region.environment.secrets_file.chmod(0o644)
        with run_store(region.environment) as store, store.start("scs apply").recording():
            pass
        written = {
            "services/hello/service.yml": "description: Says hello\nhosts: control\n"
            "containers: {hello: {image: horizon, command: 'true', user: horizon}}\n",
            "release.options.2025.1.json": '{"images": {}}\n',
            "state/tokens.json": "{}\n",
        }
        for name, text in written.items():
            file = folder / "berlin" / name
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            file.write_text(text)
            file.chmod(0o644 if file.parent.name == "state" else 0o600)
        done = scs(folder, f"env share berlin --group {GROUP}", user=0)
        assert (done.returncode, done.stderr) == (0, "")
        yield folder
    shutil.rmtree(folder)


def scs(regions: Path, words: str, *, user: int = STRANGER, member: bool = True, **more: str) -> Done:
    """Run a command as a user without a name and a home; `member` of the operators' group."""
    groups = [grp.getgrnam(GROUP).gr_gid] if member and user else []
    environ = {"PATH": os.environ["PATH"], "SCS_ENVIRONMENTS": str(regions), "HOME": "/nonexistent", **more}
    return subprocess.run(
        [*SCS, *words.split()], env=environ, cwd="/", user=user, group=user, extra_groups=groups, capture_output=True,
        text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


Done = subprocess.CompletedProcess[str]


def content(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(p): (p.stat().st_mtime_ns, p.stat().st_mode) for p in folder.rglob("*")}


@pytest.mark.parametrize("words", READING)
def test_members_read(regions: Path, words: str) -> None:
    before = content(regions)
    done = scs(regions, words)
    assert (done.returncode, done.stderr) == (0, "")
    assert content(regions) == before


@pytest.mark.parametrize("words", [*CHANGING, *CONNECTING])
def test_members_do_not_change(regions: Path, words: str) -> None:
    before = content(regions)
    done = scs(regions, words)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert "sudo" in done.stderr
    assert content(regions) == before


def test_changing_says_who_may(regions: Path) -> None:
    assert scs(regions, "apply --yes").stderr == (
        f"error: region berlin: user {STRANGER} may not change it (run the command as root, e.g. with sudo)\n"
    )
    assert "this command connects to hosts" in scs(regions, "status").stderr


@pytest.mark.parametrize("words", ["env list", "env check", "inventory show", "runs list", "status", "apply --yes"])
def test_everybody_else_gets_one_line(regions: Path, words: str) -> None:
    if words == "env list":
        assert "berlin" not in scs(regions, words, member=False).stdout
        return
    done = scs(regions, words, member=False, SCS_ENVIRONMENT="berlin")
    assert done.returncode == 2
    if words == "env check":
        # what it finds is its output
        found, total = done.stdout.splitlines()
        assert (total, done.stderr) == ("1 error", "")
        assert "permission denied" in found
        return
    assert done.stderr.startswith(f"error: {regions}/berlin")
    assert "permission denied" in done.stderr
    assert done.stderr.count("\n") == 1


def test_members_may_ask_the_doctor(regions: Path) -> None:
    done = scs(regions, "doctor --json")
    assert done.stderr == ""
    found = {c["check"]: c for c in json.loads(done.stdout)["checks"]}
    assert found["runs"]["level"] == found["secret files"]["level"] == found["sharing"]["level"] == "ok"
    assert found["hosts"]["seen"] == f"not checked: user {STRANGER} may not read secrets and keys"


def test_the_doctor_finds_what_the_group_cannot_read(regions: Path) -> None:
    override = regions / "berlin" / "config" / "global.conf"
    override.parent.mkdir()
    override.touch(mode=0o600)
    try:
        # as a member: as root, it would look for the hosts of a testbed that may run on this machine
        found = {c["check"]: c for c in json.loads(scs(regions, "doctor --json").stdout)["checks"]}
        assert found["sharing"]["seen"] == "closed to the group: config/global.conf"
        assert found["sharing"]["remedy"] == f"scs env share berlin --group {GROUP}"
        assert scs(regions, f"env share berlin --group {GROUP}", user=0).returncode == 0
        assert stat.S_IMODE(override.stat().st_mode) == 0o640
    finally:
        shutil.rmtree(override.parent)


def test_no_secret_is_readable(regions: Path) -> None:
    open_files = []
    for path in (regions / "berlin").rglob("*"):
        done = subprocess.run(
            ["cat", path], user=STRANGER, group=STRANGER, extra_groups=[grp.getgrnam(GROUP).gr_gid], check=False,
            capture_output=True,
        )  # fmt: skip
        if path.is_file() and done.returncode == 0:
            open_files.append(path.name)
    needed = {"environment.yml", "hosts.yml", "runs.sqlite3", "release.lock.yml", "service.yml"}
    assert needed | {"release.options.2025.1.json"} <= set(open_files)
    secret = {"secrets.yml", "certificates.yml", "vault_password", "id_ed25519", "secure.yaml", "clouds.yaml"}
    assert not (secret | {"tokens.json", "client.yaml"}) & set(open_files)


def test_secrets_are_placeholders(regions: Path) -> None:
    shown = scs(regions, "config show keystone keystone.conf").stdout
    assert "connection = ***" in shown
    assert shown == scs(regions, "config show keystone keystone.conf", user=0).stdout
    done = scs(regions, "config show keystone keystone.conf --secrets")
    assert (done.returncode, done.stdout) == (2, "")
    assert "only root may read them" in scs(regions, "env check").stdout


def test_runs_are_read_while_one_is_recorded(regions: Path) -> None:
    environment = environments.load("berlin")
    with run_store(environment) as store, store.start("scs restart keystone").recording():
        assert (environment.state / "runs.sqlite3-wal").exists()
        listed = scs(regions, "runs list --json")
        assert json.loads(listed.stdout)[0]["command"] == "scs restart keystone"
        assert json.loads(listed.stdout)[0]["status"] == "running"
    assert not (environment.state / "runs.sqlite3-wal").exists()
    assert json.loads(scs(regions, "runs list --json").stdout)[0]["status"] == "done"


def test_runs_are_compared(regions: Path) -> None:
    environment = environments.load("berlin")
    ids = []
    for number in ("1", "2"):
        override = environment.path / "config" / "keystone.conf"
        override.parent.mkdir(exist_ok=True)
        override.write_text(f"[token]\nexpiration = {number}\n")
        snapshot.keep(environment, f"inputs-{number}", "specs")
        with run_store(environment) as store:
            record = store.start("scs apply", inputs=f"inputs-{number}")
            with record.recording():
                ids.append(record.id)
    override.unlink()
    override.parent.rmdir()
    done = scs(regions, f"runs diff {ids[0]} {ids[1]}")
    assert "[token] expiration 1 -> 2" in done.stdout, done.stderr


def test_the_record_has_who_called_sudo(regions: Path) -> None:
    environment = environments.load("berlin")
    made = "from scs_deploy.environment import environment as e; from scs_deploy.state.runs import run_store\n" \
        "with run_store(e.load('berlin')) as store, store.start('scs apply').recording(): pass"  # fmt: skip
    environ = {**os.environ, "SUDO_USER": "anna", "SCS_ENVIRONMENTS": str(regions)}
    subprocess.run([sys.executable, "-c", made], env=environ, check=True)
    (run,) = json.loads(scs(regions, "runs list --by anna --json").stdout)
    assert run["owner"].startswith("anna@")
    assert environment.name == "berlin"


def test_a_new_environment_can_be_shared_from_the_start(regions: Path) -> None:
    assert scs(regions, f"env init hamburg --from testbed --group {GROUP}", user=0).returncode == 0
    try:
        assert scs(regions, "runs list -e hamburg").stdout == "this region has no runs yet\n"
        assert not (regions / "hamburg" / "state" / "runs.sqlite3").exists()
        with run_store(environments.load("hamburg")) as store, store.start("scs apply").recording():
            pass
        assert stat.S_IMODE((regions / "hamburg" / "state" / "runs.sqlite3").stat().st_mode) == 0o640
        assert "scs apply" in scs(regions, "runs list -e hamburg").stdout
    finally:
        shutil.rmtree(regions / "hamburg")


def test_an_environment_that_was_not_shared_stays_private(regions: Path) -> None:
    assert scs(regions, "env init private --from testbed", user=0).returncode == 0
    try:
        with run_store(environments.load("private")) as store, store.start("scs apply").recording():
            pass
        assert stat.S_IMODE((regions / "private" / "state").stat().st_mode) == 0o700
        done = scs(regions, "runs list -e private")
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert "permission denied" in done.stderr
    finally:
        shutil.rmtree(regions / "private")


def test_what_cannot_be_shared(regions: Path) -> None:
    done = scs(regions, "env share berlin --group no-such-group", user=0)
    assert (done.returncode, done.stderr) == (
        2, "error: --group no-such-group: no such group on this machine (groupadd no-such-group)\n",
    )  # fmt: skip
    done = scs(regions, f"env share berlin --group {GROUP}")
    assert done.returncode == 2
    assert "is not its owner, root (use sudo)" in done.stderr
    closed = regions / "closed"
    closed.mkdir(mode=0o700)
    try:
        done = scs(regions, f"env init bonn --group {GROUP}", user=0, SCS_ENVIRONMENTS=str(closed))
        assert done.returncode == 2
        assert f"{closed}: {GROUP} may not enter this folder" in done.stderr
        assert list(closed.iterdir()) == []
    finally:
        closed.rmdir()


def test_selecting_for_all_users_is_refused(regions: Path) -> None:
    assert scs(regions, "env use berlin").stderr == (
        f"error: {regions}/.current: only its owner selects the environment for all users "
        "(export SCS_ENVIRONMENT=berlin)\n"
    )
