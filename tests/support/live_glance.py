# SPDX-License-Identifier: Apache-2.0
"""A real Glance with a store of files and one in a real Ceph. Its database is a file; every request is admin's."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path
from typing import Any

import requests

from tests.support.live_ceph import Ceph, soon
from tests.support.live_haproxy import docker

IMAGE = "scs/glance:2025.1"
HOST = "ha-1"
FILES = "/var/lib/glance/images"

AS_ADMIN = """
from glance.api.middleware.context import BaseContextMiddleware
from glance.context import RequestContext
class AsAdmin(BaseContextMiddleware):
    def process_request(self, req):
        roles = ["admin", "member", "reader"]
        req.context = RequestContext(user_id="a", project_id="a", roles=roles, is_admin=True, auth_token="a")
"""
CONFIG = """
[DEFAULT]
use_stderr = true
bind_port = 9292
workers = 1
enabled_backends = {backends}
enabled_import_methods = [copy-image]
worker_self_reference_url = http://127.0.0.1:9292
[database]
connection = sqlite:////var/lib/glance/glance.sqlite
[paste_deploy]
config_file = /etc/test/paste.ini
[glance_store]
default_backend = {default}
[file]
filesystem_store_datadir = /var/lib/glance/images
[rbd]
weight = 100
rbd_store_ceph_conf = /etc/ceph/ceph.conf
rbd_store_user = glance
rbd_store_pool = images
rbd_thin_provisioning = true
[os_glance_staging_store]
filesystem_store_datadir = /var/lib/glance/staging
[os_glance_tasks_store]
filesystem_store_datadir = /var/lib/glance/tasks
[oslo_concurrency]
lock_path = /var/lib/glance/lock
"""
"""As the region's, where stores are concerned."""

START = """
mkdir -p /var/lib/glance/images /var/lib/glance/staging /var/lib/glance/tasks /var/lib/glance/lock
chown -R glance:glance /var/lib/glance
sed 's/glance.api.middleware.context:UnauthenticatedContextMiddleware/as_admin:AsAdmin/' \
    /etc/glance/glance-api-paste.ini > /tmp/paste.ini
as="setpriv --reuid glance --regid glance --init-groups"
$as glance-manage db_sync
exec $as glance-api --config-file /etc/test/glance-api.conf
"""
CAPS = '\tcaps mon = "profile rbd"\n\tcaps osd = "profile rbd pool=images"\n\tcaps mgr = "profile rbd pool=images"\n'


class Glance:
    """Beside the first host's monitor, on its network; goes with the cluster."""

    def __init__(self, ceph: Ceph, folder: Path) -> None:
        self.ceph, self.folder = ceph, folder
        self.name = f"{ceph.name}-glance"
        self.url = f"http://{ceph.address(HOST)}:9292"
        (folder / "ceph").mkdir(parents=True)
        (folder / "as_admin.py").write_text(AS_ADMIN)
        (folder / "start.sh").write_text(START)
        conf = ceph.inside(HOST, "ceph_mon", "cat", "/etc/ceph/ceph.conf")[1]
        (folder / "ceph" / "ceph.conf").write_text(conf + "\n")
        # of 128 bits, which is what this image's Ceph 18.2 knows
        key = docker("run", "--rm", IMAGE, "ceph-authtool", "--gen-print-key").strip()
        keyring = folder / "ceph" / "ceph.client.glance.keyring"
        keyring.write_text(f"[client.glance]\n\tkey = {key}\n{CAPS}")
        ceph.ceph("osd", "pool", "create", "images", "8")
        ceph.ceph("osd", "pool", "application", "enable", "images", "rbd")
        subprocess.run(
            ["docker", "exec", "--interactive", ceph.container(HOST, "ceph_mon"), "ceph", "auth", "import", "-i", "-"],
            input=keyring.read_text(), text=True, capture_output=True, check=True, timeout=60,
        )  # fmt: skip

    def start(self, *stores: str) -> None:
        """Start it anew; the first store is for new images."""
        subprocess.run(["docker", "rm", "--force", self.name], capture_output=True, check=False)
        text = CONFIG.format(backends=",".join(f"{s}:{s}" for s in stores), default=stores[0])
        (self.folder / "glance-api.conf").write_text(text.replace("/etc/test/paste.ini", "/tmp/paste.ini"))
        for path in self.folder.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        self.folder.chmod(0o755)
        docker(
            "run", "--detach", f"--name={self.name}", f"--network=container:{self.ceph.name}-{HOST}", "--user=root",
            "--env=PYTHONPATH=/etc/test", f"--volume={self.folder}:/etc/test:ro",
            f"--volume={self.folder / 'ceph'}:/etc/ceph:ro", f"--volume={self.name}:/var/lib/glance", IMAGE, "sh",
            "-eu", "/etc/test/start.sh",
        )  # fmt: skip
        soon(self.answers)

    def answers(self) -> bool:
        try:
            return self.send("GET", f"{self.url}/v2/images").ok
        except requests.RequestException:
            return False

    def inside(self, *command: str) -> tuple[int, str]:
        done = subprocess.run(["docker", "exec", self.name, *command], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    def files(self) -> set[str]:
        return set(self.inside("ls", FILES)[1].split())

    def upload(self, name: str, content: bytes, **more: Any) -> str:
        body = {"name": name, "disk_format": "raw", "container_format": "bare", "visibility": "private", **more}
        made = self.send("POST", f"{self.url}/v2/images", body)
        assert made.ok, made.text
        key = str(made.json()["id"])
        headers = {"Content-Type": "application/octet-stream"}
        answer = requests.put(f"{self.url}/v2/images/{key}/file", data=content, headers=headers, timeout=60)
        assert answer.ok, answer.text
        return key

    def download(self, key: str) -> str:
        """SHA-512 of the data."""
        answer = requests.get(f"{self.url}/v2/images/{key}/file", timeout=60)
        assert answer.ok, f"{answer.status_code} {answer.text}"
        return hashlib.sha512(answer.content).hexdigest()

    # a session of Keystone, as far as scs uses it here

    def __enter__(self) -> Glance:
        return self

    def __exit__(self, *_: object) -> None: ...

    def send(self, method: str, url: str, body: dict[str, Any] | None = None) -> requests.Response:
        return requests.request(method, url, json=body, timeout=60)
