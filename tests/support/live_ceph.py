# SPDX-License-Identifier: Apache-2.0
"""A region's Ceph: real monitors, managers and OSDs of three hosts in containers, on a network that leads nowhere.

They are the region's: its files, its programs, its commands. A host's containers share its network. Keys and addresses
are made for the test.
"""

from __future__ import annotations

import dataclasses
import json
import random
import subprocess
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scs_deploy import clusters
from scs_deploy.clusters.ceph.driver import Driver
from scs_deploy.desired import resolve
from scs_deploy.desired.model import RunContainer
from scs_deploy.engine.access import Access
from scs_deploy.engine.remote import Answer, Answers, Command, ContainerState
from scs_deploy.inventory.model import Disk, Inventory
from scs_deploy.region.region import Region
from scs_deploy.secrets.generate import generate
from scs_deploy.spec import catalog
from tests.conftest import with_dummies
from tests.support.live_haproxy import docker
from tests.support.peer_hosts import eventually
from tests.support.programs import install

IMAGE = "scs/ceph:2025.1"
HOSTS = {"ha-1": 11, "ha-2": 12, "ha-3": 13}
THERE = "172.30.2."
"""The management network of the region whose files these are."""
SERVICE = "ceph"
LEAN = """
mon_lease = 15
mon_election_timeout = 15
osd_pool_default_pg_autoscale_mode = off
osd_mclock_skip_benchmark = true
"""
"""A busy machine is no dead one, nothing moves by itself, and no OSD measures its disk first."""


def soon(what: Callable[[], Any], seconds: float = 300) -> None:
    """Wait until it holds, also on a busy machine. While a cluster elects or peers, a command may fail."""

    def holds() -> bool:
        try:
            return bool(what())
        except (subprocess.SubprocessError, ValueError):
            return False

    eventually(holds, seconds)


class Ceph:
    """The cluster; a host's containers are named as in the region.

    :param disks: names of disks that each host has
    """

    def __init__(self, region: Region, folder: Path, disks: Sequence[str] = ("a",), parent: str = "") -> None:
        self.region, self.folder, self.parent = region, folder, parent
        self.name = f"scs-test-{uuid.uuid4().hex[:8]}"
        self.subnet = f"10.{random.randint(100, 199)}.{random.randint(0, 255)}."
        service = region.catalog.services[SERVICE]
        self.keys = {
            f"dummy-{name.replace('_', '-')}": generate(region.catalog.secret_formats[name]) for name in service.secrets
        }
        self.containers = ["ceph_mon", "ceph_mgr", *(f"ceph_osd_{d}" for d in disks)]
        self.run = {h: resolve.resolve(region, h, {SERVICE}).containers for h in HOSTS}

    def address(self, host: str) -> str:
        return f"{self.subnet}{HOSTS[host]}"

    def container(self, host: str, name: str) -> str:
        return f"{self.name}-{host}-{name}"

    # making

    def create(self) -> None:
        """Everything up to OSDs that are in."""
        docker("network", "create", "--internal", f"--subnet={self.subnet}0/24", self.name)
        for host in HOSTS:
            for name in self.containers:
                self._install(host, name)
            names = [f"--add-host={h}:{self.address(h)}" for h in HOSTS]
            self._run("run", "--detach", f"--name={self.name}-{host}", f"--network={self.name}", *names,
                      f"--ip={self.address(host)}", f"--hostname={host}", IMAGE, "sleep", "infinity")  # fmt: skip
        self.one_shot("ha-1", "ceph_mon", "/etc/ceph/create_mon.py")
        for name in self.containers:
            for host in HOSTS:
                self.add(host, name)
                soon(lambda h=host, n=name: self.healthy(h, n))  # type: ignore[misc]

    def _install(self, host: str, name: str) -> None:
        files = install(self.region, host, name, self.folder / host / name)
        for path in (p for p in files.rglob("*") if p.is_file()):
            text = path.read_text().replace(THERE, self.subnet)
            for dummy, key in self.keys.items():
                text = text.replace(dummy, key)
            if path.name == "daemon.conf":
                text = text.replace("[global]\n", f"[global]\n{LEAN}", 1)
            path.write_text(text)
            path.chmod(0o755 if path.suffix == ".py" else 0o644)

    def _run(self, *words: str) -> None:
        parent = [f"--cgroup-parent={self.parent}"] if self.parent else []
        docker(words[0], *parent, "--cpu-shares=256", *words[1:])

    def _options(self, host: str, run: RunContainer) -> list[str]:
        """Mounts, user and network of a container. A folder of the host is a volume of its own."""
        own = self.container(host, run.name)
        mounts = []
        for source, at, *_ in (b.split(":") for b in run.body["HostConfig"]["Binds"]):
            if source == f"/etc/scs/{run.name}":
                mounts.append(f"--volume={self.folder / host / run.name}:{at}:ro")
            elif not source.startswith("/etc/"):
                mounts.append(f"--volume={own}{'-disk' if source.startswith('/') else ''}:{at}")
        tmpfs = [f"--tmpfs={path}:{options}" for path, options in run.body["HostConfig"]["Tmpfs"].items()]
        sealed = ["--read-only"] if run.body["HostConfig"].get("ReadonlyRootfs") else []
        devices = [
            f"--device={d['PathOnHost']}:{d['PathInContainer']}" for d in run.body["HostConfig"].get("Devices", ())
        ]
        groups = [f"--group-add={g}" for g in run.body["HostConfig"].get("GroupAdd", ())]
        return [
            *mounts,
            *tmpfs,
            *sealed,
            *devices,
            *groups,
            f"--network=container:{self.name}-{host}",
            f"--user={run.body['User']}",
        ]

    def give(self, host: str, *disks: Disk) -> list[str]:
        """Have the inventory list further disks of a host; the containers of those that become OSDs."""
        found = self.region.inventory
        own = found.hosts[host]
        hosts = {**found.hosts, host: own.model_copy(update={"disks": (*own.disks, *disks)})}
        inventory = Inventory(hosts=hosts, groups=found.groups)
        self.region = with_dummies(dataclasses.replace(self.region, catalog=catalog.load(), inventory=inventory))
        self.run[host] = resolve.resolve(self.region, host, {SERVICE}).containers
        names = [f"ceph_osd_{d.name}" for d in disks if d.role == "osd"]
        for name in names:
            self._install(host, name)
        return names

    def add(self, host: str, name: str) -> None:
        """Create and start a host's container; its volumes belong to its user."""
        run = self.run[host][name]
        places = [at for o in self._options(host, run) if o.startswith("--volume=") and not o.endswith(":ro")
                  for at in [o.rpartition(":")[2]]]  # fmt: skip
        self._run("run", "--rm", *self._options(host, run)[:-1], "--user=root", IMAGE, "chown", "ceph:ceph", *places)
        self._run("run", "--detach", "--restart=unless-stopped", f"--name={self.container(host, name)}",
                  *self._options(host, run), IMAGE, *run.body["Cmd"])  # fmt: skip

    def beside(self, host: str, name: str, command: Sequence[str]) -> list[str]:
        """The command line of a new container with the mounts of this one."""
        parent = [f"--cgroup-parent={self.parent}"] if self.parent else []
        return ["docker", "run", "--rm", "--interactive", *parent, *self._options(host, self.run[host][name]), IMAGE,
                *command]  # fmt: skip

    def one_shot(self, host: str, name: str, *command: str, check: bool = True) -> tuple[int, str]:
        """A command in a new container with the mounts of this one."""
        done = subprocess.run(
            self.beside(host, name, command), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300,
            check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.returncode, done.stdout + done.stderr

    # using

    def inside(self, host: str, name: str, *command: str, timeout: float = 60) -> tuple[int, str]:
        """Exit code and output of a command in a container."""
        done = subprocess.run(
            ["docker", "exec", self.container(host, name), *command],
            capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip
        return done.returncode, (done.stdout + done.stderr).strip()

    def gate(self, host: str, name: str) -> tuple[int, str]:
        """What a container's gate says."""
        gate = self.run[host][name].roll.gate
        assert gate
        return self.inside(host, name, *gate)

    def healthy(self, host: str, name: str) -> bool:
        """What the container's own check says."""
        health = self.run[host][name].health
        assert health and health.command
        return self.runs(host, name) and self.inside(host, name, *health.command)[0] == 0

    def ceph(self, *words: str) -> str:
        """Output of a command of the operator, at the first host whose monitor runs."""
        place = next(h for h in HOSTS if self.runs(h, "ceph_mon"))
        done = subprocess.run(
            ["docker", "exec", self.container(place, "ceph_mon"), "ceph", "--connect-timeout=20", *words],
            capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
        return done.stdout.strip()

    def json(self, *words: str) -> Any:
        """The same, parsed."""
        return json.loads(self.ceph(*words, "--format=json"))

    def quorum(self, host: str = "ha-1") -> list[str]:
        """Who belongs to the quorum, as a host's monitor says by itself."""
        found = json.loads(self.inside(host, "ceph_mon", "ceph", "daemon", f"mon.{host}", "mon_status")[1])
        ranks = {m["rank"]: m["name"] for m in found["monmap"]["mons"]}
        return sorted(ranks[rank] for rank in found["quorum"])

    def clean(self) -> bool:
        """Whether all placement groups have all their copies, as the manager knows it."""
        states = self.json("pg", "stat")["pg_summary"]["num_pg_by_state"]
        return [s["name"] for s in states] == ["active+clean"]

    def up(self) -> bool:
        """Whether every OSD is up, and everything clean."""
        osds = self.json("osd", "stat")
        return bool(osds["num_osds"] == osds["num_up_osds"] == osds["num_in_osds"] and self.clean())

    def state(self, host: str, name: str) -> ContainerState:
        done = subprocess.run(
            ["docker", "inspect", "--format={{.State.Status}}", self.container(host, name)],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        found = {"running": ContainerState.RUNNING, "restarting": ContainerState.RESTARTING}
        return ContainerState.ABSENT if done.returncode else found.get(done.stdout.strip(), ContainerState.STOPPED)

    def runs(self, host: str, name: str) -> bool:
        return self.state(host, name) is ContainerState.RUNNING

    def start(self, host: str, *names: str) -> None:
        for name in names:
            docker("start", self.container(host, name))

    def stop(self, host: str, *names: str) -> None:
        for name in names:
            docker("stop", "--time=30", self.container(host, name))

    def lose(self, host: str, name: str) -> None:
        """A stopped container's data are gone."""
        volume = self.container(host, name)
        docker("run", "--rm", f"--volume={volume}:/lost", IMAGE, "find", "/lost", "-mindepth", "1", "-delete")

    def remove(self) -> None:
        """All containers, volumes and the network."""
        for listing, words in ((("ps", "--all"), ("rm", "--force")), (("volume", "ls"), ("volume", "rm", "--force"))):
            if found := docker(*listing, "--quiet", "--filter", f"name={self.name}").split():
                subprocess.run(["docker", *words, *found], capture_output=True, check=False)
        subprocess.run(["docker", "network", "rm", self.name], capture_output=True, check=False)


@contextmanager
def cluster(region: Region, folder: Path, disks: Sequence[str] = ("a",)) -> Iterator[Ceph]:
    """A cluster that ends with the test."""
    found = Ceph(region, folder, disks)
    try:
        found.create()
        yield found
    finally:
        found.remove()


def driver_of(ceph: Ceph) -> Driver:
    """The driver of its region."""
    found = clusters.of(ceph.region)["ceph"]
    assert isinstance(found, Driver)
    return found


class LiveAccess(Access):
    """What a driver does to a region is done to this cluster."""

    def __init__(self, ceph: Ceph) -> None:
        super().__init__(ceph.region, lambda kind, text: self.said.append(f"{kind}: {text}"))
        self.ceph = ceph
        self.said: list[str] = []
        self.away: set[str] = set()
        """hosts that do not respond"""

    def run(self, commands: Mapping[str, Sequence[Command]], together: bool = False) -> Answers:
        unreachable = {h: "Connection timed out" for h in commands if h in self.away}
        return Answers(
            {h: tuple(self._answer(h, c) for c in own) for h, own in commands.items() if h not in self.away},
            unreachable,
        )

    def _answer(self, host: str, command: Command) -> Answer:
        if command.one_shot:
            code, output = self.ceph.one_shot(host, command.container, *command.argv, check=False)
            return Answer(code=code, output=output)
        state = self.ceph.state(host, command.container)
        if state is not ContainerState.RUNNING:
            return Answer(code=-1, output="is not running", container=state)
        try:
            code, output = self.ceph.inside(host, command.container, *command.argv, timeout=command.timeout)
        except subprocess.TimeoutExpired:
            return Answer(code=-1, output="timeout", container=state)
        return Answer(code=code, output=output, container=state)

    def containers(self, action: str, container: str, hosts: Sequence[str], wait: bool = False) -> None:
        for host in hosts:
            docker(action, *(["--time=30"] if action == "stop" else []), self.ceph.container(host, container))
        done = {(host, container) for host in hosts}
        self.stopped = self.stopped | done if action == "stop" else self.stopped - done

    def pipe(self, source: tuple[str, str, Sequence[str]], target: tuple[str, str, Sequence[str]]) -> None:
        given = subprocess.Popen(self.ceph.beside(*source), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        taken = subprocess.run(self.ceph.beside(*target), stdin=given.stdout, check=False, timeout=300)
        assert (given.wait(60), taken.returncode) == (0, 0)
