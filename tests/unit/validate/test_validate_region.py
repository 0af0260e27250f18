# SPDX-License-Identifier: Apache-2.0
"""A complete validation with real requests of openstacksdk against a small fake of the APIs."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import IPv4Network
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from openstack.exceptions import NotFoundException

from scs_deploy import validate
from scs_deploy.base import icmp
from scs_deploy.engine import remote
from scs_deploy.region import ceph
from scs_deploy.region.region import Region
from scs_deploy.shared.ceph.session import Ceph
from scs_deploy.validate import Verdict, disks, guest_image
from scs_deploy.validate.checks import server as server_checks
from scs_deploy.validate.checks import services, volume_types
from scs_deploy.validate.checks import volumes as volume_checks
from tests.support.fake_openstack import FakeOpenStack

RECORDED_FULL = Path(__file__).parents[1] / "shared" / "recorded_ceph" / "status_full.json"
OBJECTS = ("s3", "s3-multipart", "s3-presigned", "s3-versioning", "s3-policy", "swift")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=fake -addext subjectAltName=IP:127.0.0.1"
    subprocess.run([*command.split(), "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


@pytest.fixture
def cloud(certificate: tuple[Path, Path]) -> Iterator[FakeOpenStack]:
    found = FakeOpenStack(*certificate)
    yield found
    found.http.shutdown()
    found.http.server_close()


@pytest.fixture(autouse=True)
def guest(cloud: FakeOpenStack, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The server behind the floating IP 127.0.0.1."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(f"{cloud.guest_id}\n".encode())

        def log_message(self, *args: object) -> None:
            pass

    monkeypatch.setattr(icmp, "ping", lambda *_, **__: 0.001)
    for name in ("CONSOLE_DEADLINE", "REACH_DEADLINE"):
        monkeypatch.setattr(server_checks, name, 0)
    monkeypatch.setattr(services, "REPORT_DEADLINE", 0)
    described = SimpleNamespace(inventory=SimpleNamespace(hosts={"one": None}), catalog=SimpleNamespace(services={}))
    monkeypatch.setattr(Region, "load", lambda *_, **__: described)
    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        monkeypatch.setattr(server_checks, "PORT", http.server_port)
        Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        yield
        http.shutdown()


@pytest.fixture
def environment(
    cloud: FakeOpenStack, certificate: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Any:
    state = tmp_path / "t" / "state"
    state.mkdir(parents=True)
    names = {"project_name": "admin", "user_domain_name": "Default", "project_domain_name": "Default"}
    auth = {"auth_url": f"{cloud.url}/identity/v3", "username": "admin", **names}
    entry = {"auth": auth, "cacert": str(certificate[0]), "region_name": "R"}
    (state / "clouds.yaml").write_text(yaml.safe_dump({"clouds": {"t-admin": entry}}))
    (state / "secure.yaml").write_text(yaml.safe_dump({"clouds": {"t-admin": {"auth": {"password": "x"}}}}))
    picture = tmp_path / "guest.qcow2"
    picture.write_bytes(b"picture" * 1000)
    made = guest_image.GuestImage(path=picture, package="linux-image", version="6", inputs="0" * 64)
    monkeypatch.setattr(guest_image, "ensure", lambda *_, **__: made)
    networks = {"provider": SimpleNamespace(cidr=IPv4Network("172.30.1.0/24"))}
    settings = SimpleNamespace(release="1", testbed=SimpleNamespace(), networks=networks)
    return SimpleNamespace(name="t", state=state, ca_file=certificate[0], settings=settings)


def test_a_healthy_region_passes_and_no_resources_are_left(environment: Any, cloud: FakeOpenStack) -> None:
    report = validate.run(environment)
    assert {r.check: r.message for r in report.results if r.verdict is not Verdict.PASSED} == {
        "east-west": "the region has only one available hypervisor",
        "live-migration": "the region has only one available hypervisor",
        **dict.fromkeys(OBJECTS, "the region has no object storage"),
        "reachability": "the region has one host, so no other one can try to reach it",
        "storage": "the region has no Ceph",
        "monitoring": "the region has no monitoring",
        "logs": "the region has no monitoring",
        **dict.fromkeys((n for n in validate.available() if n.startswith("volume")), "the region has no volumes"),
    }
    assert report.passed
    assert [r.check for r in report.results] == [*validate.available(), validate.CLEANUP]
    assert cloud.made() == {}


@pytest.fixture
def volumes(cloud: FakeOpenStack, monkeypatch: pytest.MonkeyPatch) -> FakeOpenStack:
    """The region has Ceph, and images are in it."""
    cloud.with_volumes()
    cloud.types = {"secret": {"encrypted": True}, "shared": {"extra_specs": {"multiattach": "<is> True"}}, "plain": {}}
    for name in ("BOOT_DEADLINE", "REPORT_DEADLINE"):
        monkeypatch.setattr(volume_checks, name, 0)
    monkeypatch.setattr(disks, "DISK_DEADLINE", 0)
    monkeypatch.setattr(volume_types, "RESTART_DEADLINE", 0)
    parent = {"pool": "images", "image": ""}
    host = SimpleNamespace(name="h", settings={"glance_store": "rbd"})
    described = SimpleNamespace(
        inventory=SimpleNamespace(hosts={"one": None}), hosts_of=lambda *_: (host,), defaults={},
        catalog=SimpleNamespace(services={}),
    )  # fmt: skip
    monkeypatch.setattr(Region, "load", lambda *_, **__: described)

    def execute(_: Any, commands: Any) -> remote.Answers:
        argv = commands["h"][0].argv
        if argv[0] == "python3":
            output = json.dumps(stored(cloud, argv[-2].removeprefix("volume-"), argv[-1]))
        else:
            volume = cloud.kind("volumes")[argv[-1].removeprefix("volumes/volume-")]
            output = json.dumps({"parent": parent | {"image": volume["imageRef"]}} if cloud.clones else {})
        return remote.Answers({"h": (remote.Answer(code=0, output=output),)})

    monkeypatch.setattr(remote, "execute", execute)
    return cloud


def stored(cloud: FakeOpenStack, volume: str, word: str) -> dict[str, Any]:
    """What Ceph holds of a volume."""
    encrypted = cloud.kind("volumes")[volume]["encrypted"]
    return {"luks": encrypted, "word": not encrypted and cloud.disks[volume] == word, "bytes": 512}


def test_a_region_with_volumes_keeps_what_a_guest_writes_on_them(environment: Any, volumes: FakeOpenStack) -> None:
    report = validate.run(environment)
    wrong = {r.check: r.message for r in report.results if r.verdict in (Verdict.FAILED, Verdict.SKIPPED)}
    assert wrong == {}
    assert {r.check for r in report.results if r.verdict is Verdict.PASSED} >= {
        n for n in validate.available() if n.startswith("volume")
    }
    assert volumes.made() == {}


def test_a_dead_volume_service_is_named(environment: Any, volumes: FakeOpenStack) -> None:
    volumes.things["os-services"]["cinder-backup"]["state"] = "down"
    result = {r.check: r for r in validate.run(environment, ["volume-services"]).results}["volume-services"]
    assert result.message == "cinder-backup on h@rbd is down"


def test_a_restored_volume_must_hold_the_data(environment: Any, volumes: FakeOpenStack) -> None:
    volumes.keeps = False
    results = {r.check: r for r in validate.run(environment, ["volume-backup"]).results}
    assert results["volume-backup"].verdict is Verdict.FAILED
    message = results["volume-backup"].message
    assert "but a volume of the backup begins with nothing and ends with nothing" in message
    assert results[validate.CLEANUP].verdict is Verdict.PASSED


def test_a_volume_of_an_image_must_be_a_clone_where_images_are_in_ceph(
    environment: Any, volumes: FakeOpenStack
) -> None:
    volumes.clones = False
    result = {r.check: r for r in validate.run(environment, ["volume-clone"]).results}["volume-clone"]
    assert result.verdict is Verdict.FAILED
    assert "not a clone" in result.message


@pytest.mark.parametrize(
    ("encrypted", "held", "said"),
    [
        (True, {"luks": True, "word": False}, ""),
        (True, {"luks": False, "word": False}, "Ceph holds no LUKS header"),
        (True, {"luks": True, "word": True}, "in plain text"),
        (False, {"luks": False, "word": True}, ""),
        (False, {"luks": False, "word": False}, "nothing is known of encrypted ones"),
    ],
)
def test_encrypted_volumes_are_told_from_others_by_what_ceph_holds(
    encrypted: bool, held: dict[str, Any], said: str
) -> None:
    problem = volume_types.exposure(held, encrypted)
    assert bool(problem) == bool(said)
    assert said in problem


def test_plain_text_of_an_encrypted_volume_fails(
    environment: Any, volumes: FakeOpenStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disks, "raw", lambda *_: {"luks": True, "word": True, "bytes": 512})
    results = {r.check: r for r in validate.run(environment, ["volume-restart"]).results}
    assert results["volume-encrypted"].verdict is Verdict.FAILED
    assert "of type secret: Ceph holds what the guest wrote in plain text" in results["volume-encrypted"].message
    assert results["volume-restart"].verdict is Verdict.SKIPPED
    assert volumes.made() == {}


def test_a_restarted_guest_must_find_what_it_wrote(environment: Any, volumes: FakeOpenStack) -> None:
    volumes.forgets = True
    results = {r.check: r for r in validate.run(environment, ["volume-restart"]).results}
    message = results["volume-restart"].message
    assert "but after its restart the volume begins with nothing and ends with nothing" in message


def test_a_server_that_is_being_restarted_says_nothing() -> None:
    def none(_: str) -> Any:
        raise NotFoundException("Guest does not have a console available.")

    region: Any = SimpleNamespace(cloud=SimpleNamespace(compute=SimpleNamespace(get_server_console_output=none)))
    assert disks.console(region, SimpleNamespace(id="s", status="ACTIVE")) == ""


def test_types_that_the_region_does_not_have_are_not_checked(environment: Any, volumes: FakeOpenStack) -> None:
    volumes.types = {"plain": {}}
    results = {r.check: r for r in validate.run(environment, ["volume-restart", "volume-shared"]).results}
    assert results["volume-encrypted"].message == "the region has no type of encrypted volumes"
    assert results["volume-shared"].message == "the region has no type of volumes for several servers"
    assert results["volume-restart"].verdict is Verdict.NOT_APPLICABLE


def test_users_must_not_see_where_an_images_data_is(environment: Any, cloud: FakeOpenStack) -> None:
    cloud.direct_url = "rbd://fsid/images/1/snap"
    result = {r.check: r for r in validate.run(environment, ["image"]).results}["image"]
    assert result.verdict is Verdict.FAILED
    assert "users see where its data is: rbd://fsid/images/1/snap" in result.message


def test_the_regions_own_external_network_is_used_and_kept(environment: Any, cloud: FakeOpenStack) -> None:
    cloud.create("networks", {"name": "public", "router:external": True})
    assert validate.run(environment, ["network"]).passed
    assert cloud.made() == {"networks": ["public"]}


def test_a_failure_is_reported_its_dependents_are_skipped_and_all_resources_removed(
    environment: Any, cloud: FakeOpenStack
) -> None:
    said = "SYSLINUX\r\nscs-guest: boot kernel=6 uptime=1\r\n"
    cloud.console = lambda server="": said  # type: ignore[method-assign]
    report = validate.run(environment, ["floating-ip", "console-url"])
    results = {r.check: r for r in report.results}
    message = results["console-log"].message
    assert "got no DHCP lease; its console ends: SYSLINUX | scs-guest: boot kernel=6 uptime=1" in message
    assert results["floating-ip"].verdict is Verdict.SKIPPED
    assert results["console-url"].verdict is Verdict.PASSED
    assert results[validate.CLEANUP].verdict is Verdict.PASSED
    assert not report.passed
    assert cloud.made() == {}


@pytest.mark.parametrize(
    ("resolvers", "said"),
    [
        ("127.0.0.11", "got 127.0.0.11 as DNS server, which is the guest itself"),
        ("", "got no DNS servers with its lease"),
    ],
)
def test_a_guest_must_reach_its_resolver(environment: Any, cloud: FakeOpenStack, resolvers: str, said: str) -> None:
    cloud.resolvers = resolvers
    results = {r.check: r for r in validate.run(environment, ["name-resolution"]).results}
    assert results["name-resolution"].verdict is Verdict.FAILED
    assert said in results["name-resolution"].message


def test_a_broken_api_does_not_stop_the_cleanup_of_the_others(environment: Any, cloud: FakeOpenStack) -> None:
    cloud.broken.add("floatingips")
    report = validate.run(environment, ["floating-ip"])
    results = {r.check: r for r in report.results}
    assert results["floating-ip"].verdict is Verdict.FAILED
    assert results[validate.CLEANUP].message.startswith("could not remove: floating IPs: ")
    assert cloud.made() == {}


def test_a_dead_agent_is_named(environment: Any, cloud: FakeOpenStack) -> None:
    cloud.things["agents"]["a"]["alive"] = False
    result = {r.check: r for r in validate.run(environment, ["services-up"]).results}["services-up"]
    assert result.message == "OVN Controller agent on h is dead"


def test_the_next_validation_removes_kept_resources(environment: Any, cloud: FakeOpenStack) -> None:
    assert validate.run(environment, ["server"], keep=True).passed
    assert len(cloud.made()["servers"]) == 1
    assert validate.run(environment, ["flavor"]).passed
    assert cloud.made() == {}


def test_checks_that_would_wait_for_a_full_ceph_are_not_begun(
    environment: Any, cloud: FakeOpenStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images are there, guests' disks are not."""
    host = SimpleNamespace(settings={"glance_store": "rbd"})
    described = SimpleNamespace(
        inventory=SimpleNamespace(hosts={"one": host}, group=lambda *_: (host,)),
        catalog=SimpleNamespace(services={"ceph": None}), defaults={"nova_images": "local"},
    )  # fmt: skip
    answers = json.loads(RECORDED_FULL.read_text(encoding="utf-8"))["status"]
    monkeypatch.setattr(Region, "load", lambda *_, **__: described)
    monkeypatch.setattr(ceph, "enabled", lambda _: True)
    monkeypatch.setattr(remote, "runner_in", lambda _: None)
    monkeypatch.setattr(Ceph, "__init__", lambda *_: None)
    monkeypatch.setattr(Ceph, "ask", lambda *_: answers)
    results = {r.check: r for r in validate.run(environment, ["storage", "s3", "swift", "image", "server"]).results}
    full = "full: osd.0, osd.1, osd.2 are full: Ceph refuses writes"
    for name in ("storage", "storage-writes", "image"):
        assert results[name].verdict is Verdict.FAILED
        assert results[name].message.startswith(full)
    assert {results[n].message for n in ("s3", "swift")} == {"requires storage-writes"}
    assert cloud.made() == {}
