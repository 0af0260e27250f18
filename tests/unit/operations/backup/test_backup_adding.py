# SPDX-License-Identifier: Apache-2.0
"""Parts that only add what is missing: what the plan says, when they are loaded, and what a lost manager gets of them.

The hosts are this machine: `ssh` runs commands here, and `docker exec` runs small programs in place of the service's.
"""

from __future__ import annotations

import dataclasses
import gzip
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from scs_deploy.base.errors import RefusedError
from scs_deploy.environment.environment import Environment
from scs_deploy.operations.backup import create, crypt, manifest, recover, restore, scratch, stream
from scs_deploy.operations.backup.choose import Chosen
from scs_deploy.operations.backup.manifest import Manifest
from scs_deploy.operations.backup.restore import RestoreRequest
from scs_deploy.operations.backup.restore_plan import RestorePlan
from scs_deploy.operations.backup.restore_run import Restoring
from scs_deploy.operations.backup.target import Folder, open_target
from scs_deploy.region.region import Region
from scs_deploy.secrets import store as secrets
from scs_deploy.secrets import vault
from tests.conftest import dummy_region
from tests.support.programs import command
from tests.unit.operations.backup.test_backup_chain import MONDAY
from tests.unit.secrets.test_secrets import region as made_environment

PART = "ceph.monitors"
SAVED = json.dumps({"auth": {"client.desk": {"key": "the key of the desk"}}})

DOCKER = """
folder={folder}
echo "$*" >> $folder/docker
case "$*" in
"ps --all "*) cat $folder/containers; exit ;;
esac
[ "$1 $2 $3" = "exec --interactive ceph_mon" ] || exit 125
shift 3
for word; do
  shift
  case $word in /etc/ceph/*) word=$folder/${{word##*/}} ;; esac
  set -- "$@" "$word"
done
exec "$@"
"""
SSH = """
for last; do :; done
echo "$*" >> {folder}/ssh
exec sh -c "$last"
"""
LOAD = """
if [ "$1" = --plan ]; then
  cmp -s - {folder}/saved.json || { echo 'not what was saved' >&2; exit 1; }
  cat {folder}/answer
  exec test ! -e {folder}/refuse
fi
cat > {folder}/loaded
"""


@dataclasses.dataclass
class Hosts:
    """The region's hosts: all of them are one folder."""

    region: Region
    folder: Path
    target: Folder
    secret: str
    backup: Manifest

    def answer(self, **lists: list[str]) -> None:
        (self.folder / "answer").write_text(json.dumps(lists))

    def chosen(self, *names: str) -> Chosen:
        return Chosen(self.target, self.backup, (), names)

    def plan(self, *only: str) -> RestorePlan:
        return restore.make_plan(
            self.region, self.chosen(PART), RestoreRequest(only=only), self.secret, lambda _event: None
        )


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    made = made_environment(tmp_path / "region")
    made.path.mkdir()
    vault.create_password(made)
    vault.save(made, made.secrets_file, secrets.dump({}))
    return made


@pytest.fixture
def hosts(environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hosts:
    """A region whose backup has the part."""
    folder = tmp_path / "host"
    command(folder, "ssh", SSH.format(folder=folder))
    command(folder, "docker", DOCKER.format(folder=folder))
    command(folder, "load_mon.py", LOAD.replace("{folder}", str(folder)))
    command(folder, "save_mon.py", f"cat {folder}/saved.json")
    (folder / "saved.json").write_text(SAVED)
    (folder / "containers").write_text("ceph_mon running\n")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    region = dataclasses.replace(dummy_region("testbed"), environment=environment)
    target = open_target(environment)
    assert isinstance(target, Folder)
    target.prepare()
    secret, _ = crypt.ensure_identity(environment)
    session = SimpleNamespace(emit=lambda _event: None, run_step=lambda _phase, step: step.do())
    keys = (secret, ("k" * 32,))
    job = create._Job(region, target, cast("Any", session), manifest.new_id(MONDAY), keys, {}, True)
    return Hosts(region, folder, target, secret, job.run([PART]))


def test_the_plan_names_what_a_part_adds(hosts: Hosts) -> None:
    hosts.answer(changes=["key of client.desk"], removed=[], notes=["the cluster has no pool old"])
    for only in ((), (PART,), ("ceph",)):
        found = hosts.plan(*only)
        assert found.adds == {PART: ("key of client.desk",)}
        assert [(s.action, s.target) for s in found.steps] == [("load", PART)]
        assert f"{PART}: the cluster has no pool old" in found.notes
        assert not [n for n in found.notes if "will be lost" in n], "nothing is replaced"
        assert found.quiet == {}, "nothing stops"


def test_what_somebody_removed_comes_back_only_if_the_part_is_named(hosts: Hosts) -> None:
    hosts.answer(changes=[], removed=["key of client.desk"], notes=[])
    found = hosts.plan()
    assert (found.steps, found.adds) == ((), {})
    note = next(n for n in found.notes if "client.desk" in n)
    assert f"not restored unless you add --only {PART}: key of client.desk" in note
    assert hosts.plan("ceph").adds == {PART: ("key of client.desk",)}
    assert [s.action for s in hosts.plan(PART).steps] == ["load"]


def test_a_part_that_adds_nothing_is_not_loaded(hosts: Hosts) -> None:
    hosts.answer(changes=[], removed=[], notes=[])
    found = hosts.plan(PART)
    assert (found.steps, found.adds) == ((), {})
    assert f"{PART}: nothing to add" in found.notes


def test_a_part_of_another_cluster_is_refused_before_anything_changes(hosts: Hosts) -> None:
    command(
        hosts.folder, "load_mon.py", "cat > /dev/null; echo 'the backup is of cluster a, and this is b' >&2; exit 1"
    )
    with pytest.raises(RefusedError, match=r"ceph\.monitors of backup .*the backup is of cluster a, and this is b"):
        hosts.plan()


@pytest.mark.parametrize("said", ["", "[]", '{"changes": 1}', '{"new": []}'])
def test_an_answer_that_nobody_understands_is_refused(hosts: Hosts, said: str) -> None:
    (hosts.folder / "answer").write_text(said)
    with pytest.raises(RefusedError, match="answered in a form that this version does not know"):
        hosts.plan()


def test_a_host_without_the_container_is_refused(hosts: Hosts) -> None:
    hosts.answer()
    (hosts.folder / "containers").write_text("ceph_mgr running\n")
    with pytest.raises(RefusedError, match="host testbed-1 has no container ceph_mon"):
        hosts.plan()


def test_the_part_is_loaded_as_it_was_saved_and_no_command_has_a_secret(hosts: Hosts) -> None:
    hosts.answer(changes=["key of client.desk"])
    plan = hosts.plan()
    restoring = Restoring(hosts.region, hosts.chosen(PART), plan, hosts.secret, lambda _event: None)
    restoring.act(cast("Any", None), plan.steps[0])
    assert (hosts.folder / "loaded").read_text() == SAVED
    for log in ("ssh", "docker"):
        assert "the key of the desk" not in (hosts.folder / log).read_text()
    assert b"the key of the desk" not in (hosts.target.path / hosts.backup.id / f"{PART}.age").read_bytes()


def test_a_part_is_taken_out_of_a_backup_with_the_vault_password(hosts: Hosts, tmp_path: Path) -> None:
    folder, password = hosts.target.path / hosts.backup.id, vault.password(hosts.region.environment)
    recover.recover(folder, password, tmp_path / "out", (PART,))
    file = tmp_path / "out" / PART
    assert (file.read_text(), file.stat().st_mode & 0o777) == (SAVED, 0o600)
    for wrong, words in (("mariadb", "is a chain of copies"), ("ovn.nb", "has no part 'ovn.nb'")):
        with pytest.raises(RefusedError, match=words):
            recover.recover(folder, password, tmp_path / "none", (wrong,))
    assert not (tmp_path / "none").exists()


def test_a_trial_has_the_services_programs_and_none_of_its_secrets(hosts: Hosts) -> None:
    with tarfile.open(fileobj=io.BytesIO(scratch.programs(hosts.region.catalog.services["ceph"], "ceph_mon"))) as tar:
        names = set(tar.getnames())
    assert {"etc/ceph/trial_mon.py", "etc/ceph/load_mon.py", "etc/ceph/ceph_ask.py"} <= names
    assert not [n for n in names if n.endswith((".keyring", ".conf", ".json"))]


def test_a_load_gets_the_whole_part_or_nothing(hosts: Hosts) -> None:
    whole = gzip.compress(SAVED.encode())
    argv = stream.inside("ceph_mon", stream.loading(["/etc/ceph/load_mon.py"]))
    feed: Callable[[bytes], None] = lambda data: _feed(hosts.region, argv, data)  # noqa: E731
    with pytest.raises(Exception, match="unexpected end of file"):
        feed(whole[:-9])
    assert not (hosts.folder / "loaded").exists()
    feed(whole)
    assert (hosts.folder / "loaded").read_text() == SAVED


def _feed(region: Region, argv: list[str], data: bytes) -> None:
    with stream.Remote(region, "testbed-1", argv) as remote:
        remote.input.write(data)
