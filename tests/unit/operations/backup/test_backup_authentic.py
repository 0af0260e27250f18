# SPDX-License-Identifier: Apache-2.0
"""What a target may not do: forge a backup, mix it with another one, or answer differently when asked again."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, cast

import pyrage
import pytest

from scs_deploy.base.errors import RefusedError
from scs_deploy.environment.environment import Environment
from scs_deploy.operations.backup import chain, choose, create, crypt, manifest, recover, stream, unpack
from scs_deploy.operations.backup.create import load
from scs_deploy.operations.backup.manifest import KEYS, NAME, Manifest, Part, dump, signed
from scs_deploy.operations.backup.target import Folder, open_target
from scs_deploy.region.region import Region
from scs_deploy.secrets import signing, vault
from scs_deploy.secrets import store as secrets
from tests.conftest import dummy_region
from tests.unit.operations.backup.test_backup_chain import MONDAY, backup
from tests.unit.secrets.test_secrets import region as made_environment

FIRST, SECOND = MONDAY, MONDAY + timedelta(days=1)
KEY = "k" * 32


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    made = made_environment(tmp_path)
    vault.create_password(made)
    vault.save(made, made.secrets_file, secrets.dump({signing.SECRET: KEY}))
    return made


@pytest.fixture
def target(environment: Environment) -> Folder:
    made = open_target(environment)
    made.prepare()
    assert isinstance(made, Folder)
    return made


def put(target: Folder, made: Manifest, text: str = "") -> Manifest:
    (target.path / made.id).mkdir(exist_ok=True)
    (target.path / made.id / NAME).write_text(text or dump(made))
    return made


def test_a_signed_backup_is_ours_and_an_unsigned_one_needs_a_day(environment: Environment, target: Folder) -> None:
    old, new = put(target, backup(FIRST)), put(target, signed(backup(SECOND), KEY))
    stored = load(environment, target, (KEY,))
    assert (set(stored.good), set(stored.unsigned), stored.bad) == ({new.id}, {old.id}, {})
    assert set(stored.trusting(None)) == {new.id}
    assert set(stored.trusting(FIRST.date() - timedelta(days=1))) == {new.id}
    assert set(stored.trusting(FIRST.date())) == {old.id, new.id}


def chosen(environment: Environment, wanted: str = "", **more: Any) -> str:
    region = cast("Region", SimpleNamespace(environment=environment, catalog=dummy_region("testbed-ha").catalog))
    return choose.choose(region, wanted, (), lambda _event: None, **more).backup.id


def test_a_backup_without_signature_is_refused_with_the_option_that_trusts_it(
    environment: Environment, target: Folder
) -> None:
    old = put(target, backup(FIRST))
    for wanted in (old.id, ""):
        with pytest.raises(RefusedError, match="authenticated") as caught:
            chosen(environment, wanted)
        assert "--unauthenticated 2026-11-16" in caught.value.hint
        assert chosen(environment, wanted, unsigned_until=FIRST.date()) == old.id


def test_what_somebody_changed_is_refused_even_with_that_option(environment: Environment, target: Folder) -> None:
    made = signed(backup(FIRST), KEY)
    changed = json.loads(dump(made))
    changed["parts"][0]["sha256"] = "1" * 64
    put(target, made, json.dumps(changed))
    with pytest.raises(RefusedError, match=r"cannot be used: .*not authenticated"):
        chosen(environment, made.id, unsigned_until=SECOND.date())


def later(made: Manifest) -> Manifest:
    return made.model_copy(update={"id": manifest.new_id(SECOND)})


@pytest.mark.parametrize(
    ("forge", "why"),
    [
        (lambda m: later(signed(m, KEY)), "not authenticated"),
        (lambda m: signed(later(m), "x" * 32), "not authenticated"),
        (lambda m: signed(later(m).model_copy(update={"region": "Other"}), KEY), "belongs to region Other"),
        (lambda m: signed(later(m).model_copy(update={"environment": "e"}), KEY), "environment e"),
    ],
    ids=["an earlier one under a newer name", "another key", "another region", "another environment"],
)
def test_a_manifest_of_something_else_is_refused(
    environment: Environment, target: Folder, forge: Callable[[Manifest], Manifest], why: str
) -> None:
    put(target, forge(backup(FIRST)))
    stored = load(environment, target, (KEY,))
    assert (stored.good, stored.unsigned) == ({}, {})
    assert why in stored.bad[manifest.new_id(SECOND)].why


def test_a_copied_folder_is_not_another_backup(environment: Environment, target: Folder) -> None:
    made = put(target, signed(backup(FIRST), KEY))
    shutil.copytree(target.path / made.id, target.path / manifest.new_id(SECOND))
    assert load(environment, target, (KEY,)).bad[manifest.new_id(SECOND)].why == f"its manifest belongs to {made.id}"


def test_keys_of_before_a_rotation_stay_valid(environment: Environment) -> None:
    made = signed(backup(FIRST), KEY)
    signing.rotate(environment)
    keys = signing.keys(secrets.load(environment))
    assert (len(keys), keys[1]) == (2, KEY)
    manifest.parse(dump(made), "here", keys)
    with pytest.raises(RefusedError, match="not authenticated"):
        manifest.parse(dump(made), "here", keys[:1])
    for _ in range(signing.KEPT):
        signing.rotate(environment)
    assert len(signing.keys(secrets.load(environment))) == signing.KEPT


def test_a_field_of_a_later_version_is_signed_too(environment: Environment) -> None:
    assert signing.ensure(environment) == (KEY,)
    data = {**json.loads(dump(backup(FIRST))), "later": 1}
    content = manifest._content(data)
    assert content != manifest._content({**data, "later": 2})
    assert content == manifest._content({**data, "signature": "x"})


def test_a_chain_holds_the_signature_of_what_it_is_based_on() -> None:
    full = signed(backup(FIRST), KEY)
    other = signed(backup(FIRST, directory_size=2000), KEY)
    last = signed(backup(SECOND, full.id, lsn=100, base_signature=full.signature), KEY)
    assert chain.links_of({m.id: m for m in (full, last)}, last.id) == (full, last)
    with pytest.raises(RefusedError, match="signatures differ"):
        chain.links_of({m.id: m for m in (other, last)}, last.id)


def test_a_backup_without_signature_pushes_out_no_signed_one() -> None:
    ours = [signed(backup(FIRST + timedelta(days=d)), KEY) for d in range(3)]
    planted = [backup(FIRST + timedelta(days=d, hours=1)) for d in range(30)]
    gone = chain.expired_of(ours, planted, 3, 0, frozenset())
    assert not {m.id for m in ours} & set(gone)
    # and those of before expire as if they were signed
    old = [backup(FIRST - timedelta(days=d)) for d in range(1, 9)]
    assert chain.expired_of(ours, old, 3, 0, frozenset()) == tuple(sorted(m.id for m in old))


class Turning(Folder):
    """A target that answers differently once it was checked."""

    other = b""

    @contextmanager
    def reading(self, backup: str, file: str) -> Iterator[IO[bytes]]:
        """See Target."""
        with super().reading(backup, file) as there:
            yield io.BytesIO(self.other) if self.other else there


@pytest.mark.parametrize("cut", [0, 1], ids=["forged", "cut"])
def test_nothing_is_used_that_was_not_backed_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: int) -> None:
    for module in (crypt, unpack):
        monkeypatch.setattr(module, "PIECE", 1 << 16)
    key = pyrage.x25519.Identity.generate()
    target = Turning(tmp_path)
    made = stream.keep(
        target, "20261116T023000Z", "p.age", io.BytesIO(b"a" * 300_000), [str(key.to_public())],
        stream.Meter(lambda _event: None, "p"),
    )  # fmt: skip
    part = Part(name="p", file="p.age", size=made.size, sha256=made.sha256, pieces=made.pieces, encrypted=True)
    assert len(part.pieces) == 5
    out = io.BytesIO()
    unpack.plain(target, backup(FIRST), part, str(key), out)
    assert out.getvalue() == b"a" * 300_000
    unpack.check_file(target, backup(FIRST), part, lambda _event: None)
    if cut:
        target.other = (tmp_path / "20261116T023000Z" / "p.age").read_bytes()[: 3 << 16]
    else:
        target.other = pyrage.encrypt(b"b" * 300_000, [key.to_public()])
    out = io.BytesIO()
    with pytest.raises(RefusedError, match=r"p\.age: is not the file that was backed up"):
        unpack.plain(target, backup(FIRST), part, str(key), out)
    assert b"b" not in out.getvalue()


@pytest.fixture
def lost(environment: Environment, target: Folder) -> Path:
    """A backup of the environment alone, as `create` makes it; all else of the manager is lost."""
    environment.file.write_text("release: x\n")
    environment.ssh_key.parent.mkdir(parents=True, exist_ok=True)
    environment.ssh_key.write_text("the hosts' private key\n")
    secret, _ = crypt.ensure_identity(environment)
    shipped = dummy_region("testbed-ha")
    region = cast("Region", SimpleNamespace(
        environment=environment, catalog=shipped.catalog, release=shipped.release, lock=SimpleNamespace(images={})
    ))  # fmt: skip
    session = cast("Any", SimpleNamespace(
        emit=lambda _event: None, run_step=lambda _phase, step: step.do()
    ))  # fmt: skip
    job = create._Job(region, target, session, manifest.new_id(FIRST), (secret, (KEY,)), {}, True)
    made = job.run(["environment"])
    assert made.parts[0].encrypted
    return target.path / made.id


def test_a_backup_and_the_vault_password_bring_the_region_back(
    environment: Environment, lost: Path, tmp_path: Path
) -> None:
    password = vault.password(environment)
    found = recover.recover(lost, password, tmp_path / "back")
    assert (found.region, found.environment) == ("RegionOne", "test")
    assert (tmp_path / "back/environment/environment.yml").read_text() == "release: x\n"
    assert vault.decrypt((tmp_path / "back/ssh_key.vault").read_text(), password, "k") == "the hosts' private key\n"
    with pytest.raises(RefusedError, match="exists already"):
        recover.recover(lost, password, tmp_path / "back")
    with pytest.raises(RefusedError, match="vault password is wrong"):
        recover.recover(lost, b"another one", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_only_a_manifest_names_anything_in_the_clear(lost: Path, environment: Environment) -> None:
    assert sorted(f.name for f in lost.iterdir()) == ["environment.tar.gz.age", KEYS, NAME]
    assert (lost / "environment.tar.gz.age").read_bytes().startswith(b"age-encryption.org/v1")
    assert (lost / KEYS).read_text().startswith("$ANSIBLE_VAULT")
    everything = b"".join(f.read_bytes() for f in lost.iterdir())
    for secret in (KEY.encode(), vault.password(environment), b"AGE-SECRET-KEY", b"private key"):
        assert secret not in everything


def test_a_forged_description_is_not_extracted(lost: Path, environment: Environment, tmp_path: Path) -> None:
    recipient = json.loads((lost / NAME).read_text())["recipients"][0]
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo("environment/environment.yml"), io.BytesIO(b""))
    forged = pyrage.encrypt(archive.getvalue(), [pyrage.x25519.Recipient.from_str(recipient)])
    (lost / "environment.tar.gz.age").write_bytes(forged)
    password = vault.password(environment)
    with pytest.raises(RefusedError, match="is damaged"):
        recover.recover(lost, password, tmp_path / "back")
    # a manifest that fits the forged file, as far as somebody without the key can make one
    data = json.loads((lost / NAME).read_text())
    made = crypt.Counter(io.BytesIO())
    made.write(forged)
    data["parts"][0] |= {"size": made.size, "sha256": made.sha256, "pieces": list(made.pieces)}
    for signature in (data["signature"], ""):
        (lost / NAME).write_text(json.dumps({**data, "signature": signature}))
        with pytest.raises(RefusedError, match="not authenticated"):
            recover.recover(lost, password, tmp_path / "back")
    assert not (tmp_path / "back").exists()
