# SPDX-License-Identifier: Apache-2.0
"""A host's switch is changed by root, Nova and Neutron's agent: through sockets, real ones of the region's images."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scs_deploy.desired import resolve
from scs_deploy.region.region import Region
from tests.conftest import dummy_region
from tests.support import programs
from tests.support.images import needs
from tests.support.live_haproxy import docker
from tests.support.peer_hosts import eventually

OVN, NOVA = "scs/ovn:2025.1", "scs/nova-compute:2025.1"
PORT = "tcp:127.0.0.1:6640"
ROOTS, OWN = "unix:/run/openvswitch/db.sock", "unix:/run/openvswitch/{}/db.sock"


class Host:
    """The database of a host's switch, and programs beside it that share its folders."""

    def __init__(self, region: Region, folder: Path) -> None:
        self.name, self.folder = f"scs-test-{uuid.uuid4().hex[:8]}", folder
        self.run = resolve.resolve(region, "testbed-1", {"openvswitch"}).containers["ovsdb_server"]
        for container in ("ovsdb_server", "nova_compute", "neutron_metadata_agent"):
            for path in programs.install(region, "testbed-1", container, folder / container).iterdir():
                path.chmod(0o755)
        docker("run", "--detach", "--name", f"{self.name}-net", "--network=none", OVN, "sleep", "3600")

    def _options(self, user: str, *capabilities: str) -> list[str]:
        return [
            f"--network=container:{self.name}-net", f"--user={user}", "--read-only", "--cap-drop=ALL",
            *(f"--cap-add={c}" for c in capabilities), f"--volume={self.name}-run:/run/openvswitch",
            f"--volume={self.folder}:/etc/test:ro", f"--tmpfs=/tmp:{self.run.body['HostConfig']['Tmpfs']['/tmp']}",
        ]  # fmt: skip

    def start(self, *command: str) -> None:
        """Start the database; by default as this version does."""
        config = self.run.body["HostConfig"]
        docker(
            "run", "--detach", "--name", self.name, *self._options("root", *config["CapAdd"]),
            f"--volume={self.name}-db:/var/lib/openvswitch", f"--volume={self.folder}/ovsdb_server:/etc/openvswitch:ro",
            OVN, *(command or self.run.body["Cmd"]),
        )  # fmt: skip
        eventually(lambda: self.asks("root", ROOTS))
        # as ovs_vswitchd does; there is never a second row
        add = '["Open_vSwitch", {"op": "insert", "table": "Open_vSwitch", "row": {}}]'
        self.inside("root", "ovsdb-client", "transact", ROOTS, add)

    def stop(self) -> None:
        docker("rm", "--force", self.name)

    def inside(self, user: str, *command: str, capabilities: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        words = ["docker", "run", "--rm", *self._options(user, *capabilities), NOVA, *command]
        return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)

    def asks(self, user: str, remote: str) -> bool:
        """Whether a user may change the switch."""
        return self.inside(user, "ovsdb-client", "--timeout=3", "list-dbs", remote).returncode == 0

    def job(self, path: str) -> subprocess.CompletedProcess[str]:
        """A job of this host, as root with the capabilities of its container that matter here."""
        return self.inside("root", f"/etc/test/{path}", capabilities=("CHOWN", "DAC_OVERRIDE", "FOWNER"))


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[[], Host]]:
    made: list[Host] = []

    def host() -> Host:
        made.append(Host(dummy_region("testbed"), tmp_path))
        return made[-1]

    yield host
    for one in made:
        for name in (one.name, f"{one.name}-net"):
            subprocess.run(["docker", "rm", "--force", "--volumes", name], capture_output=True, check=False)
        for volume in ("run", "db"):
            subprocess.run(["docker", "volume", "rm", f"{one.name}-{volume}"], capture_output=True, check=False)


def sockets_are_their_users(host: Host) -> None:
    assert host.asks("nova", OWN.format("nova"))
    assert host.asks("neutron", OWN.format("neutron"))
    for stranger in ("libvirt-qemu", "neutron"):
        assert not host.asks(stranger, OWN.format("nova")), stranger
    assert not host.asks("nova", ROOTS)


@needs(OVN)
@needs(NOVA)
def test_a_new_hosts_switch_takes_no_connection_from_other_users(make: Callable[[], Host]) -> None:
    host = make()
    host.start()
    sockets_are_their_users(host)
    assert not host.asks("root", PORT)


@needs(OVN)
@needs(NOVA)
def test_a_host_of_an_earlier_version_keeps_the_port_until_its_agents_are_new(make: Callable[[], Host]) -> None:
    host = make()
    host.start()
    host.stop()
    # again, with the database of a host that has one: agents that know the port only may still run
    host.start()
    assert host.asks("nova", PORT)
    sockets_are_their_users(host)
    agent = f"{host.name}-agent"
    docker(
        "run", "--detach", "--rm", "--name", agent, f"--network=container:{host.name}-net", NOVA,
        "ovsdb-client", "monitor", PORT, "Open_vSwitch", "Bridge", "name",
    )  # fmt: skip
    eventually(lambda: host.job("nova_compute/close-ovsdb-port.sh").returncode)
    refused = host.job("nova_compute/close-ovsdb-port.sh")
    assert "still uses port 6640" in refused.stderr
    assert host.asks("nova", PORT)
    docker("rm", "--force", agent)
    for _ in range(2):
        closed = host.job("nova_compute/close-ovsdb-port.sh")
        assert closed.returncode == 0, closed.stderr
        assert not host.asks("root", PORT)
    host.stop()
    host.start()
    assert not host.asks("root", PORT), "the next start opens it again"
    sockets_are_their_users(host)


@needs(OVN)
@needs(NOVA)
def test_a_database_that_keeps_running_gets_the_sockets_too(make: Callable[[], Host]) -> None:
    host = make()
    earlier = (
        "rm -f $d; ovsdb-tool create $d /usr/share/openvswitch/vswitch.ovsschema; exec ovsdb-server $d "
        "--remote=punix:/run/openvswitch/db.sock --remote=ptcp:6640:127.0.0.1 "
        "--unixctl=/run/openvswitch/ovsdb-server.ctl"
    )
    host.start("sh", "-ec", f"d=/var/lib/openvswitch/conf.db; {earlier}")
    for _ in range(2):
        opened = host.job("neutron_metadata_agent/open-ovsdb-sockets.sh")
        assert opened.returncode == 0, opened.stderr
        sockets_are_their_users(host)
    assert host.asks("root", PORT)
