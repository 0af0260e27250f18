# SPDX-License-Identifier: Apache-2.0
"""A restore's refusals and steps, its choice of a member, what is compared: decisions, as tables."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.clusters.galera import backup as physical
from scs_deploy.operations.backup import parts, restore_plan, restore_run, source, stream, verify
from scs_deploy.operations.backup.manifest import Manifest, Rows
from scs_deploy.operations.backup.restore_plan import HostFacts, RestorePlan, Target
from scs_deploy.region.region import Region
from tests.conftest import dummy_region
from tests.unit.operations.backup.test_backup_chain import MONDAY, backup

BACKUP = backup(MONDAY)
HOSTS = {h: HostFacts(containers=frozenset({"mariadb"})) for h in ("a", "b", "c")}
TARGET = Target(host="b", version="11.8.6-MariaDB", free=10**9, needed=10**6)


@pytest.fixture(scope="module")
def region() -> Region:
    return dummy_region("testbed-ha")


def refuse(
    made: Manifest = BACKUP, release: str = "2025.1", hosts: dict[str, HostFacts] = HOSTS, target: Target = TARGET
) -> None:
    restore_plan.refuse(made, release, hosts, {"mariadb": ["a", "b", "c"]}, target)


def test_a_backup_that_fits_is_not_refused() -> None:
    refuse()


def test_a_compute_host_that_is_down_does_not_hinder_the_databases() -> None:
    refuse(hosts={**HOSTS, "compute-7": HostFacts(unreachable="No route to host")})


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"release": "2024.1"}, "is from release 2025.1, but the region runs the older 2024.1"),
        ({"release": "2026.1"}, "services of 2026.1 cannot use its schemas"),
        ({"hosts": {**HOSTS, "c": HostFacts(unreachable="No route to host")}}, "host c is unreachable: No route"),
        ({"hosts": {**HOSTS, "c": HostFacts()}}, "host c has no container mariadb"),
        ({"target": TARGET.model_copy(update={"version": "11.8.5-MariaDB"})}, "has the older 11.8.5-MariaDB"),
        ({"target": TARGET.model_copy(update={"version": "12.3.1-MariaDB"})}, "another series"),
        ({"target": TARGET.model_copy(update={"free": 10})}, "host b: 0.0 MiB free"),
    ],
)
def test_what_cannot_be_restored_is_refused(changed: dict[str, object], words: str) -> None:
    with pytest.raises(RefusedError, match=words):
        refuse(**changed)  # type: ignore[arg-type]


def test_a_newer_patch_level_takes_older_data() -> None:
    refuse(target=TARGET.model_copy(update={"version": "11.8.10-MariaDB"}))


def test_users_of_the_database_stop_and_guests_go_on(region: Region) -> None:
    quiet = restore_plan.quiet_containers(region.catalog, ["mariadb"], parts.declared(region.catalog))
    assert {"keystone", "keystone_fernet", "placement", "nova_api", "nova_conductor"} <= set(quiet)
    assert not {"mariadb", "haproxy", "rabbitmq", "ovn_controller"} & set(quiet)
    stays = {n for s in region.catalog.services.values() for n, c in s.containers.items() if c.impact == "data-plane"}
    assert stays
    assert not stays & set(quiet)


def test_only_what_uses_a_part_stops(region: Region) -> None:
    declared = parts.declared(region.catalog)
    assert restore_plan.quiet_containers(region.catalog, ["rabbitmq.definitions"], declared) == ()
    assert restore_plan.quiet_containers(region.catalog, ["keystone.keys"], declared) == ("keystone_fernet",)
    networks = restore_plan.quiet_containers(region.catalog, ["ovn.nb"], declared)
    assert any(n.startswith("neutron") for n in networks)
    assert "keystone" not in networks


def test_what_can_fail_comes_before_anything_stops(region: Region) -> None:
    later = backup(MONDAY + timedelta(days=1), BACKUP.id, lsn=100)
    declared = {n: s for n, s in parts.declared(region.catalog).items() if n in ("ovn.nb", "keystone.keys")}
    where = {c: ["a", "b", "c"] for c in ("ovn_nb", "keystone_fernet", "keystone")}
    found = restore_plan.steps(
        (BACKUP, later), ["mariadb", "ovn.nb", "keystone.keys"], declared, where,
        {"keystone": ["a", "b", "c"], "nova_compute": ["d"]}, ["a", "b", "c"], "b", copies=True,
    )  # fmt: skip
    assert [(s.action, s.hosts) for s in found] == [
        ("stage", ("b",)),
        ("quiet", ("a", "b", "c", "d")),
        ("stop", ("a", "b", "c")),
        ("copy", ("b",)),
        ("swap", ("b",)),
        ("start", ("b",)),
        ("compare", ("b",)),
        ("join", ("a",)),
        ("join", ("c",)),
        ("identify", ("d",)),
        ("load", ("a",)),
        ("load", ("a", "b", "c")),
        ("wake", ("a", "b", "c", "d")),
    ]
    assert BACKUP.id in found[0].what
    assert "1 incremental" in found[0].what


DOCKER = """#!/bin/sh
case "$*" in
"ps --all "*) printf '%s\\n' 'keystone running' 'nova_api exited' 'glance_api running' 'neutron_server running' \
  'other restarting' ;;
*health=starting*) echo 'glance_api starting' ;;
*health=unhealthy*) echo 'neutron_server unhealthy' ;;
esac
"""


def test_services_that_are_not_healthy_yet_are_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "docker").write_text(DOCKER)
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(
        stream, "output_of", lambda _region, _host, argv: subprocess.run(argv, stdout=subprocess.PIPE, text=True).stdout
    )
    names = ("keystone", "nova_api", "glance_api", "neutron_server", "elsewhere")
    quiet: dict[str, tuple[str, ...]] = dict.fromkeys(names, ("a",))
    plan = cast("RestorePlan", SimpleNamespace(quiet=quiet))
    restoring = restore_run.Restoring(cast("Any", None), cast("Any", None), plan, "", print)
    assert restoring._not_ready("a") == [
        "nova_api on a: exited", "glance_api on a: starting", "neutron_server on a: unhealthy",
    ]  # fmt: skip


def packed(*members: tuple[str, bytes, str]) -> bytes:
    """A tar file of (name, type, content)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.size = kind, 0o777, len(content)
            tar.addfile(info, io.BytesIO(content.encode()))
    return buffer.getvalue()


def test_a_description_is_unpacked_for_its_owner_only(tmp_path: Path) -> None:
    data = packed(("config", tarfile.DIRTYPE, ""), ("config/a.conf", tarfile.REGTYPE, "x"), ("b", tarfile.REGTYPE, ""))
    folder = restore_run.extract(tmp_path, data)
    assert (folder / "config/a.conf").read_text() == "x"
    assert [(folder / n).stat().st_mode & 0o777 for n in ("config", "config/a.conf", "b")] == [0o700, 0o600, 0o600]


@pytest.mark.parametrize(
    ("name", "kind"),
    [("../out", tarfile.REGTYPE), ("/tmp/out", tarfile.REGTYPE), ("link", tarfile.SYMTYPE), ("pipe", tarfile.FIFOTYPE)],
)
def test_a_description_stays_in_its_folder(tmp_path: Path, name: str, kind: bytes) -> None:
    with pytest.raises(ScsError, match="neither a file nor a folder below"):
        restore_run.extract(tmp_path, packed((name, kind, "")))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("states", "writer", "last", "member"),
    [
        ({"a": "S", "b": "S", "c": "S"}, "a", "", "c"),
        ({"a": "S", "b": "S", "c": "S"}, "a", "b", "b"),
        ({"a": "S", "b": "S", "c": "S"}, "b", "b", "c"),
        ({"a": "S", "b": "Primary Joiner", "c": "does not answer"}, "a", "b", "a"),
        ({"a": "S"}, "", "", "a"),
    ],
    ids=["not the writer", "the last one again", "the last one writes now", "only the writer", "alone"],
)
def test_a_member_that_does_not_write_is_copied(states: dict[str, str], writer: str, last: str, member: str) -> None:
    known = {h: "Primary Synced" if s == "S" else s for h, s in states.items()}
    assert source.pick(known, writer, last) == member


def test_without_a_synchronised_member_nothing_is_copied() -> None:
    with pytest.raises(RefusedError, match="a: non-Primary Initialized; b: no route"):
        source.pick({"a": "non-Primary Initialized", "b": "no route"}, "", "")


def test_rows_are_compared_where_nobody_wrote() -> None:
    rows = source.rows_of(
        {"n.a": 3, "n.b": 5, "n.c": 1, "n.gone": 9}, {"n.a": 3, "n.b": 7, "n.c": 1}, frozenset({"n.c"})
    )
    assert rows == {
        "n.a": Rows(before=3, after=3, touched=False),
        "n.b": Rows(before=5, after=7, touched=True),
        "n.c": Rows(before=1, after=1, touched=True),
    }
    database = BACKUP.database
    assert database
    database = database.model_copy(update={"tables": rows})
    assert verify.compare(database, {"n.a": 3, "n.b": 6, "n.c": 1, "n.new": 4}) == ()
    assert verify.compare(database, {"n.a": 3, "n.b": 6, "n.c": 2}) == ("n.c",)
    with pytest.raises(ScsError, match=r"wrong row count in 1 table, first: n\.a has 2, but the region had 3"):
        verify.compare(database, {"n.a": 2, "n.b": 6, "n.c": 2})
    with pytest.raises(ScsError, match=r"missing 1 table, first: n\.b"):
        verify.compare(database, {"n.a": 3, "n.c": 2})


def test_names_that_would_break_a_statement_are_quoted() -> None:
    query = source.count_query([("a`b", "it's")])
    assert "SELECT 'a`b', 'it''s', COUNT(*) FROM `a``b`.`it's`;" in query


def test_mariadb_backup_must_say_where_it_ended() -> None:
    log = physical.Log()
    for line in (
        "[00] 2026-11-21 09:55:28 mariabackup: The latest check point (for incremental): '45141'",
        "[00] 2026-11-21 09:55:29 Writing Galera info succeeded with ad7ec78f-e591-11f1-bdd8-2216f1c6ed6c:3 0",
    ):
        log(line)
    with pytest.raises(ScsError, match="reported no position"):
        log.check("a")
    log("[00] 2026-11-21 09:55:29 completed OK!")
    log.check("a")
    assert (log.position, log.to_lsn) == ("ad7ec78f-e591-11f1-bdd8-2216f1c6ed6c:3", 45141)


def test_parts_are_named_by_themselves_or_by_their_service(region: Region) -> None:
    every = parts.names(region.catalog)
    assert {"mariadb", "ovn.nb", "ovn.sb", "rabbitmq.definitions", "keystone.keys", "environment"} <= set(every)
    assert parts.chosen(region.catalog, ["ovn"], every) == ["ovn.nb", "ovn.sb"]
    assert parts.chosen(region.catalog, ["keystone.keys"], every) == ["keystone.keys"]
    assert parts.chosen(region.catalog, [], ["mariadb", "environment"]) == ["mariadb", "environment"]
    with pytest.raises(RefusedError, match="no part 'ov'"):
        parts.chosen(region.catalog, ["ov"], every)
