# SPDX-License-Identifier: Apache-2.0
"""`scs doctor` on real things: a healthy region on loopback, and one in which everything that can break is broken."""

from __future__ import annotations

import datetime
import fcntl
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from scs_deploy.environment import environment as environments
from scs_deploy.environment.environment import Environment
from scs_deploy.region.certificates import wanted_leaves
from scs_deploy.region.region import Region
from scs_deploy.secrets import issuing, pki
from scs_deploy.state import process
from scs_deploy.state.runs import run_store

SCS = [sys.executable, "-c", "from scs_deploy.cli.main import main; main()"]
ROWS = dict[tuple[str, str], dict[str, str]]

SETTINGS = """---
release: "2025.1"
networks:
  management: {cidr: 127.0.0.0/8}
api:
  internal: {address: 127.77.0.9, name: localhost}
  external: {address: 127.0.0.1, name: localhost}
registry: {address: 127.0.0.1, port: PORT}
vault_password_file: vault_password
"""
INVENTORY = """---
all:
  vars: {neutron_dns_servers: [192.0.2.53], openvswitch_datapath: netdev}
  children:
    control: {hosts: {here-1: {ansible_host: 127.0.0.11, ansible_connection: local}}}
    network: {hosts: {gone-1: {ansible_host: 127.0.0.12, ansible_port: 1}}}
    compute: {hosts: {gone-2: {ansible_host: 127.0.0.13, ansible_port: 1}}}
    chassis: {children: {network: {}, compute: {}}}
"""
HOST = "---\nnetworks: {management: {interface: lo, address: ADDRESS}}\n"


def scs(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "COLUMNS": "200", **more}
    return subprocess.run([*SCS, *arguments], env=environ, capture_output=True, text=True, check=False)


def rows(*arguments: str, code: int, **more: str) -> ROWS:
    done = scs("doctor", "--json", *arguments, **more)
    assert (done.returncode, done.stderr) == (code, "")
    said: dict[str, Any] = json.loads(done.stdout)
    assert said["ok"] is (code == 0)
    assert all(bool(c["remedy"]) is (c["level"] != "ok") for c in said["checks"]), "a remedy for whatever is not ok"
    return {(c["host"], c["check"]): c for c in said["checks"]}


class Registry(BaseHTTPRequestHandler):
    """Answers as an empty registry does."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - http.server's name
        """Keep the output of the tests clean."""


@contextmanager
def serving(environment: Environment, folder: Path) -> Iterator[None]:
    """The registry of a region, with its certificate."""
    leaf = pki.load(environment).leaf("registry")
    pem = folder / "registry.pem"
    pem.write_text(leaf.cert + leaf.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    server = HTTPServer(("127.0.0.1", environment.settings.registry.port), Registry)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def region(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """A region of three hosts: this machine, and two that do not answer. The key of the first of these is recorded."""
    monkeypatch.setenv("SCS_ENVIRONMENTS", str(tmp_path))
    folder = tmp_path / "berlin"
    (folder / "inventory").mkdir(parents=True)
    (folder / "environment.yml").write_text(SETTINGS.replace("PORT", str(free_port())))
    (folder / "inventory" / "hosts.yml").write_text(INVENTORY)
    (folder / "inventory" / "host_vars").mkdir()
    for name, address in (("here-1", "127.0.0.11"), ("gone-1", "127.0.0.12"), ("gone-2", "127.0.0.13")):
        (folder / "inventory" / "host_vars" / f"{name}.yml").write_text(HOST.replace("ADDRESS", address))
    environment = environments.load("berlin")
    done = scs("secrets", "init", "--create-vault-password")
    assert done.returncode == 0, done.stderr
    environment.ssh_key.parent.mkdir(mode=0o700)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", environment.ssh_key], check=True)
    public = environment.ssh_key.with_suffix(".pub").read_text()
    environment.known_hosts.write_text(f"[127.0.0.12]:1 {public}")
    return environment


def test_a_region_without_faults_of_its_own(region: Environment, tmp_path: Path) -> None:
    """Half of the hosts are away: their rows have failed, and those of the other host are there."""
    with serving(region, tmp_path):
        found = rows(code=1)
    for check in ("secret files", "ownership", "lock", "runs", "description", "registry", "secrets", "certificates",
                  "certificate registry", "dns external", "dns registry", "certificate CA issues"):  # fmt: skip
        assert found["", check]["level"] == "ok", found["", check]
    for check in ("ssh", "clock", "disk", "memory", "certificate"):
        assert found["here-1", check]["level"] != "failed", found["here-1", check]
    assert found["here-1", "ssh"]["seen"] == "answers"
    assert found["here-1", "certificate"]["seen"] == "364 d"
    assert ("here-1", "kernel") in found
    assert "refused" in found["gone-1", "ssh"]["seen"]
    assert found["gone-1", "ssh"]["remedy"] == "check its power and network, then: scs console gone-1"
    assert found["gone-2", "ssh"]["seen"].startswith("its host key is not recorded")
    assert "ssh-keyscan -p 1 127.0.0.13 >> " in found["gone-2", "ssh"]["remedy"]
    assert [check for host, check in found if host == "gone-1"] == ["ssh"]
    # nothing was applied yet, so nobody expects the API to answer
    assert found["", "certificate api-internal"]["level"] == "warning"
    assert found["", "certificate api-internal"]["remedy"] == "not deployed yet: scs apply"
    # its internal name has another address here
    assert found["", "dns internal"]["seen"] == "localhost is 127.0.0.1, ::1, not 127.77.0.9" or (
        found["", "dns internal"]["level"] == "failed"
    )


def test_what_is_broken_is_named(region: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    region.secrets_file.chmod(0o644)
    region.file.write_text(region.file.read_text().replace("name: localhost}", "name: api.invalid}", 1))
    (region.state / "lock").write_text(
        '{"owner": "anna@manager", "pid": 1, "host": "elsewhere", "since": "2026-11-01T00:00:00Z", '
        '"command": "scs apply", "token": 1}'
    )
    with run_store(region) as store:
        store.start("scs apply", follows=True, resume="{}", operation="apply")
        store.execute("UPDATE runs SET process = 1")
    if os.geteuid() == 0:
        os.chown(region.state / "runs.sqlite3", 54321, 54321)
    old = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=400)
    region.certificates_file.unlink()
    monkeypatch.setattr(issuing, "now", lambda: old)
    loaded = Region.load("berlin")
    pki.ensure(region, wanted_leaves(region, loaded.catalog, loaded.inventory))
    found = rows(code=1)
    chmod = found["", "secret files"]
    assert (chmod["level"], chmod["seen"]) == ("failed", "others may read: secrets.yml")
    assert chmod["remedy"] == f"chmod 600 {region.secrets_file}"
    assert found["", "dns internal"]["level"] == "warning"
    assert "add api.invalid to DNS or /etc/hosts: 127.77.0.9" in found["", "dns internal"]["remedy"]
    left = found["", "lock"]
    assert (left["level"], left["seen"][:32]) == ("warning", "left behind by anna@manager (pid")
    assert found["", "runs"]["seen"].endswith("(`scs apply`) is interrupted")
    assert "then scs runs resume" in found["", "runs"]["remedy"]
    if os.geteuid() == 0:
        assert found["", "ownership"]["seen"].startswith("not root's: ")
    assert found["", "registry"]["level"] == "failed"
    assert "Connection refused" in found["", "registry"]["seen"]
    assert found["", "certificates"]["seen"] == "api-external: -36 d expired"
    assert found["here-1", "certificate"]["seen"] == "-36 d expired"
    assert re.fullmatch(r"scs certs rotate \w+/here-1", found["here-1", "certificate"]["remedy"])


def test_a_broken_description_hides_nothing_else(region: Environment) -> None:
    region.secrets_file.chmod(0o640)
    (region.path / "inventory" / "hosts.yml").write_text("---\nall: {children: [\n")
    found = rows(code=1)
    assert found["", "description"]["level"] == "failed"
    assert "hosts.yml" in found["", "description"]["seen"]
    assert found["", "secret files"]["level"] == "failed"
    region.file.write_text(region.file.read_text() + "regoin: x\n")
    found = rows(code=1)
    assert "regoin" in found["", "environment"]["seen"]
    assert ("", "memory") in found


def test_a_lost_vault_password(region: Environment) -> None:
    (region.path / "vault_password").write_text("another one\n")
    found = rows("--host", "here-1", code=1)
    assert "the vault password is wrong" in found["", "secrets"]["seen"]
    assert found["here-1", "ssh"]["level"] == "ok"


def test_a_lock_that_is_held(region: Environment) -> None:
    file = region.state / "lock"

    def holder(pid: int, since: str) -> str:
        return json.dumps(
            {"owner": "anna@manager", "pid": pid, "host": process.host(), "since": since, "command": "scs apply",
             "token": 1}
        )  # fmt: skip

    gone = subprocess.Popen(["true"])
    gone.wait()
    now = datetime.datetime.now(datetime.UTC)
    with file.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        file.write_text(holder(os.getpid(), now.isoformat()))
        assert _lock(region)["level"] == "ok"
        file.write_text(holder(os.getpid(), (now - datetime.timedelta(hours=25)).isoformat()))
        assert _lock(region)["level"] == "warning"
        file.write_text(holder(gone.pid, now.isoformat()))
        stale = _lock(region)
        assert (stale["level"], stale["seen"][:6]) == ("failed", "stale:")
        assert str(file) in stale["remedy"]


def _lock(region: Environment) -> dict[str, str]:
    from scs_deploy.doctor import region as checks

    (found,) = [c for c in checks.locks(region) if c.check == "lock"]
    return found.model_dump(mode="json")


def test_the_table_is_for_people(region: Environment) -> None:
    done = scs("doctor", "--host", "here-1", "--host", "gone-1")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    (titles,) = [line for line in lines if line.startswith("host") and "kernel" in line]
    assert titles.split() == ["host", "ssh", "clock", "disk", "memory", "engine", "programs", "reboot", "kernel",
                              "certificate"]  # fmt: skip
    (away,) = [line for line in lines if line.startswith("gone-1") and "refused" not in line]
    assert away.split() == ["gone-1", "failed", *"--------"]
    assert "check its power and network, then: scs console gone-1" in done.stdout
    assert "failed" in lines[-1]


def test_the_manager_alone_needs_no_region(tmp_path: Path) -> None:
    done = scs("doctor", "--manager", "--json", SCS_ENVIRONMENTS=str(tmp_path / "none"))
    names = [c["check"] for c in json.loads(done.stdout)["checks"]]
    assert {"python", "scs", "docker", "memory", "clock", "locale", "proxy", "disk environments"} <= set(names)
    assert not (tmp_path / "none").exists()


def test_a_manager_that_lacks_things(tmp_path: Path) -> None:
    found = rows(
        "--manager", code=1, DOCKER_HOST="tcp://127.0.0.1:1", HTTP_PROXY="http://anna:geheim@127.0.0.1:1",
        https_proxy="http://127.0.0.1:nonsense", SCS_ENVIRONMENTS=str(tmp_path),
    )  # fmt: skip
    assert found["", "docker"]["seen"].startswith("cannot connect to the Docker engine")
    assert found["", "proxy HTTP_PROXY"]["seen"] == "127.0.0.1:1: Connection refused"
    assert found["", "proxy https_proxy"]["seen"] == "not a URL"
    assert "geheim" not in json.dumps([*found.values()])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--manager", "--host", "x"], "--manager checks this machine only"),
        (["-e", "nosuch"], "environment 'nosuch' does not exist"),
        ([], "no environment selected"),
    ],
)
def test_bad_use(tmp_path: Path, words: list[str], said: str) -> None:
    done = scs("doctor", *words, SCS_ENVIRONMENTS=str(tmp_path))
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_host_that_does_not_exist(region: Environment) -> None:
    done = scs("doctor", "--host", "her-1")
    assert done.returncode == 2
    assert "did you mean here-1?" in done.stderr
