# SPDX-License-Identifier: Apache-2.0
"""Programs of Glance, Nova and Cinder for a region with Ceph."""

from __future__ import annotations

import base64
import importlib.util
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import direct_url
import pytest

from scs_deploy.base import paths
from tests.support.programs import command, path

SERVICES = Path(__file__).parents[3] / "collections/ansible_collections/scs/openstack/services"
CLUSTER = "f80b7c19-4d19-48be-b394-d162c5df7b6f"
CLIENTS = {
    "nova": (CLUSTER, "AQBt1QxrAAAAABAAymcvCthBQsPZpbVg7biWZg=="),
    "cinder": ("3d9c2a10-7b5e-4a6f-9c7d-0b1f6e2d4c88", "AQBt1QxrAAAAABAAq2cvCthBQsPZpbVg7biWZg=="),
}
"""client: the id of its key, and the key"""


class Serializer:
    """Describes images as Glance does."""

    def describe(self, image: str) -> dict[str, Any]:
        return {"id": image, "direct_url": f"rbd://{CLUSTER}/images/{image}/snap"}


@pytest.mark.parametrize(
    ("roles", "shown"), [(["service"], True), (["admin", "service"], True), (["admin"], False), ([], False)]
)
def test_only_services_see_where_an_images_data_is(roles: list[str], shown: bool) -> None:
    view = direct_url.for_services(Serializer.describe, lambda: roles)(Serializer(), "one")
    assert ("direct_url" in view) is shown
    assert view["id"] == "one"


@pytest.fixture
def compute(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program start_compute.py, without Nova."""
    for name in ("nova", "nova.cmd", "nova.cmd.compute", "libvirt"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["nova.cmd"].compute = sys.modules["nova.cmd.compute"]  # type: ignore[attr-defined]
    return program("start_compute", SERVICES / "nova/files/start_compute.py")


def program(name: str, file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("section", "guests"), [("[libvirt]\nimages_type = rbd\n", ["one"]), ("[libvirt]\nvirt_type = kvm\n", []), ("", [])]
)
def test_guests_with_local_disks_keep_nova_from_looking_in_ceph(
    compute: ModuleType, tmp_path: Path, section: str, guests: list[str]
) -> None:
    for folder, file in (("one", "disk"), ("two", "console.log"), ("_base", "0123")):
        (tmp_path / "instances" / folder).mkdir(parents=True)
        (tmp_path / "instances" / folder / file).touch()
    (tmp_path / "nova.conf").write_text(f"[DEFAULT]\nstate_path = 100%\n{section}", encoding="utf-8")
    assert compute.misplaced(tmp_path / "instances", tmp_path / "nova.conf") == guests


class Rados(ModuleType):
    """As much of `rados` as nova-compute asks at its start.

    :param blocked: entries of Ceph's blocklist; None: Ceph does not answer
    """

    class Error(Exception):
        pass

    def __init__(self, address: str, blocked: tuple[str, ...] | None) -> None:
        super().__init__("rados")
        self.address, self.blocked = address, blocked

    def Rados(self, **options: Any) -> Any:  # noqa: N802 - stands for a class
        assert options["rados_id"] == "nova"
        return self

    def __enter__(self) -> Any:
        if self.blocked is None:
            raise self.Error("timed out")
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def get_addrs(self) -> str:
        return self.address

    def mon_command(self, _command: str, _given: bytes) -> tuple[int, bytes, str]:
        found = [{"addr": a, "until": "2031-01-01T00:00:00"} for a in self.blocked or ()]
        return 0, f"\n{json.dumps(found)}[]".encode(), ""


@pytest.mark.parametrize(
    ("address", "blocked", "found"),
    [
        ("192.0.2.3:0/3141592653", ("192.0.2.4:0/0", "192.0.2.3:0/0"), "192.0.2.3"),
        ("v2:[2001:db8::3]:0/3141592653", ("[2001:db8::3]:0/0",), "[2001:db8::3]"),
        # a client whose lock somebody broke
        ("192.0.2.3:0/3141592653", ("192.0.2.3:0/2718281828", "192.0.2.33:0/0"), ""),
        ("192.0.2.3:0/3141592653", (), ""),
        ("192.0.2.3:0/3141592653", None, ""),
    ],
)
def test_an_evacuated_hosts_guests_wait_until_ceph_takes_from_it_again(
    compute: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str,
    blocked: tuple[str, ...] | None, found: str,
) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, "rados", Rados(address, blocked))
    (tmp_path / "nova.conf").write_text("[libvirt]\nrbd_user = nova\n", encoding="utf-8")
    assert compute.fenced(tmp_path / "nova.conf") == found


def test_a_host_without_ceph_does_not_ask_it(compute: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "nova.conf").write_text("[libvirt]\nvirt_type = kvm\n", encoding="utf-8")
    assert compute.fenced(tmp_path / "nova.conf") == ""


@pytest.fixture
def start_backup(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program start_backup.py, without Cinder."""
    for name in ("cinder", "cinder.cmd", "cinder.cmd.backup", "cinder.backup", "cinder.backup.drivers"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["cinder.cmd"].backup = sys.modules["cinder.cmd.backup"]  # type: ignore[attr-defined]
    sys.modules["cinder.backup.drivers"].ceph = ModuleType("ceph")  # type: ignore[attr-defined]
    return program("start_backup", SERVICES / "cinder/files/start_backup.py")


class File:
    """A volume that is opened."""

    def __init__(self, size: int) -> None:
        self.rbd_image = SimpleNamespace(size=lambda: size)


@pytest.mark.parametrize(
    ("volume", "copied"),
    [(File(1024 + 2), 1024 + 2), (File(1024), 1024), (File(512), 1024), (object(), 1024)],
    ids=["encrypted", "plain", "smaller", "not in Ceph"],
)
def test_a_copy_reaches_the_end_of_an_encrypted_volume(start_backup: ModuleType, volume: object, copied: int) -> None:
    def restore(_self: object, dest_file: object, length: int, new: bool = False) -> tuple[object, int, bool]:
        return dest_file, length, new

    whole = start_backup.whole(restore, "dest_file")
    assert whole(None, volume, 1024) == (volume, copied, False)
    assert whole(None, dest_file=volume, length=1024, new=True) == (volume, copied, True)


def transfer(_self: object, src: io.BytesIO, dest: Any, length: int, discard_zeros: bool = False) -> int:
    """What Cinder does, 4 bytes at a time: it passes over what is all zeros. Returns where it ended."""
    while data := src.read(min(4, length - src.tell())):
        if not (discard_zeros and not any(data)):
            dest.write(data)
            dest.flush()
    return int(dest.tell())


@pytest.mark.parametrize("new", [False, True])
@pytest.mark.parametrize("content", [b"key-" + bytes(8) + b"data", bytes(12) + b"da", b"key-" + bytes(8)])
def test_a_copy_to_a_new_volume_keeps_its_place(start_backup: ModuleType, content: bytes, new: bool) -> None:
    target = io.BytesIO(bytes(len(content)))
    ended = start_backup.in_step(transfer)(None, io.BytesIO(content), target, len(content), discard_zeros=new)
    assert (target.getvalue(), ended) == (content, len(content))


def libvirt(folder: Path, with_key: bool) -> Path:
    """Run start-libvirt.sh on a copy of the host's folders; returns what stands for /."""
    text = (SERVICES / "nova/files/start-libvirt.sh").read_text(encoding="utf-8")
    root = folder / "root"
    for place in ("etc/libvirt", "etc/ceph", "run/libvirt", "var/lib/libvirt", "etc/scs/tls"):
        (root / place).mkdir(parents=True)
    for name in ("migration", "console"):
        for file in (f"{name}-ca.crt", f"{name}.crt", f"{name}.key"):
            (root / "etc/scs/tls" / file).write_text("x", encoding="utf-8")
    clients = CLIENTS if with_key else {}
    lines = "".join(f"{client} {number}\n" for client, (number, _) in clients.items())
    (root / "etc/libvirt/ceph-clients.txt").write_text(lines, encoding="utf-8")
    for client, (_, key) in clients.items():
        keyring = root / f"etc/ceph/ceph.client.{client}.keyring"
        keyring.write_text(f"[client.{client}]\n\tkey = {key}\n", encoding="utf-8")
    program = folder / "start-libvirt.sh"
    program.write_text(re.sub(r"(?<![\w.])/(?=(etc|run|var)/)", f"{root}/", text), encoding="utf-8")
    commands = folder / "bin"
    # the folders' owners are users of the image
    command(commands, "install", 'exec /usr/bin/install $(echo "$@" | sed "s/-o [a-z-]* //; s/-g [a-z-]* //")')
    command(commands, "libvirtd", 'echo "$@"')
    done = subprocess.run(["sh", program], env=path(commands), capture_output=True, text=True, check=True)
    assert done.stdout == "--listen\n"
    return root / "etc/libvirt/secrets"


def test_libvirt_gets_the_keys_of_disks_in_ceph(tmp_path: Path) -> None:
    """Nova's disks are opened as `nova`; volumes as `cinder`, because Cinder's driver names its own client."""
    secrets = libvirt(tmp_path, with_key=True)
    for client, (number, key) in CLIENTS.items():
        assert (secrets / f"{number}.base64").read_text(encoding="utf-8") == key
        assert base64.b64decode(key)
        description = (secrets / f"{number}.xml").read_text(encoding="utf-8")
        assert f"<uuid>{number}</uuid>" in description
        assert f"<name>client.{client}</name>" in description
        assert "private='yes'" in description
    assert {f.stat().st_mode & 0o777 for f in secrets.iterdir()} == {0o600}
    assert secrets.stat().st_mode & 0o777 == 0o700


def test_volumes_name_the_key_that_hypervisors_know() -> None:
    rendered = paths.root() / "tests" / "golden" / "testbed" / "testbed-1"
    options = dict(
        line.split(" = ") for line in (rendered / "cinder_volume/cinder.conf").read_text().splitlines() if " = " in line
    )
    known = dict(line.split() for line in (rendered / "nova_libvirt/ceph-clients.txt").read_text().splitlines())
    assert known[options["rbd_user"]] == options["rbd_secret_uuid"]
    assert (rendered / f"nova_libvirt/ceph/ceph.client.{options['rbd_user']}.keyring").is_file()


def test_libvirt_gets_none_without_ceph(tmp_path: Path) -> None:
    assert list(libvirt(tmp_path, with_key=False).iterdir()) == []


def test_cinders_sudo_runs_programs_as_its_own_user() -> None:
    done = subprocess.run([SERVICES / "cinder/files/sudo", "id", "-u"], capture_output=True, text=True, check=True)
    own = subprocess.run(["id", "-u"], capture_output=True, text=True, check=True)
    assert done.stdout == own.stdout
