# SPDX-License-Identifier: Apache-2.0
"""Disks of hosts, and the catalog that an inventory makes of services that have one container for each disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from scs_deploy.base.errors import RefusedError
from scs_deploy.desired import listeners, resolve
from scs_deploy.inventory import source, synced
from scs_deploy.inventory.model import Disk, Host, Interface, Inventory, grouped
from scs_deploy.inventory.placing import placed
from scs_deploy.region.region import Region
from scs_deploy.spec import catalog as catalogs
from scs_deploy.spec.catalog import Catalog
from tests.conftest import with_dummies
from tests.support.own_region import OwnRegion, prepared, scs

STORE = """\
description: keeps things
hosts: control
only_with: storage
containers:
  store_head: {command: head}
  store:
    command: [store, --on, "{{ item.path }}"]
    hosts: storage
    for_each: {list: disks, roles: [osd]}
    after: [store_head]
    config: [store.conf]
    devices: ["{{ item.device or '' }}"]
    group_add: ["{{ 'disk' if item.device else '' }}"]
    volumes: ["store_{{ item.name }}:/var/lib/store", "{{ item.folder and item.folder + ':' + item.folder }}"]
    listeners:
      - {port: "{{ 6000 if item.device else 6001 }}", clients: storage}
"""
USER = "description: uses it\nhosts: control\nrequires: [store]\ncontainers:\n  user: {command: run}\n"


def host(name: str, *disks: dict[str, Any], groups: tuple[str, ...] = ("storage",)) -> Host:
    address = f"192.0.2.{10 + int(name[-1])}"
    networks = {"management": Interface.model_validate({"interface": "eth0", "address": address})}
    return Host(
        name=name, address=address, networks=networks, groups=groups, disks=tuple(map(Disk.model_validate, disks))
    )


def inventory(*hosts: Host) -> Inventory:
    return grouped({h.name: h for h in hosts})


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    for name, text in {"store": STORE, "user": USER}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "service.yml").write_text(text)
    (tmp_path / "store" / "store.conf.j2").write_text("[disk]\nname = {{ item.name }}\n")
    return catalogs.load_from((("storage", tmp_path),))


@pytest.mark.parametrize(
    ("disk", "said"),
    [
        ({}, "exactly one of device and file"),
        ({"device": "/dev/sdb", "file": "/var/lib/disk"}, "exactly one of device and file"),
        ({"device": "sdb"}, "should match pattern"),
        ({"file": "/var/lib/disks/one"}, "size_gib: a file needs a size"),
        ({"file": "/one", "size_gib": 4}, "should match pattern"),
        ({"device": "/dev/sdb", "encrypted": True}, "encrypted: scs does not use dm-crypt"),
        ({"device": "/dev/sdb", "role": "db", "db": "other"}, "keys of an osd"),
        ({"device": "/dev/sdb", "name": "A b"}, "should match pattern"),
    ],
)
def test_a_wrong_disk_is_refused(disk: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Disk.model_validate(disk)


def test_a_disk_is_named_after_its_path_and_a_synced_inventory_keeps_its_hash() -> None:
    one = host("n1", {"device": "/dev/disk/by-id/nvme-Samsung_SSD.980"})
    assert one.disks[0].name == "nvme-samsung_ssd-980"
    document = synced.document("x", inventory(one))
    assert synced.content(document)["hosts"]["n1"]["disks"] == [{"device": "/dev/disk/by-id/nvme-Samsung_SSD.980"}]
    named = host("n1", {"device": "/dev/sdb", "name": "fast"})
    assert synced.content(synced.document("x", inventory(named)))["hosts"]["n1"]["disks"][0]["name"] == "fast"


def test_each_disk_of_the_role_has_a_container_on_the_hosts_that_have_it(catalog: Catalog) -> None:
    there = inventory(
        host("n1", {"device": "/dev/sdb"}, {"device": "/dev/sdc"}),
        host("n2", {"device": "/dev/sdb", "role": "db"}, {"device": "/dev/sdc", "db": "sdb"}),
        host("n3", groups=("control",)),
    )
    found = placed(catalog, there)
    service = found.services["store"]
    assert list(service.containers) == ["store_head", "store_sdb", "store_sdc"]
    names = {c: [h.name for h in there.group(*service.groups(c))] for c in service.containers}
    assert names == {"store_head": ["n3"], "store_sdb": ["n1"], "store_sdc": ["n1", "n2"]}
    assert service.containers["store_sdb"].after == ("store_head",)
    assert found.select(("store_sdb",)) == found.select(("store",)) == {"store"}
    assert placed(found, there) == found


def test_without_hosts_in_its_group_a_service_is_not_there_and_nobody_requires_it(catalog: Catalog) -> None:
    found = placed(catalog, inventory(host("n3", groups=("control",))))
    assert list(found.services) == ["user"]
    assert found.required("user") == frozenset()
    with pytest.raises(RefusedError, match="no service 'store': no host is in group storage"):
        found.select(("store",))
    unaffected = inventory(host("n1", {"device": "/dev/sdb"}))
    assert placed(catalogs.load(), unaffected).waves.keys() == placed(catalogs.load(), unaffected).services.keys()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("jobs:\n  x: {container: store, command: run}\n", "jobs.x.container: 'store' is several"),
        ("endpoints:\n  x: {port: 80, container: store}\n", "endpoints: 'store' is several"),
    ],
)
def test_what_needs_one_container_cannot_use_one_for_each_disk(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "service.yml").write_text(STORE + text)
    with pytest.raises(RefusedError, match=said):
        catalogs.load_from((("storage", tmp_path),))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        return prepared(tmp_path_factory.mktemp("template"), patch)


@pytest.fixture
def region(tmp_path: Path, template: Path, monkeypatch: pytest.MonkeyPatch) -> OwnRegion:
    monkeypatch.setenv("SCS_ENVIRONMENTS", str(tmp_path))
    monkeypatch.setenv("SCS_ENVIRONMENT", "berlin")
    made = OwnRegion(tmp_path, template)
    # `haproxy` is an image that has no service of that name here
    own = STORE.replace("only_with: storage\n", "").replace("command: head", "image: haproxy, command: head")
    own = own.replace("hosts: storage", "image: haproxy\n    hosts: control").replace(
        "clients: storage", "clients: all"
    )
    made.write("services/store/service.yml", own)
    made.write("services/store/store.conf.j2", "[disk]\nname = {{ item.name }}\n")
    return made


def disks(region: OwnRegion, text: str) -> None:
    file = region.folder / "inventory" / "host_vars" / "testbed-1.yml"
    kept = [line for line in file.read_text(encoding="utf-8").splitlines() if not line.startswith("disks:")]
    file.write_text("\n".join([*kept, f"disks: {text}"]) + "\n", encoding="utf-8")


FILES = "[{name: a, file: /var/lib/disks/a/block, size_gib: 4}, {device: /dev/sdb}, {device: /dev/sdc}]"


def test_a_container_of_a_disk_has_its_own_command_file_mounts_and_devices(region: OwnRegion) -> None:
    disks(region, FILES)
    found = with_dummies(Region.load("berlin"))
    desired = resolve.resolve(found, "testbed-1", {"store"})
    of_file, of_device = desired.containers["store_a"], desired.containers["store_sdb"]
    assert of_file.body["Cmd"] == ["store", "--on", "/var/lib/disks/a/block"]
    assert "/var/lib/disks/a:/var/lib/disks/a:rw" in of_file.body["HostConfig"]["Binds"]
    assert of_file.directories.keys() == {"/var/lib/disks/a"}
    assert of_file.body["HostConfig"]["Devices"] == []
    assert "GroupAdd" not in of_file.body["HostConfig"]
    assert of_device.body["HostConfig"]["Devices"][0]["PathOnHost"] == "/dev/sdb"
    assert of_device.body["HostConfig"]["GroupAdd"] == ["disk"]
    assert of_device.volumes.keys() == {"store_sdb"}
    assert not of_device.directories
    contents = {f.container: f.content for f in desired.files.values() if f.name == "store.conf"}
    assert contents == {f"store_{n}": f"[disk]\nname = {n}\n" for n in ("a", "sdb", "sdc")}
    ports = {(one.container, one.first) for one in listeners.declared(found, found.inventory.hosts["testbed-1"])}
    assert {("store_a", 6001), ("store_sdb", 6000)} <= ports


def test_an_override_reaches_the_containers_of_all_disks_or_of_one(region: OwnRegion) -> None:
    disks(region, FILES)
    region.write("config/store/store.conf", "[all]\nx = 1\n")
    region.write("config/store_a/store.conf", "[one]\ny = 2\n")
    desired = resolve.resolve(with_dummies(Region.load("berlin")), "testbed-1", {"store"})
    contents = {f.container: f.content for f in desired.files.values() if f.name == "store.conf"}
    assert ("x = 1" in contents["store_a"], "y = 2" in contents["store_a"]) == (True, True)
    assert ("x = 1" in contents["store_sdb"], "y = 2" in contents["store_sdb"]) == (True, False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[{device: /dev/sdb, role: db}]", "but has no disk of role osd, which store needs: list its `disks`"),
        ("[{device: /dev/sdb}, {device: /dev/sdb, name: b}]", "disks: /dev/sdb is there twice"),
        ("[{device: /dev/sdb}, {device: /dev/x/sdb}]", "two disks have the name sdb; give each its own"),
        ("[{device: /dev/sdb, db: nvme}]", "disks: sdb: db: no disk 'nvme' of role db; there are: none"),
        (
            "[{device: /dev/sdb, db: n}, {device: /dev/sdc, db: n}, {device: /dev/n, role: db}]",
            "disks: sdc: db: sdb uses 'n' already; list its partitions as disks",
        ),
    ],
)
def test_disks_that_do_not_fit_are_refused_in_one_line(region: OwnRegion, text: str, said: str) -> None:
    disks(region, text)
    _, error = scs("plan", code=2)
    assert said in error


def test_only_testbeds_have_files_for_disks(region: OwnRegion) -> None:
    disks(region, FILES)
    file = region.folder / "environment.yml"
    file.write_text(file.read_text().replace("testbed:\n  provider: containers\n", ""))
    said, _ = scs("env", "check", "--json", code=2)
    assert "disks: a: file: only testbeds have files for disks; name a device" in said


def test_a_default_network_follows_from_the_hosts_of_the_disks(catalog: Catalog) -> None:
    there = inventory(host("n1", {"device": "/dev/sdb"}), host("n3", groups=("control",)))
    assert source.defaults(there, catalog) == {}
