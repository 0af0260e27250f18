# SPDX-License-Identifier: Apache-2.0
"""Bad input gets one line and exit 2, and nothing changes. Files are spoilt in a copy of the environment."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scs_deploy.state.lock import RunLock
from tests.e2e.blackbox import Finished, RegionUnderTest, wait

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module", autouse=True)
def untouched(region: RegionUnderTest) -> Iterator[None]:
    """Nothing in the region changes while it is asked for the impossible."""
    assert region.plan() == []
    before = region.snapshot()
    yield
    after = region.snapshot()
    glance = {key for key in before.keys() | after.keys() if key[1] == "glance"}  # removed and made again below
    assert {k: v for k, v in before.items() if k not in glance} == {k: v for k, v in after.items() if k not in glance}
    assert region.plan() == []


@pytest.fixture
def copy(region: RegionUnderTest, tmp_path: Path) -> RegionUnderTest:
    """The same region, described by copied files."""
    state = shutil.ignore_patterns("runs*", "guest-image", "lock*")
    shutil.copytree(region.folder, tmp_path / "environments" / region.name, ignore=state)
    shutil.copytree((region.folder / region.settings["inventory"]).resolve(), tmp_path / "inventories" / region.name)
    copied = RegionUnderTest(region.name)
    copied.__dict__["environ"] = {**region.environ, "SCS_ENVIRONMENTS": str(tmp_path / "environments")}
    copied.__dict__["folder"] = tmp_path / "environments" / region.name
    return copied


def refused(finished: Finished, message: str, code: int = 2) -> None:
    print(f"exit {finished.code}: {finished.err.strip()}")
    assert finished.code == code, str(finished)
    assert re.search(message, finished.err), str(finished)
    problems = finished.err.strip().splitlines()[1:]
    assert all(re.match(r"  \S", line) for line in problems), f"one line, or a list of problems below it: {finished}"
    assert "Traceback" not in finished.out + finished.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("plan", "keystoen"), "did you mean keystone"),
        (("apply", "--yes", "nosuchthing"), "no service, layer or container 'nosuchthing'"),
        (("plan", "--host", "nosuchhost"), "nosuchhost"),
        (("logs", "nova_compte"), "did you mean nova_compute"),
        (("validate", "floatingip"), "did you mean floating-ip"),
        (("runs", "show", "x"), "no run 'x'"),
        (("plan", "--environment", "nosuchregion"), "environment 'nosuchregion' does not exist"),
        (("apply",), "confirmation required, but no terminal is attached"),
    ],
)
def test_arguments(region: RegionUnderTest, arguments: tuple[str, ...], message: str) -> None:
    refused(region.scs(*arguments, expect=None), message)


def edit(file: str, old: str, new: str) -> Callable[[Path], None]:
    """Replace text in a file below the copy's folder, which must hold it; an empty `old` appends."""

    def do(folder: Path) -> None:
        path = folder / file
        text = path.read_text() if path.exists() else ""
        assert old in text
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace(old, new, 1) if old else text + new)

    return do


HOSTS = "../../inventories/testbed/hosts.yml"
HOST = "../../inventories/testbed/host_vars/testbed-1.yml"
ALL = "../../inventories/testbed/group_vars/all.yml"
SECOND = "---\nansible_host: 172.30.0.11\nnetworks:\n  management: {interface: eth0, address: 172.30.0.11}\n"


def second_host(folder: Path) -> None:
    edit(HOSTS, "        testbed-1:\n", "        testbed-1:\n        testbed-2:\n")(folder)
    (folder / HOST).with_name("testbed-2.yml").write_text(SECOND)


def other_digest(folder: Path, size: str = r"\g<0>") -> None:
    """The lock wants another image of memcached, which is in no registry."""
    path = folder / "release.lock.yml"
    head, tail = path.read_text().split("\n  memcached:\n")
    tail = re.sub(r"digest: sha256:\w+", "digest: sha256:" + "0" * 64, tail, count=1)
    path.write_text(head + "\n  memcached:\n" + re.sub(r"size: \d+", size, tail, count=1))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (edit("environment.yml", "", "nosuchkey: 1\n"), r"environment\.yml:\d+: nosuchkey: unknown key"),
        (edit("environment.yml", "region: RegionOne", "region: [x"), r"environment\.yml:\d+: "),
        (edit("config/keystoen.conf", "", "[a]\nb = c\n"), r"config/keystoen\.conf: this override applies to no"),
        (
            edit("config/keystone.conf", "", "b = c\n"),
            r"config/keystone\.conf:1: option 'b' precedes the first \[section\]",
        ),
        (
            edit(ALL, "", "nova_virt_typ: kvm\n"),
            r"all\.yml:\d+: nova_virt_typ: unknown variable .did you mean nova_vir",
        ),
        (
            edit(HOSTS, "    control:", "    contrl:"),
            "group control: has no hosts, but these containers run on it: haproxy",
        ),
        (second_host, r"host testbed-2: networks\.management\.address 172\.30\.0\.11 is also used by host testbed-1"),
        (edit(HOST, "address: 172.30.0.11}", "address: 10.0.0.1}"), r"10\.0\.0\.1 is outside 172\.30\.0\.0/24"),
        (edit(HOST, "ansible_host: 172.30.0.11", "ansible_host: 172.30.0.99"), "host testbed-1 is unreachable: .*ssh"),
        (edit("vault_password", "", "x"), r"secrets\.yml: cannot decrypt: the vault password is wrong"),
        (lambda folder: (folder / "vault_password").unlink(), "vault_password does not exist"),
        (lambda folder: (folder / "secrets.yml").unlink(), r"secrets\.yml"),
        (lambda folder: (folder / "ca.crt").unlink(), r"ca\.crt"),
        (lambda folder: (folder / "release.lock.yml").unlink(), r"release\.lock\.yml"),
        (other_digest, r"registry 172\.30\.0\.1:5000: missing images of the release lock: memcached .scs images push"),
        (
            lambda folder: other_digest(folder, "size: 99000000000000"),
            "GB of images to pull, .* GB free: free disk space first",
        ),
    ],
    ids=lambda value: re.sub(r"\W+", "-", value)[:40] if isinstance(value, str) else "",
)
def test_description(copy: RegionUnderTest, spoil: Callable[[Path], None], message: str) -> None:
    spoil(copy.folder)
    refused(copy.scs("apply", "--yes", expect=None), message)


@pytest.mark.parametrize("arguments", [("apply", "--yes"), ("bootstrap",), ("secrets", "init")])
def test_another_run(copy: RegionUnderTest, arguments: tuple[str, ...]) -> None:
    with RunLock(copy.folder / "state" / "lock", "scs of a colleague"):
        refused(copy.scs(*arguments, expect=None), r"is locked by .*`scs of a colleague`.*wait for that run")


def test_missing_secret(copy: RegionUnderTest) -> None:
    path = copy.folder / "secrets.yml"
    vault = ["--vault-password-file", str(copy.folder / "vault_password"), str(path)]
    copy.vault("decrypt", *vault)
    path.write_text(re.sub(r"^glance_database_password:.*\n", "", path.read_text(), flags=re.M))
    copy.vault("encrypt", *vault)
    refused(copy.scs("apply", "--yes", expect=None), r"secrets\.yml: missing secret: glance_database_password")


def test_service_spec(region: RegionUnderTest, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    source = Path(__file__).parents[2]
    for name in ("releases", "images", "ansible.cfg", "playbooks"):
        (root / name).symlink_to(source / name)
    shutil.copytree(source / "collections", root / "collections")
    spec = next(root.glob("collections/ansible_collections/scs/*/services/glance/service.yml"))
    spec.write_text(spec.read_text() + "nosuchkey: 1\n")
    copied = RegionUnderTest(region.name)
    copied.__dict__["environ"] = {
        **region.environ, "SCS_ROOT": str(root), "SCS_ENVIRONMENTS": str(region.folder.parent),
    }  # fmt: skip
    refused(copied.scs("plan", expect=None), r"glance/service\.yml:\d+: nosuchkey: unknown key")


def test_port_taken_on_a_node(region: RegionUnderTest) -> None:
    host = next(host for host, name in region.containers() if name == "glance")
    address = region.on(host, "sh", "-c", "ip -4 -o addr show eth0 | sed 's/.*inet \\([0-9.]*\\).*/\\1/;q'").strip()
    listen = (
        "import socket, time; s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1);"
        f"s.bind(('{address}', 9292)); s.listen(); time.sleep(300)"
    )
    region.on(host, "docker", "rm", "--force", "glance")
    pid = region.on(host, "sh", "-c", f'python3 -c "{listen}" >/dev/null 2>&1 </dev/null & echo $!').strip()
    try:
        wait(lambda: f"{address}:9292" in region.on(host, "ss", "-Hltn"), 20, "nobody listens", 0.2)
        message = rf"host {host}: port 9292 on {re.escape(address)}, which glance needs, is taken by another process"
        refused(region.scs("apply", "--yes", expect=None), message)
    finally:
        region.on(host, "kill", pid)
        region.apply()


def test_no_docker_engine(region: RegionUnderTest) -> None:
    host = region.containers()[0][0]
    region.on(host, "systemctl", "stop", "docker.socket", "docker.service")
    try:
        finished = region.scs("apply", "--yes", expect=None)
    finally:
        region.on(host, "systemctl", "start", "docker.socket", "docker.service")
    refused(finished, f"host {host}: no Docker engine answers on this host")
    wait(lambda: region.on(host, "systemctl", "is-active", "scs-keeper", expect=None).strip() == "active", 30, "keeper")
