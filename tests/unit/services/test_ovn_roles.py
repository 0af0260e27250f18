# SPDX-License-Identifier: Apache-2.0
"""What a host's certificates are good for at OVN's databases: real daemons with their rendered files on loopback."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from scs_deploy.desired import resolve
from scs_deploy.desired.model import DesiredHost
from scs_deploy.region.certificates import wanted_leaves
from scs_deploy.region.region import Region
from scs_deploy.secrets import pki, vault
from tests.conftest import dummy_region
from tests.support.images import needs
from tests.support.live_haproxy import docker
from tests.support.peer_hosts import eventually
from tests.unit.secrets.test_secrets import region as environment_in

IMAGE = "scs/ovn:2025.1"
NORTHBOUND, SOUTHBOUND, RELAY = 6641, 6642, 6646
pytestmark = needs(IMAGE)


class Daemons:
    """OVN's databases, their relay and northd of a region of one host, each in its container as on the host."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.region = _region(folder)
        self.host = self.region.inventory.hosts["testbed-1"]
        self.id = f"scs-ovn-roles-{uuid.uuid4().hex[:8]}"
        self.desired = resolve.resolve(self.region, self.host.name, {"ovn"})
        _install(self.desired, folder, self.host.management)
        docker("run", "--detach", "--rm", "--name", self.id, IMAGE, "sleep", "600")

    def start(self, name: str) -> None:
        container = f"{self.id}-{name}"
        command = [w.replace(self.host.management, "127.0.0.1") for w in self.desired.containers[name].body["Cmd"]]
        if name in ("ovn_nb", "ovn_sb"):
            command = ["sh", "-c", f"/etc/scs/ovn/create-database.sh && exec {command[0]}"]
        docker("run", "--detach", "--name", container, *self._mounts(name), IMAGE, *command)

    def _mounts(self, name: str) -> list[str]:
        return [
            "--network", f"container:{self.id}",
            "--volume", f"{self.folder}/{name}:/etc/scs/ovn:ro",
            "--volume", f"{self.folder}/{name}/tls:/etc/scs/tls:ro",
            "--volume", f"{self.folder}/run:/run/ovn",
        ]  # fmt: skip

    def healthy(self, name: str) -> bool:
        health = self.desired.containers[name].health
        assert health
        assert health.command
        return self._run("exec", f"{self.id}-{name}", *health.command).returncode == 0

    def do(self, certificate: str, port: int, *words: str) -> str:
        """Change or read a database with a certificate; what went wrong, or what it said."""
        keys = self.folder / "keys" / certificate.replace("/", "-")
        keys.mkdir(parents=True, exist_ok=True)
        leaf = self.region.certificates.leaf(certificate)
        (keys / "crt").write_text(leaf.cert)
        (keys / "key").write_text(leaf.key)
        (keys / "ca").write_text(self.region.certificates.accepted(["ovn_control"]))
        program = "ovn-nbctl" if port == NORTHBOUND else "ovn-sbctl"
        done = self._run(
            "run", "--rm", "--network", f"container:{self.id}", "--volume", f"{keys}:/keys:ro", IMAGE,
            program, "--timeout=5", "--no-leader-only", f"--db=ssl:127.0.0.1:{port}", "--private-key=/keys/key",
            "--certificate=/keys/crt", "--ca-cert=/keys/ca", *words,
        )  # fmt: skip
        return done.stdout if done.returncode == 0 else f"refused: {done.stderr}"

    def _run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["docker", *words], check=False, capture_output=True, text=True, timeout=120)

    def close(self) -> None:
        names = [f"{self.id}-{n}" for n in self.desired.containers]
        self._run("rm", "--force", "--volumes", *names, self.id)


def _region(folder: Path) -> Region:
    shipped = dummy_region("testbed")
    made = environment_in(folder)
    vault.create_password(made)
    pki.ensure(made, wanted_leaves(shipped.environment, shipped.catalog, shipped.inventory))
    certificates = pki.load(made)
    return dataclasses.replace(shipped, load_certificates=lambda _environment: certificates)


def _install(desired: DesiredHost, folder: Path, address: str) -> None:
    for file in desired.files.values():
        path = folder / file.container / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file.content.replace(address, "127.0.0.1"), encoding="utf-8")
        path.chmod(int(file.mode, 8))
    (folder / "run").mkdir()


@pytest.fixture(scope="module")
def ovn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemons]:
    folder = tmp_path_factory.mktemp("ovn")
    daemons = Daemons(folder)
    try:
        for name in ("ovn_nb", "ovn_sb", "ovn_sb_relay", "ovn_northd"):
            daemons.start(name)
            eventually(lambda n=name: daemons.healthy(n), 60)  # type: ignore[misc]
        # northd describes the role
        eventually(lambda: "ovn-controller" in daemons.do("ovn_control/testbed-1", SOUTHBOUND, "list", "RBAC_Role"), 60)
        yield daemons
    finally:
        daemons.close()
        shutil.rmtree(folder, ignore_errors=True)


def test_a_control_host_uses_both_databases(ovn: Daemons) -> None:
    assert not ovn.do("ovn_control/testbed-1", NORTHBOUND, "ls-add", "mine").startswith("refused")
    assert not ovn.do("ovn_control/testbed-1", SOUTHBOUND, "show").startswith("refused")


@pytest.mark.parametrize("certificate", ["ovn_controller", "libvirt", "migration", "console", "galera", "rabbitmq"])
@pytest.mark.parametrize("port", [NORTHBOUND, SOUTHBOUND])
def test_no_other_certificate_of_a_host_opens_a_database(certificate: str, port: int, ovn: Daemons) -> None:
    assert ovn.do(f"{certificate}/testbed-1", port, "show").startswith("refused")


@pytest.mark.parametrize("certificate", ["libvirt/testbed-1", "migration/testbed-1", "console/testbed-1", "registry"])
def test_only_controllers_use_the_relay(certificate: str, ovn: Daemons) -> None:
    assert ovn.do(certificate, RELAY, "show").startswith("refused")


def test_a_controller_changes_what_its_role_allows_and_nothing_else(ovn: Daemons) -> None:
    def controller(*words: str) -> str:
        return ovn.do("ovn_controller/testbed-1", RELAY, *words)

    assert controller("chassis-add", "testbed-1", "geneve", "192.0.2.1") == ""
    # what ovn-controller and the metadata agent say about themselves
    assert not controller("create", "Chassis_Private", "name=testbed-1").startswith("refused")
    assert controller("set", "Chassis_Private", "testbed-1", "external_ids:neutron-metadata=1") == ""
    for words in (
        ("chassis-add", "another", "geneve", "192.0.2.2"),
        ("create", "Datapath_Binding", "tunnel_key=7"),
        ("set", "SB_Global", ".", "options:x=y"),
    ):
        said = controller(*words)
        assert "RBAC rules for client" in said, words
    assert "another" not in ovn.do("ovn_control/testbed-1", SOUTHBOUND, "show")
