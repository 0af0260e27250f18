# SPDX-License-Identifier: Apache-2.0
"""Control hosts on loopback addresses: a service's rendered files and real certificates, each host in its own folder.

The programs run as they are shipped; their rendered settings get the paths and the seconds that a test gives.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from scs_deploy.desired import resolve
from scs_deploy.inventory.model import Host, Inventory
from scs_deploy.region.certificates import wanted_leaves
from scs_deploy.region.region import Region
from scs_deploy.secrets import pki, vault
from tests.conftest import dummy_region
from tests.unit.secrets.test_secrets import region as environment_in

STRANGER = "compute-9"
"""A host with certificates of every group that is no control host."""


def eventually(what: Callable[[], Any], seconds: float = 20) -> None:
    """Wait until it holds."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.05)


LOOPBACK = f"127.{os.getpid() >> 8 & 0xFF}.{os.getpid() & 0xFF}"
"""First three parts of addresses that only this process uses: tests run side by side, on the same ports."""


def free_port(address: str) -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind((address, 0))
        return int(listener.getsockname()[1])


class Hosts:
    """The control hosts of a shipped environment and what runs there."""

    def __init__(
        self,
        folder: Path,
        environment: str,
        service: str,
        settings: Mapping[str, Any],
        change: Mapping[str, Mapping[str, Any]],
    ) -> None:
        """:param change: name of a rendered JSON file: other values; HOST in them is the host's folder"""
        self.folder, self.service, self.change = folder, service, change
        self.running: dict[str, subprocess.Popen[str]] = {}
        self.logs: dict[str, IO[str]] = {}
        self.region = _context(folder, environment, settings)
        self.names = [h.name for h in self.region.inventory.group("control")]
        self.address = {h.name: h.management for h in self.region.inventory.group("control")}
        self.environment: dict[str, dict[str, str]] = {name: {} for name in self.names}
        for name in self.names:
            self._install(name)

    def _install(self, name: str) -> None:
        desired = resolve.resolve(self.region, name, {self.service})
        for file in desired.files.values():
            part = "tls" if file.name.startswith("tls/") else "etc"
            path = self.path(name, part) / Path(file.name).name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self._changed(name, file.name, file.content), encoding="utf-8")
            path.chmod(int(file.mode, 8))

    def _changed(self, name: str, file: str, text: str) -> str:
        change = {"peers.json": {"tls": "HOST/tls"}, **self.change}.get(file)
        if change is None:
            return text
        home = str(self.folder / name)
        values = {k: v.replace("HOST", home) if isinstance(v, str) else v for k, v in change.items()}
        return json.dumps({**json.loads(text), **values})

    def assign(self, name: str, file: str, **values: Any) -> None:
        """Give a host's program other settings."""
        path = self.path(name, "etc", file)
        path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **values}), encoding="utf-8")

    def path(self, name: str, *parts: str) -> Path:
        return self.folder.joinpath(name, *parts)

    def certificate(self, name: str, of: str) -> None:
        """Give a host another certificate, e.g. `haproxy/ha-1`."""
        leaf = self.region.certificates.leaf(of)
        self.path(name, "tls", "host.crt").write_text(leaf.cert)
        self.path(name, "tls", "host.key").write_text(leaf.key)

    def start(self, name: str, program: str, *arguments: str) -> None:
        """Start a program that stays."""
        log = self.path(name, "log").open("a", encoding="utf-8")
        command = [sys.executable, str(self.path(name, "etc", program)), *arguments]
        self.running[name] = subprocess.Popen(command, stdout=log, stderr=log, env=self._env(name), text=True)
        self.logs[name] = log

    def run(self, name: str, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a program to its end."""
        command = [sys.executable, str(self.path(name, "etc", program)), *arguments]
        return subprocess.run(command, env=self._env(name), text=True, capture_output=True, timeout=60, check=False)

    def python(self, name: str, code: str) -> subprocess.CompletedProcess[str]:
        """Run Python with the host's modules; `own` is its view of the peers."""
        settings = self.path(name, "etc", "peers.json")
        start = f"from pathlib import Path\nimport peers\nown = peers.Peers.read(Path({str(settings)!r}))\n"
        env = {**self._env(name), "PYTHONPATH": str(self.path(name, "etc"))}
        return subprocess.run(
            [sys.executable, "-c", start + code], env=env, text=True, capture_output=True, timeout=60, check=False
        )

    def _env(self, name: str) -> dict[str, str]:
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        keep = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        return {**keep, "PATH": path, "HOST": str(self.folder / name), **self.environment[name]}

    def stop(self, *names: str) -> None:
        for name in names or list(self.running):
            process = self.running.pop(name)
            process.kill()
            process.wait()
            self.logs.pop(name).close()

    def log(self, name: str) -> str:
        return self.path(name, "log").read_text(encoding="utf-8")


def _context(folder: Path, environment: str, settings: Mapping[str, Any]) -> Region:
    shipped = dummy_region(environment)
    hosts = {}
    for number, (name, host) in enumerate(shipped.inventory.hosts.items(), 11):
        address = ipaddress.ip_address(f"{LOOPBACK}.{number}")
        networks = {k: n.model_copy(update={"address": address}) for k, n in host.networks.items()}
        update = {"networks": networks, "settings": {**host.settings, **settings}}
        hosts[name] = host.model_copy(update=update)
    inventory = Inventory(hosts=hosts, groups=shipped.inventory.groups)
    made = environment_in(folder)
    vault.create_password(made)
    wanted = wanted_leaves(shipped.environment, shipped.catalog, inventory)
    stranger = _stranger(next(iter(hosts.values())))
    for group, leaf in {w.group: w for w in wanted.values() if w.group}.items():
        wanted[f"{group}/{STRANGER}"] = leaf.model_copy(update={"names": (STRANGER, stranger.management)})
    pki.ensure(made, wanted)
    certificates = pki.load(made)
    return dataclasses.replace(shipped, inventory=inventory, load_certificates=lambda _environment: certificates)


def _stranger(host: Host) -> Host:
    interface = host.networks["management"].model_copy(update={"address": ipaddress.ip_address(f"{LOOPBACK}.99")})
    return host.model_copy(update={"name": STRANGER, "networks": {"management": interface}})
