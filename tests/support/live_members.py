# SPDX-License-Identifier: Apache-2.0
"""Three members of a cluster: real daemons in containers of the region's images, on a network that leads nowhere.

Each has its rendered files, with addresses of that network and certificates of its own CA.
"""

from __future__ import annotations

import random
import re
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from scs_deploy.desired import resolve
from scs_deploy.region.region import Region
from scs_deploy.secrets import pki, vault
from scs_deploy.secrets.issuing import Wanted
from tests.support.live_haproxy import docker
from tests.support.programs import install
from tests.unit.secrets.test_secrets import region as made_region

HOSTS = {"ha-1": 11, "ha-2": 12, "ha-3": 13}
THERE = "172.30.2."
"""The management network of the region whose files these are."""


class Members:
    """The members of one container's cluster, by host."""

    def __init__(self, region: Region, container: str, image: str, folder: Path) -> None:
        self.container, self.image, self.folder = container, image, folder
        self.name = f"scs-test-{uuid.uuid4().hex[:8]}"
        self.subnet = f"10.{random.randint(100, 199)}.{random.randint(0, 255)}."
        self.run = {
            h: resolve.resolve(region, h, {region.catalog.owner[container]}).containers[container] for h in HOSTS
        }
        made = made_region(folder / "region")
        vault.create_password(made)
        spec = region.catalog.services[region.catalog.owner[container]].containers[container]
        groups = {u.certificate: region.catalog.certificates[u.certificate].group for u in spec.tls}
        pki.ensure(
            made,
            {
                f"{name}/{h}": Wanted(names=(self.address(h),), group=name if group else "", client=group)
                for name, group in groups.items()
                for h in HOSTS
            },
        )
        issued = pki.load(made)
        for host in HOSTS:
            files = install(region, host, container, folder / host)
            (files / "tls").mkdir(exist_ok=True)
            for i, (purpose, group) in enumerate(groups.items()):
                leaf, stem = issued.leaf(f"{purpose}/{host}"), purpose if i else "host"
                accepted = issued.accepted([purpose] if group else [])
                for name, text in {
                    f"{purpose}-ca.crt" if i else "ca.crt": accepted, f"{stem}.crt": leaf.cert, f"{stem}.key": leaf.key,
                }.items():  # fmt: skip
                    (files / "tls" / name).write_text(text)
            for path in files.rglob("*"):
                if path.is_file():
                    text = path.read_text().replace(THERE, self.subnet)
                    path.write_text(text.replace(THERE.replace(".", ","), self.subnet.replace(".", ",")))
                    path.chmod(0o755 if path.suffix in (".sh", ".py") else 0o644)

    def address(self, host: str) -> str:
        """Of a member, in its network."""
        return f"{self.subnet}{HOSTS[host]}"

    def change(self, name: str, what: Callable[[str], str]) -> None:
        """Change a file of every member."""
        for host in HOSTS:
            path = self.folder / host / name
            path.write_text(what(path.read_text()))

    def start(self, host: str, *before: str) -> None:
        """Start a member, after these commands in its container; its data stay with it."""
        run = self.run[host]
        command = [re.sub(re.escape(THERE), self.subnet, word) for word in run.body["Cmd"]]
        if docker("ps", "--all", "--quiet", "--filter", f"name=^{self.name}-{host}$"):
            docker("start", f"{self.name}-{host}")
            return
        binds = [b.split(":") for b in run.body["HostConfig"]["Binds"]]
        mounts = [
            f"--volume={self.folder / host}:{at}:ro"
            for source, at, *_ in binds
            if source == f"/etc/scs/{self.container}"
        ]
        mounts += [f"--volume={self.name}-{host}:{at}" for source, at, *_ in binds if not source.startswith("/")]
        mounts += [f"--tmpfs={at}" for source, at, *_ in binds if source.startswith("/run/")]
        mounts.append(f"--volume={self.folder / host}/tls:/etc/scs/tls:ro")
        tmpfs = [f"--tmpfs={path}:{options}" for path, options in run.body["HostConfig"]["Tmpfs"].items()]
        others = [f"--add-host={h}:{self.address(h)}" for h in HOSTS]
        script = " && ".join([*before, 'exec "$@"'])
        docker(
            "run", "--detach", "--cpu-shares=256", "--restart=unless-stopped",
            f"--name={self.name}-{host}", f"--hostname={host}",
            f"--network={self.name}", f"--ip={self.address(host)}", f"--user={run.body['User'] or 'root'}",
            *mounts, *tmpfs, *others, self.image, "sh", "-ec", script, "start", *command,
        )  # fmt: skip

    def inside(self, host: str, *command: str, timeout: float = 40) -> tuple[int, str]:
        """Exit code and output of a command in a member."""
        done = subprocess.run(
            ["docker", "exec", f"{self.name}-{host}", *command],
            capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip
        return done.returncode, (done.stdout + done.stderr).strip()

    def gate(self, host: str) -> tuple[int, str]:
        """What its gate says."""
        gate = self.run[host].roll.gate
        assert gate
        return self.inside(host, *gate)

    def stop(self, *hosts: str) -> None:
        """Stop members in order."""
        for host in hosts:
            docker("stop", "--time", "60", f"{self.name}-{host}")

    def log(self, host: str) -> str:
        """What a member printed."""
        done = subprocess.run(["docker", "logs", f"{self.name}-{host}"], capture_output=True, text=True, check=False)
        return done.stdout + done.stderr


@contextmanager
def members(region: Region, container: str, image: str, folder: Path) -> Iterator[Members]:
    """Prepared, none started; they end with the test."""
    found = Members(region, container, image, folder)
    docker("network", "create", "--internal", f"--subnet={found.subnet}0/24", found.name)
    try:
        yield found
    finally:
        for host in HOSTS:
            subprocess.run(
                ["docker", "rm", "--force", "--volumes", f"{found.name}-{host}"], capture_output=True, check=False
            )
            subprocess.run(
                ["docker", "volume", "rm", "--force", f"{found.name}-{host}"], capture_output=True, check=False
            )
        docker("network", "rm", found.name)
