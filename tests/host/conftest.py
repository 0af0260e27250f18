# SPDX-License-Identifier: Apache-2.0
"""A host container of its own, with an environment, and the `scs` command against it."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from scs_deploy.base import paths
from scs_deploy.region.region import Region
from scs_deploy.testbed.containers import Containers

NAME = "hosttest"
"""Of the environment; its names and addresses are its own on this machine."""
HOST = f"{NAME}-1"
MANAGER, ADDRESS, STORAGE = "172.31.77.1", "172.31.77.11", "172.31.78.11"
COMMON = {"ansible_host": ADDRESS, "ovn_tunnel_network": "management", "neutron_dns_servers": ["192.0.2.53"]}
GROUPS = ("control", "network", "compute")
SETTINGS = {
    "release": "2025.1",
    "networks": {"management": {"cidr": "172.31.77.0/24"}, "storage": {"cidr": "172.31.78.0/24"}},
    "api": {
        "internal": {"address": "172.31.77.9", "name": "internal.hosttest.scs.example"},
        "external": {"address": "172.31.77.10", "name": "api.hosttest.scs.example"},
    },
    "registry": {"address": MANAGER, "port": 5009},
    "vault_password_file": "vault_password",
    "testbed": {"provider": "containers", "memory_limit": "1g"},
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test in this folder needs the host container."""
    for item in items:
        if "tests/host" in str(item.path):
            item.add_marker(pytest.mark.host)


class HostUnderTest:
    """The container, what its inventory says, and the command."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / NAME
        self.environment = {
            **os.environ, "SCS_ENVIRONMENTS": str(folder), "SCS_ENVIRONMENT": NAME, "SCS_ROOT": str(paths.root()),
            "PYTHONPATH": str(paths.root()),
        }  # fmt: skip
        self.inventory = self.folder / "inventory"
        (self.inventory / "host_vars").mkdir(parents=True)
        self.write("environment.yml", SETTINGS)
        children: dict[str, Any] = {group: {"hosts": {HOST: None}} for group in GROUPS}
        children["chassis"] = {"children": {"network": None, "compute": None}}
        self.write("inventory/hosts.yml", {"all": {"children": children}})

    def write(self, name: str, value: Any) -> None:
        (self.folder / name).write_text(yaml.safe_dump(value), encoding="utf-8")

    def describe(self, links: Mapping[str, Any], **variables: Any) -> None:
        """Give the host these links, and other variables."""
        management = {"interface": "eth0", "address": ADDRESS}
        own = {**COMMON, "networks": {"management": management}, "links": dict(links), **variables}
        self.write(f"inventory/host_vars/{HOST}.yml", own)

    def scs(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command."""
        done: subprocess.CompletedProcess[str] = self.start(*arguments, wait=True)
        return done

    def start(self, *arguments: str, wait: bool = False) -> Any:
        """Start the command, and leave it running unless asked to wait."""
        command = [sys.executable, "-c", "from scs_deploy.cli.main import main; main()", *arguments]
        options: dict[str, Any] = {"env": self.environment, "text": True, "cwd": str(self.folder)}
        if wait:
            return subprocess.run(command, **options, capture_output=True, timeout=300, check=False)
        return subprocess.Popen(command, **options, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def run(self, command: str) -> str:
        """A command's output on the host, through Docker: works without a network."""
        done = subprocess.run(
            ["docker", "exec", f"scs-{HOST}", *shlex.split(command)],
            text=True, capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        return done.stdout

    def link(self, name: str) -> dict[str, Any]:
        """The kernel's view of a link; empty when there is none."""
        found = json.loads(self.run(f"ip -json address show dev {name}") or "[]")
        return found[0] if found else {}

    def addresses(self, name: str) -> set[str]:
        """Global addresses with prefix length."""
        entries = self.link(name).get("addr_info", ())
        return {f"{a['local']}/{a['prefixlen']}" for a in entries if a["scope"] == "global"}

    def default_route(self) -> list[str]:
        """Gateways of the IPv4 default routes."""
        return [r.get("gateway") for r in json.loads(self.run("ip -json -4 route show default") or "[]")]

    def files(self) -> dict[str, str]:
        """The network files of scs on the host, path: text."""
        paths_ = self.run("sh -c 'ls /etc/systemd/network/05-scs-* /etc/netplan/60-scs.yaml 2>/dev/null'").split()
        return {path: self.run(f"cat {path}") for path in paths_}

    def status(self) -> str:
        """How the last try ended."""
        return str(json.loads(self.run("cat /var/lib/scs-network/status.json") or '{"state": ""}')["state"])

    def pending(self) -> bool:
        """A try is neither confirmed nor taken back."""
        return bool(self.run("ls /var/lib/scs-network/saved.json"))


def eventually(holds: Any, seconds: float, what: str) -> None:
    """Wait until it holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.3)


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostUnderTest]:
    """The host, made for the session."""
    folder = Path(os.environ["SCS_HOST_FOLDER"]) if "SCS_HOST_FOLDER" in os.environ else tmp_path_factory.mktemp("env")
    under_test = HostUnderTest(folder)
    both = {
        "management": {"interface": "eth0", "address": ADDRESS}, "storage": {"interface": "eth1", "address": STORAGE}
    }  # fmt: skip
    under_test.write(f"inventory/host_vars/{HOST}.yml", {**COMMON, "networks": both})
    os.environ["SCS_ENVIRONMENTS"] = str(folder)
    region = Region.load(NAME)
    testbed = Containers(region.environment, region.inventory)
    try:
        testbed.up(lambda _line: None)
        yield under_test
    finally:
        if "SCS_HOST_KEEP" not in os.environ:
            testbed.down(lambda _line: None)
