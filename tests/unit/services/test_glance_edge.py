# SPDX-License-Identifier: Apache-2.0
"""What users have Glance fetch and keep: nothing from inside the region, and never the last of a host's disk."""

from __future__ import annotations

import http.client
import json
import threading
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import egress
import pytest
import requests
import reserve

from scs_deploy.desired import resolve
from tests.conftest import dummy_region
from tests.support import programs
from tests.support.images import needs
from tests.support.live_haproxy import docker

IMAGE = "scs/glance:2025.1"
INSIDE = ["203.0.113.0/24", "8.8.4.0/24", "2001:4860::/32"]
GUARD = egress.Egress(INSIDE, ["10.9.0.0/16", "2001:db8:9::/64"])


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.0.0.1", "172.30.1.9", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
        "255.255.255.255", "8.8.4.4", "::1", "::", "fe80::1%eth0", "fd00::1", "ff02::1", "2001:4860::8888",
        "::ffff:10.0.0.1", "::ffff:8.8.4.4", "64:ff9b::10.0.0.1", "2002:0a00:0001::1",
    ],
)  # fmt: skip
def test_addresses_inside_are_refused(address: str) -> None:
    assert GUARD.refuses(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::8.8.8.8", "10.9.1.1", "2001:db8:9::1"])
def test_the_internet_and_what_the_operator_allows_are_not(address: str) -> None:
    assert not GUARD.refuses(address)


@pytest.fixture
def mirror() -> Iterator[str]:
    """A server on loopback; `/elsewhere` redirects to one that is not allowed."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302 if self.path == "/elsewhere" else 200)
            port = self.headers["Host"].rpartition(":")[2]
            self.send_header("Location", f"http://127.0.0.2:{port}/")
            self.end_headers()
            self.wfile.write(b"image")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def guarded(monkeypatch: pytest.MonkeyPatch, *allowed: str) -> None:
    monkeypatch.setattr(http.client.HTTPConnection, "__init__", http.client.HTTPConnection.__init__)
    egress.Egress([], allowed).install()


def fetch(url: str) -> bytes:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=10) as answer:
        content: bytes = answer.read()
        return content


def test_a_connection_is_refused_whatever_led_to_it(monkeypatch: pytest.MonkeyPatch, mirror: str) -> None:
    guarded(monkeypatch)
    for url in (mirror, mirror.replace("127.0.0.1", "localhost")):
        with pytest.raises(urllib.error.URLError, match="belongs to this region"):
            fetch(url)
    with requests.Session() as session:
        session.trust_env = False
        assert session.get(mirror, timeout=10).content == b"image", "clients of the region's services go on"


def test_a_redirect_leads_no_further_than_an_allowed_mirror(monkeypatch: pytest.MonkeyPatch, mirror: str) -> None:
    guarded(monkeypatch, "127.0.0.1/32")
    assert fetch(mirror) == b"image"
    with pytest.raises(urllib.error.URLError, match=r"127\.0\.0\.2: .*belongs to this region"):
        fetch(f"{mirror}/elsewhere")


class FullError(Exception):
    def __init__(self, message: str) -> None:
        super().__init__(message)


class Disk:
    """A store on a disk of 100 bytes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, keep: int) -> None:
        self.written = 0
        monkeypatch.setattr(reserve, "free", lambda path: 100 - self.written)
        self.add = reserve.reserving(Disk._add, FullError, "/images", keep)

    def _add(self, image_id: str, image_file: Any, image_size: int | None, algorithm: str) -> tuple[str, int]:
        for chunk in image_file:
            self.written += len(chunk)
        return algorithm, self.written


def chunks(count: int) -> Iterator[bytes]:
    return (b"x" * 10 for _ in range(count))


def test_an_upload_stops_at_the_reserve(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch, keep=50)
    assert disk.add(disk, "i", chunks(3), 30, algorithm="sha512") == ("sha512", 30)
    with pytest.raises(FullError, match="for other services"):
        disk.add(disk, "i", chunks(3), 21, algorithm="sha512")
    assert disk.written == 30, "of a size that is known, nothing is written"
    with pytest.raises(FullError):
        disk.add(disk, "i", chunks(100), 0, algorithm="sha512")
    assert disk.written == 60, "of another size, no more than one chunk beyond"


PROBE = """
import glob, io, json, sys
sys.path.insert(0, "/etc/test")
import api, pathlib
from glance.common import config, wsgi
from glance.common.scripts import utils
import glance_store
api.prepare(pathlib.Path("/etc/test"))
config.parse_args(["--config-file", "/etc/test/glance-api.conf"])
wsgi.initialize_multi_store()
result = {"ports": config.CONF.import_filtering_opts.allowed_ports, "quota": config.CONF.user_storage_quota}
for name in ("file", "os_glance_staging_store"):
    for what, data, size in (
        ("known", io.BytesIO(b"x"), 1 << 60), ("reader", io.BytesIO(b"x"), 0), ("stream", iter([b"x"]), 0)
    ):
        try:
            glance_store.get_store_from_store_identifier(name).add(what, data, size, hashing_algo="sha512")
        except glance_store.StorageFull:
            result.setdefault("full", []).append(f"{name} {what}")
result["left"] = [f for d in ("images", "staging") for f in glob.glob(f"/var/lib/glance/{d}/*")]
try:
    b"".join(utils.get_image_data_iter(sys.argv[1]))
except Exception as error:
    result["download"] = str(error)
print(json.dumps(result))
"""


@needs(IMAGE)
def test_glance_itself_does_what_these_say(tmp_path: Path) -> None:
    """Its stores, its downloads and its reader of the options."""
    region = dummy_region("testbed")
    programs.install(region, next(iter(region.inventory.hosts)), "glance", tmp_path)
    settings = json.loads((tmp_path / "api.json").read_text())
    (tmp_path / "api.json").write_text(json.dumps({**settings, "reserve": 1 << 60}))
    # without Ceph: a store there connects to it first
    conf = (tmp_path / "glance-api.conf").read_text()
    conf = conf.replace("enabled_backends = rbd:rbd,", "enabled_backends = ").replace(
        "default_backend = rbd", "default_backend = file"
    )
    (tmp_path / "glance-api.conf").write_text(conf)
    (tmp_path / "probe.py").write_text(PROBE)
    for file in (tmp_path, *tmp_path.iterdir()):
        file.chmod(0o755)
    answer = docker(
        "run", "--rm", "--name", f"scs-test-glance-{uuid.uuid4().hex[:8]}", "--hostname", "inside",
        "--volume", f"{tmp_path}:/etc/test:ro", IMAGE, "python3", "/etc/test/probe.py", "http://inside/",
    )  # fmt: skip
    found = json.loads(answer.splitlines()[-1])
    assert found.pop("download").endswith("its address is not on the Internet, or belongs to this region>")
    stores = ("file", "os_glance_staging_store")
    full = [f"{s} {what}" for s in stores for what in ("known", "reader", "stream")]
    assert found == {"ports": [80, 443], "quota": "1000GB", "full": full, "left": []}


def test_the_regions_networks_are_inside() -> None:
    region = dummy_region("testbed-ha")
    files = resolve.resolve(region, "ha-1", {"glance"}).files.values()
    settings = json.loads(next(f.content for f in files if f.name == "api.json"))
    assert settings["inside"] == [str(n.cidr) for n in region.environment.settings.networks.values()]


def test_an_image_from_the_dashboard_is_no_file_on_its_host() -> None:
    """Browsers send it to Glance, which lets the dashboard's pages do so and has limits."""
    region = dummy_region("testbed")
    found = resolve.resolve(region, "testbed-1", {"glance", "horizon"})
    files = {(f.container, f.name): f.content for f in found.files.values()}
    assert '\nHORIZON_IMAGES_UPLOAD_MODE = "direct"\n' in files["horizon", "local_settings.py"]
    allowed = next(v for v in files["glance", "glance-api.conf"].splitlines() if v.startswith("allowed_origin = "))
    assert f"https://{region.environment.settings.api.external.name}" in allowed.partition(" = ")[2].split(",")
