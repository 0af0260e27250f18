# SPDX-License-Identifier: Apache-2.0
"""Files of backups: written whole or not at all, listed, read, encrypted; in a folder, and over SSH.

The `ssh` here is a program that runs what it is given on this machine: the commands are the real ones.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import random
import tarfile
from pathlib import Path

import pyrage
import pytest

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.engine import stream as engine_stream
from scs_deploy.engine.events import ignore
from scs_deploy.environment.environment import Backup, Environment
from scs_deploy.operations.backup import crypt, parts, schedule, stream, unpack
from scs_deploy.operations.backup.create import Damaged, Stored, load
from scs_deploy.operations.backup.manifest import NAME, Part, dump
from scs_deploy.operations.backup.target import Target, open_target
from scs_deploy.secrets import store as secrets
from scs_deploy.secrets import vault
from tests.conftest import dummy_region
from tests.unit.operations.backup.test_backup_chain import MONDAY, backup
from tests.unit.secrets.test_secrets import region

FAKE_SSH = """#!/bin/sh
for last; do :; done
case $* in *unreachable*) echo "ssh: connect to host unreachable: No route to host" >&2; exit 255 ;; esac
exec sh -c "$last"
"""
ID = "20261116T023000Z"


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    made = region(tmp_path)
    vault.create_password(made)
    vault.save(made, made.secrets_file, secrets.dump({"mariadb_root_password": "very-secret-value"}))
    return made


def with_backup(environment: Environment, **settings: object) -> Environment:
    own = environment.settings.model_copy(update={"backup": Backup.model_validate(settings)})
    return environment.model_copy(update={"settings": own})


@pytest.fixture(params=["folder", "ssh"])
def target(
    request: pytest.FixtureRequest, environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Target:
    if request.param == "folder":
        where = "backups"
    else:
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "ssh").write_text(FAKE_SSH)
        (tmp_path / "bin" / "ssh").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
        where = f"ssh://backup@archive.example:2222{tmp_path}/it's here"
    made = open_target(with_backup(environment, target=where))
    made.prepare()
    return made


def put(target: Target, file: str, content: bytes) -> None:
    with target.writing(ID, file) as to:
        to.write(content)


def test_a_backup_is_one_when_its_manifest_is_there(environment: Environment, target: Target) -> None:
    put(target, "mariadb.age", b"data")
    interrupted = Damaged(why="interrupted: it has no manifest", interrupted=True)
    assert load(environment, target, ()) == Stored(bad={ID: interrupted})
    made = backup(MONDAY)
    target.commit(ID, dump(made))
    assert load(environment, target, ()) == Stored(unsigned={ID: made})
    with target.reading(ID, "mariadb.age") as stream_:
        assert stream_.read() == b"data"
    target.remove(ID)
    assert load(environment, target, ()) == Stored()


def test_files_are_not_overwritten(target: Target) -> None:
    put(target, "a.age", b"first")
    with pytest.raises(ScsError, match=r"a\.age"):
        put(target, "a.age", b"second")
    with target.reading(ID, "a.age") as stream_:
        assert stream_.read() == b"first"


def test_a_file_that_is_missing_is_named(target: Target) -> None:
    put(target, "a.age", b"x")
    with pytest.raises(ScsError, match=r"b\.age: .*No such file"), target.reading(ID, "b.age") as stream_:
        stream_.read()


def test_what_is_no_backup_is_left_alone(environment: Environment, tmp_path: Path) -> None:
    found = open_target(with_backup(environment, target=str(tmp_path / "t")))
    found.prepare()
    folder = tmp_path / "t" / environment.name
    (folder / "lost+found").mkdir()
    (folder / ID).mkdir()
    (folder / ID / NAME).write_text(dump(backup(MONDAY)).replace(ID, "20261117T023000Z"))
    assert load(environment, found, ()).bad == {ID: Damaged(why="its manifest belongs to 20261117T023000Z")}


@pytest.mark.parametrize("where", ["ssh://host", "ftp://host/folder", "ssh://u@h:x/f", "ssh://-oProxyCommand=x/f"])
def test_a_target_that_is_none_is_refused(environment: Environment, where: str) -> None:
    with pytest.raises(RefusedError, match=r"backup\.target"):
        open_target(with_backup(environment, target=where))


def test_an_archive_that_does_not_answer_is_refused(
    environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ssh").write_text(FAKE_SSH)
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(RefusedError, match="No route to host"):
        open_target(with_backup(environment, target="ssh://unreachable/f")).read_all()


def encrypted(target: Target, content: bytes, *recipients: str) -> Part:
    meter = stream.Meter(ignore, "x")
    made = stream.keep(target, ID, "p.age", io.BytesIO(content), recipients, meter)
    return Part(name="p", file="p.age", size=made.size, sha256=made.sha256, pieces=made.pieces, encrypted=True)


def test_each_recipient_can_read_it_and_nobody_else(target: Target) -> None:
    one, two, other = (pyrage.x25519.Identity.generate() for _ in range(3))
    content = random.Random(7).randbytes(300_000)
    part = encrypted(target, content, str(one.to_public()), str(two.to_public()))
    owner = backup(MONDAY)
    unpack.check_file(target, owner, part, ignore)
    for key in (one, two):
        unpack.check_key(target, owner, part, str(key))
        buffer = io.BytesIO()
        unpack.plain(target, owner, part, str(key), buffer)
        assert buffer.getvalue() == content
    with pytest.raises(RefusedError, match="encrypted with a different key"):
        unpack.check_key(target, owner, part, str(other))


@pytest.mark.parametrize("damage", ["flip", "cut"])
def test_a_damaged_file_is_named(environment: Environment, tmp_path: Path, damage: str) -> None:
    found = open_target(with_backup(environment, target=str(tmp_path / "t")))
    found.prepare()
    key = pyrage.x25519.Identity.generate()
    part = encrypted(found, b"x" * 200_000, str(key.to_public()))
    file = tmp_path / "t" / environment.name / ID / "p.age"
    data = bytearray(file.read_bytes())
    if damage == "flip":
        data[100_000] ^= 1
    else:
        del data[150_000:]
    file.write_bytes(data)
    with pytest.raises(RefusedError, match=r"p\.age: is damaged"):
        unpack.check_file(found, backup(MONDAY), part, ignore)
    # and what the checksum did not see, the encryption does
    part = part.model_copy(update={"pieces": (), "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)})
    with pytest.raises(RefusedError, match="damaged"):
        unpack.plain(found, backup(MONDAY), part, str(key), io.BytesIO())


class Full(io.BytesIO):
    """A disk without room, or a reader that ended."""

    def __init__(self, error: OSError) -> None:
        super().__init__()
        self.error = error

    def write(self, _data: object) -> int:
        """Fails as the system does."""
        raise self.error


def test_a_failed_write_does_not_count_as_damage(target: Target) -> None:
    key = pyrage.x25519.Identity.generate()
    part = encrypted(target, b"x" * 200_000, str(key.to_public()))
    # in the words of a damaged file
    full = OSError(errno.ENOSPC, "invalid last chunk, decryption error")
    with pytest.raises(ScsError, match="decryption error") as caught:
        unpack.plain(target, backup(MONDAY), part, str(key), Full(full))
    assert not isinstance(caught.value, RefusedError)


def test_a_command_that_ends_early_is_heard(target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own words, not the broken pipe, say why the backup was not read to its end."""
    key = pyrage.x25519.Identity.generate()
    part = encrypted(target, random.Random(7).randbytes(3_000_000), str(key.to_public()))
    (tmp_path / "command").write_text("#!/bin/sh\nexec 0<&-\necho 'mbstream: no space left' >&2\nexit 3\n")
    (tmp_path / "command").chmod(0o755)
    monkeypatch.setattr(engine_stream, "ssh_command", lambda *_: [str(tmp_path / "command")])
    with (
        pytest.raises(ScsError, match="host ha-1: mbstream: no space left"),
        stream.Remote(dummy_region("testbed-ha"), "ha-1", ["x"]) as remote,
    ):
        unpack.plain(target, backup(MONDAY), part, str(key), remote.input)


def test_the_key_is_made_once_and_kept_in_the_vault(environment: Environment) -> None:
    with pytest.raises(RefusedError, match="no secret 'backup_age_identity'"):
        crypt.identity(environment)
    first, made = crypt.ensure_identity(environment)
    again, made_again = crypt.ensure_identity(environment)
    assert (made, made_again) == (True, False)
    assert first == again == crypt.identity(environment)
    assert secrets.load(environment)["mariadb_root_password"] == "very-secret-value"
    assert "AGE-SECRET-KEY" not in environment.secrets_file.read_text()


def test_another_key_comes_from_a_file_as_age_keygen_writes_it(environment: Environment, tmp_path: Path) -> None:
    key = str(pyrage.x25519.Identity.generate())
    (tmp_path / "key").write_text(f"# created: today\n# public key: age1x\n{key}\n")
    assert crypt.identity(environment, tmp_path / "key") == key
    (tmp_path / "key").write_text("nothing\n")
    with pytest.raises(RefusedError, match="not an age secret key"):
        crypt.identity(environment, tmp_path / "key")


def test_a_recipient_that_is_none_is_refused() -> None:
    with pytest.raises(RefusedError, match=r"backup\.recipients: 'age1no' is not an age recipient"):
        crypt.check_recipients(["age1no"], "environment.yml")


def test_the_description_holds_no_secret_in_the_clear(environment: Environment) -> None:
    environment.ssh_key.parent.mkdir(parents=True, exist_ok=True)
    environment.ssh_key.write_text("the hosts' private key\n")
    (environment.state / "runs.sqlite3").write_text("records")
    environment.file.write_text("release: x\n")
    open_target(environment).prepare()
    environment = with_backup(environment, target="kept")
    open_target(environment).prepare()
    (environment.path / "kept" / environment.name / "earlier").write_text("a backup must not hold the ones before")
    (environment.path / "config").mkdir(exist_ok=True)
    (environment.path / "config" / "keystone.conf").write_text("[token]\n")
    password = vault.password(environment)
    found: dict[str, bytes] = {}
    for name, content in parts.description(environment):
        found[name] = content if isinstance(content, bytes) else content.read_bytes()
    assert {"environment/environment.yml", "environment/secrets.yml", "environment/config/keystone.conf"} <= set(found)
    assert not any(word in name for name in found for word in ("runs.sqlite3", "vault_password", "earlier"))
    everything = b"".join(found.values())
    for secret in (b"very-secret-value", b"private key", password):
        assert secret not in everything
    assert vault.decrypt(found["ssh_key.vault"].decode(), password, "k") == "the hosts' private key\n"
    with tarfile.open(fileobj=parts.archive(environment)) as tar:
        assert sorted(tar.getnames()) == sorted(found)


def test_units_name_what_they_run_and_where(environment: Environment) -> None:
    units = schedule.units(environment, "/opt/scs/.venv/bin/scs", {"SCS_ROOT": "/opt/scs it's"})
    assert sorted(units) == [f"scs-backup-{environment.name}.service", f"scs-backup-{environment.name}.timer"]
    service, timer = units[f"scs-backup-{environment.name}.service"], units[f"scs-backup-{environment.name}.timer"]
    assert f'ExecStart="/opt/scs/.venv/bin/scs" backup create --environment {environment.name}\n' in service
    assert 'Environment="SCS_ROOT=/opt/scs it\'s"\n' in service
    assert "OnCalendar=*-*-* 04:30:00\n" in timer
    assert "Persistent=true\n" in timer
