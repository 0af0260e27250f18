# SPDX-License-Identifier: Apache-2.0
"""What a backup has of Ceph's monitors, and what of it a cluster gets. Answers are those of a real cluster of 20.2."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

# librados is in the image only
sys.modules.setdefault("rados", ModuleType("rados"))

import load_mon  # noqa: E402
import save_mon  # noqa: E402
import trial_mon  # noqa: E402
from ceph_ask import AskError  # noqa: E402
from load_mon import LoadError  # noqa: E402

FSID = "37aebb56-d538-46be-b7eb-f76ea901c4fe"
OPTION = {"level": "advanced", "can_update_at_runtime": True}
ADMIN = {"mds": "allow *", "mgr": "allow *", "mon": "allow *", "osd": "allow *"}
OSD = {"mgr": "allow profile osd", "mon": "allow profile osd", "osd": "allow *"}


def entry(entity: str, caps: dict[str, str]) -> dict[str, Any]:
    return {"entity": entity, "key": f"AgA-{entity}", "caps": caps}


ANSWERS: dict[str, Any] = {
    "osd dump": {
        "epoch": 21, "fsid": FSID, "crush_node_flags": {"ha-2": ["noout"]},
        "pools": [{"pool": 1, "pool_name": ".mgr"}, {"pool": 2, "pool_name": "test"}],
        "osds": [
            {"osd": 0, "uuid": "ef0fa6cc-bd9b-4d59-9d8a-010c929e3dc4", "up": 1, "in": 1},
            {"osd": 1, "uuid": "f49dec92-5242-4d16-ace2-ccaf5703b8a3", "up": 1, "in": 1},
        ],
    },
    "mon dump": {"epoch": 3, "fsid": FSID, "created": "2026-11-30T12:28:49.446688Z"},
    "auth ls": {
        "auth_dump": [
            entry("osd.0", OSD), entry("osd.1", OSD), entry("client.admin", ADMIN),
            entry("client.bootstrap-mds", {"mon": "allow profile bootstrap-mds"}),
            entry("client.glance", {"mon": "profile rbd"}),
            entry("client.desk", {"mgr": 'allow command "osd ok-to-stop"', "mon": "allow r"}),
            entry("client.osd_gate", {"mon": "profile simple-rados-client"}), entry("mgr.ha-1", {"mon": "profile mgr"}),
        ],
    },
    "config dump": [
        {**OPTION, "section": "mgr", "name": "mgr/dashboard/server_port", "value": "8443", "mask": ""},
        {**OPTION, "section": "osd", "name": "osd_recovery_sleep", "value": "0.700000", "mask": "host:foo/class:ssd"},
        {**OPTION, "section": "osd.1", "name": "osd_mclock_max_capacity_iops_hdd", "value": "412", "mask": ""},
    ],
    "config-key dump": {
        "bin": "<<< binary blob of length 3 >>>", "config-history/2/": "<<< binary blob of length 12 >>>",
        "config/osd/osd_max_backfills": "3", "dm-crypt/osd/1/luks": "secret", "scs/noout/ha-2": "scs node drain",
    },
    "mgr module ls": {"always_on_modules": ["balancer"], "enabled_modules": ["prometheus", "alerts"]},
    "fs dump": {
        "epoch": 4,
        "filesystems": [{"id": 1, "mdsmap": {"fs_name": "shared", "metadata_pool": 2, "data_pools": [1]}}],
    },
}  # fmt: skip


class Monitors:
    """What answers like a cluster, and remembers what was asked of it."""

    def __init__(self, **refusals: str) -> None:
        self.refusals = refusals
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.given: list[bytes] = []

    def monitors(self, prefix: str, **_: Any) -> Any:
        return ANSWERS[prefix]

    def raw(self, prefix: str, given: bytes = b"", **arguments: Any) -> bytes:
        self.asked.append((prefix, arguments))
        self.given.append(given)
        for word, said in self.refusals.items():
            if word in json.dumps(arguments) and not arguments.get("force"):
                raise AskError(f"ceph {prefix}: {said}")
        return {"osd getmap": b"the map", "mon getmap": b"monitors", "config-key get": b"\x00\xff\x01"}.get(prefix, b"")


def saved() -> dict[str, Any]:
    made: dict[str, Any] = json.loads(json.dumps(save_mon.export(Monitors())))  # type: ignore[arg-type]
    return made


def changed(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """The cluster later, after a change."""
    now = saved()
    change(now)
    return now


def rebuilt(now: dict[str, Any]) -> None:
    """What OSDs know, and what scs gives out."""
    now["created"] = "2026-12-01T00:00:00.000000Z"
    kept = ("osd.", "mgr.", "client.admin", "client.osd_gate")
    now["auth"] = {e: a for e, a in now["auth"].items() if e.startswith(kept)}
    now.update(config={}, keys={}, modules=["prometheus"], file_systems=[])


def test_everything_that_only_monitors_know_is_saved() -> None:
    found = saved()
    assert found["auth"]["client.desk"] == {"key": "AgA-client.desk", "caps": {
        "mgr": 'allow command "osd ok-to-stop"', "mon": "allow r"}}  # fmt: skip
    assert found["config"]["osd/host:foo/class:ssd"] == {"osd_recovery_sleep": "0.700000"}
    # the configuration database is among the config-keys again, and is no one's to set there
    assert {k: base64.b64decode(v) for k, v in found["keys"].items()} == {
        "bin": b"\x00\xff\x01", "dm-crypt/osd/1/luks": b"secret", "scs/noout/ha-2": b"scs node drain",
    }  # fmt: skip
    assert (found["osd_epoch"], base64.b64decode(found["osdmap"])) == (21, b"the map")


def test_the_map_of_osds_is_the_one_that_the_rest_was_read_with() -> None:
    asked = Monitors()
    save_mon.export(asked)  # type: ignore[arg-type]
    assert ("osd getmap", {"epoch": 21}) in asked.asked


OURS = frozenset({"client.admin", "client.glance"})
LOST = [
    "option mgr/dashboard/server_port of mgr",
    "option osd_mclock_max_capacity_iops_hdd of osd.1",
    "option osd_recovery_sleep of osd/host:foo/class:ssd",
    "config-key bin",
    "config-key dm-crypt/osd/1/luks",
    "config-key scs/noout/ha-2",
    "module alerts of the manager",
    "key of client.desk",
]
NEW_FS = (
    "the cluster has no file system shared; while no metadata server runs: "
    "ceph fs new shared test .mgr --fscid 1 --force --recover"
)


def test_nothing_changes_in_the_cluster_that_was_saved() -> None:
    assert load_mon.plan(saved(), saved(), OURS) == {"changes": [], "removed": [], "notes": []}


def test_a_rebuilt_store_gets_what_it_lacks_except_what_scs_gives_out() -> None:
    now = changed(rebuilt)
    assert load_mon.plan(saved(), now, OURS) == {"changes": LOST, "removed": [], "notes": [NEW_FS]}


def test_what_somebody_removed_is_told_apart() -> None:
    now = changed(lambda now: (now["auth"].pop("client.desk"), now["keys"].pop("bin")))
    assert load_mon.plan(saved(), now, OURS) == {
        "changes": [], "removed": ["config-key bin", "key of client.desk"], "notes": [],
    }  # fmt: skip


def test_an_osd_that_came_later_does_not_get_the_key_of_the_one_before_it() -> None:
    def replaced(now: dict[str, Any]) -> None:
        rebuilt(now)
        now["osds"]["1"] = "00000000-0000-4000-8000-000000000000"
        for osd in ("osd.0", "osd.1"):
            del now["auth"][osd]

    lacks = load_mon.missing(saved(), changed(replaced), OURS)
    assert lacks.auth == ("client.desk", "osd.0")
    assert "osd.1" not in {who for who, _ in lacks.config}


def test_a_note_of_whose_noout_it_is_comes_back_where_noout_is() -> None:
    now = changed(rebuilt)
    now["noout"].clear()
    assert "scs/noout/ha-2" not in load_mon.missing(saved(), now, OURS).keys


def test_other_values_stay_and_are_named() -> None:
    def other(now: dict[str, Any]) -> None:
        now["auth"]["client.desk"]["key"] = "another"
        now["auth"]["client.glance"]["key"] = "rotated"
        now["config"]["mgr"]["mgr/dashboard/server_port"] = "9443"
        now["pools"] = {"1": ".mgr"}

    found = load_mon.plan(saved(), changed(other), OURS)
    assert (found["changes"], found["removed"]) == ([], [])
    assert found["notes"] == [
        "have another key or other capabilities now, and keep them: client.desk",
        "options with another value now, which they keep: mgr/dashboard/server_port of mgr",
        "the cluster has no pool test; no backup of scs holds the data of pools",
    ]


def test_what_is_loaded_is_in_no_word_of_a_command_that_ceph_logs() -> None:
    cluster, found = Monitors(), saved()
    load_mon.load(cluster, found, load_mon.missing(found, changed(rebuilt), OURS))  # type: ignore[arg-type]
    assert [prefix for prefix, _ in cluster.asked] == [
        *["config set"] * 3, *["config-key set"] * 3, "mgr module enable", "auth add"
    ]  # fmt: skip
    # Ceph logs the words of all commands but those of `config set`
    logged = json.dumps([a for p, a in cluster.asked if p != "config set"])
    assert "secret" not in logged
    assert "AgA-" not in logged
    assert b"secret" in cluster.given
    keyring = next(g.decode() for p, g in zip(cluster.asked, cluster.given, strict=True) if p[0] == "auth add")
    assert keyring == (
        '[client.desk]\n\tkey = AgA-client.desk\n\tcaps mgr = "allow command \\"osd ok-to-stop\\""\n'
        '\tcaps mon = "allow r"\n'
    )


def test_one_refusal_stops_nothing_else_and_tells_no_value() -> None:
    cluster, found = Monitors(osd_recovery_sleep="error parsing value: got: '0.700000'"), saved()
    with pytest.raises(LoadError, match="1 not restored: option osd_recovery_sleep of osd/host:foo/class:ssd") as error:
        load_mon.load(cluster, found, load_mon.missing(found, changed(rebuilt), OURS))  # type: ignore[arg-type]
    assert "0.700000" not in str(error.value)
    assert cluster.asked[-1] == ("auth add", {"entity": "client.desk"})


def test_an_option_of_a_module_that_nobody_has_loaded_yet_is_set_all_the_same() -> None:
    cluster, found = Monitors(dashboard="unrecognized config option 'mgr/dashboard/server_port'"), saved()
    load_mon.load(cluster, found, load_mon.missing(found, changed(rebuilt), OURS))  # type: ignore[arg-type]
    assert cluster.asked[1] == (
        "config set", {"who": "mgr", "name": "mgr/dashboard/server_port", "value": "8443", "force": True},
    )  # fmt: skip


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": "x"}'])
def test_a_damaged_part_is_refused(text: str) -> None:
    with pytest.raises(LoadError, match="what was saved is damaged"):
        load_mon.parse(text)


def test_a_part_of_a_later_version_or_another_cluster_is_refused() -> None:
    with pytest.raises(LoadError, match="a later version of scs saved this"):
        load_mon.parse(json.dumps({**saved(), "format": save_mon.FORMAT + 1}))
    with pytest.raises(LoadError, match=f"the backup is of cluster other, and this is {FSID}"):
        load_mon.refuse({**saved(), "fsid": "other"}, saved())


def test_clients_of_the_region_are_those_in_its_keyrings(tmp_path: Path) -> None:
    (tmp_path / "clients.keyring").write_text("[client.glance]\n\tkey = x\n[client.cinder]\n\tkey = y\n")
    (tmp_path / "mon.keyring").write_text('[mon.]\n\tkey = x\n\tcaps mon = "allow *"\n[client.admin]\n\tkey = y\n')
    assert load_mon.declared(tmp_path) == {"client.glance", "client.cinder", "mon.", "client.admin"}


def test_a_trial_notices_what_reads_back_otherwise() -> None:
    found = saved()
    loaded = trial_mon.everything(found, changed(rebuilt))
    assert set(loaded.auth) == {"client.desk", "client.glance"}
    assert loaded.modules == ()
    assert trial_mon.differing(found, saved(), loaded) == []
    now = changed(lambda now: (now["auth"]["client.desk"]["caps"].pop("mgr"), now["keys"].update(bin="")))
    assert trial_mon.differing(found, now, loaded) == ["key of client.desk", "config-key bin"]
