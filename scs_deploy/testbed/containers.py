# SPDX-License-Identifier: Apache-2.0
"""Provider `containers`: every host is a systemd container on the manager's Docker engine with a nested engine."""

from __future__ import annotations

import io
import socket
import tarfile
import time
import uuid
from collections.abc import Callable, Mapping
from functools import cached_property
from ipaddress import IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scs_deploy.base import docker_engine
from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.environment.environment import Environment
from scs_deploy.inventory import ssh
from scs_deploy.inventory.model import Inventory
from scs_deploy.testbed import cgroups, manager
from scs_deploy.testbed.layout import Layout, Node, NodeNetwork, layout, overlap
from scs_deploy.testbed.provider import HostStatus, Report

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container
    from docker.models.networks import Network

LABEL, LABEL_FOLDER = "scs.testbed", "scs.testbed.folder"
DEADLINE = 120.0
"""Seconds to wait for a node's systemd and sshd. They take about 5 on an idle machine."""

HOST_KEY = "/etc/ssh/ssh_host_ed25519_key"


class Containers:
    """The hosts of one environment. Implements `provider.Provider`."""

    def __init__(self, environment: Environment, inventory: Inventory) -> None:
        if environment.settings.ssh.user != "root":
            raise RefusedError(f"{environment.file}: ssh.user: the provider containers supports only root")
        self.environment = environment
        self.layout: Layout = layout(environment, inventory)

    @cached_property
    def engine(self) -> DockerClient:
        """The manager's engine, connected on first use."""
        return docker_engine.connect()

    @property
    def image(self) -> str:
        """The systemd image of the release."""
        return f"scs/node:{self.environment.settings.release}"

    @property
    def labels(self) -> dict[str, str]:
        """Labels of all containers, networks and volumes of this testbed."""
        return {LABEL: self.environment.name, LABEL_FOLDER: str(self.environment.path)}

    def up(self, report: Report) -> None:
        """Create missing hosts, start stopped ones, and wait until all are reachable."""
        self._check(report)
        public_key = manager.ensure_key(self.environment)
        self.prepare(report)
        manager.set_names(self.environment.name, self.layout.names)
        for node in self.layout.nodes:
            container = self._container(node.full_name)
            if container is None:
                report(f"{node.host}: creating from {self.image}")
                container = self._create(node)
                # the image's ID is the same for all nodes, but hypervisors need a unique one
                _put(container, "/etc/machine-id", uuid.uuid4().hex + "\n", 0o444)
            if container.status != "running":
                report(f"{node.host}: starting")
                _put(container, "/root/.ssh/authorized_keys", public_key + "\n", 0o600, folder_mode=0o700)
                if parent := self._control_group(container):
                    _put(container, *cgroups.engine_options(parent), 0o644, folder_mode=0o755)
                container.start()
        cgroups.weigh(self._nodes_group, len(self.layout.nodes))
        for node in self.layout.nodes:
            report(f"{node.host}: waiting for systemd and ssh")
            self._wait(node)

    def prepare(self, report: Report) -> None:
        """Create the networks with the manager's addresses. The registry listens on them before any node exists.

        :raises RefusedError: addresses are already in use
        """
        self._check_owner()
        for network in self._missing_networks():
            report(f"network {network.full_name} {network.cidr}")
            self._create_network(network)

    def down(self, report: Report) -> None:
        """Remove all containers, networks and volumes with this testbed's label."""
        filters: dict[str, str | list[str] | bool] = {"label": f"{LABEL}={self.environment.name}"}
        for container in self.engine.containers.list(all=True, filters=filters):
            report(f"removing {container.name}")
            inner = cgroups.of_nested_containers(container.attrs["State"]["Pid"])
            container.remove(force=True, v=True)
            cgroups.remove(inner)
        for volume in self.engine.volumes.list(filters=filters):
            report(f"removing volume {volume.name}")
            volume.remove(force=True)
        for network in self.engine.networks.list(filters=filters):
            report(f"removing network {network.name}")
            self._disconnect_all(network)
            network.remove()
        cgroups.remove([self._nodes_group])
        manager.set_names(self.environment.name, ())

    def status(self) -> tuple[HostStatus, ...]:
        """The state of every host in the inventory."""
        result = []
        for node in self.layout.nodes:
            container = self._container(node.full_name)
            state = "absent" if container is None else "running" if container.status == "running" else "stopped"
            memory = (
                cgroups.memory_of_tree(container.attrs["State"]["Pid"]) if container and state == "running" else None
            )
            address = node.address
            result.append(HostStatus(name=node.host, state=state, address=address, memory=memory))
        return tuple(result)

    # checks before anything changes

    def _check_owner(self) -> None:
        """Reject a testbed of another checkout, which has other keys and secrets."""
        containers = [c for node in self.layout.nodes if (c := self._container(node.full_name))]
        for container in containers:
            folder = container.labels.get(LABEL_FOLDER, str(self.environment.path))
            if folder != str(self.environment.path):
                raise RefusedError(
                    f"container {container.name} belongs to the testbed of {folder}", "remove it with scs testbed down"
                )

    def _check(self, report: Report) -> None:
        from docker.errors import ImageNotFound

        try:
            self.engine.images.get(self.image)
        except ImageNotFound:
            raise RefusedError(f"image {self.image} is missing on this machine", "scs images build node") from None
        if not Path("/dev/net/tun").exists():
            raise RefusedError("/dev/net/tun: no such device", "run modprobe tun")
        for node in self.layout.nodes:
            container = self._container(node.full_name)
            if container and container.labels.get(LABEL) != self.environment.name:
                raise RefusedError(
                    f"container {node.full_name} does not belong to this testbed",
                    f"remove it with docker rm {node.full_name}",
                )
            if container and container.attrs["Image"] != self.engine.images.get(self.image).id:
                report(f"{node.host}: runs an older {self.image}; run `scs testbed down` and `up` to replace it")

    def _missing_networks(self) -> list[NodeNetwork]:
        existing = {network.name: network for network in self.engine.networks.list()}
        missing = [n for n in self.layout.networks if n.full_name not in existing]
        for wanted in self.layout.networks:
            if wanted.full_name in existing:
                subnets = _subnets(existing[wanted.full_name])
                if wanted.cidr not in subnets:
                    raise RefusedError(
                        f"Docker network {wanted.full_name} has {', '.join(map(str, subnets))}, "
                        f"but {self.environment.file} names {wanted.cidr}",
                        "remove it with scs testbed down",
                    )
        if missing:
            others = {
                f"Docker network {name}": s for name, n in existing.items() for s in _subnets(n)
            } | manager.routes()
            for wanted in missing:
                if used_by := overlap(wanted.cidr, others):
                    raise RefusedError(
                        f"{self.environment.file}: networks.{wanted.name}.cidr: {wanted.cidr} overlaps {used_by}",
                        "choose another cidr there and in the inventory, or remove the other network",
                    )
        return missing

    # creation

    def _create_network(self, network: NodeNetwork) -> None:
        from docker.types import IPAMConfig, IPAMPool

        self.engine.networks.create(
            network.full_name,
            driver="bridge",
            ipam=IPAMConfig(pool_configs=[IPAMPool(subnet=str(network.cidr), gateway=str(network.gateway))]),
            options={"com.docker.network.driver.mtu": str(network.mtu)},
            labels=self.labels,
        )

    def _create(self, node: Node) -> Container:
        api = self.engine.api
        self.engine.volumes.create(node.docker_volume, labels=self.labels)
        first, *others = node.attachments
        created = api.create_container(
            self.image,
            name=node.full_name,
            hostname=node.host,
            labels=self.labels,
            # tells systemd and the roles that this host is a container
            environment={"container": "docker"},
            host_config=self._host_config(node),
            networking_config=api.create_networking_config(
                {first.network: api.create_endpoint_config(ipv4_address=str(first.address))}  # type: ignore[arg-type]
            ),
            stop_signal="SIGRTMIN+3",
        )
        try:
            for attachment in others:
                api.connect_container_to_network(
                    created["Id"], attachment.network, ipv4_address=str(attachment.address)
                )
        except BaseException:
            # otherwise the next run would reuse the partially attached container
            api.remove_container(created["Id"], force=True)
            raise
        return self.engine.containers.get(created["Id"])

    @cached_property
    def _engine_info(self) -> dict[str, Any]:
        info: dict[str, Any] = self.engine.info()
        return info

    @cached_property
    def _nodes_group(self) -> str:
        """The control group of all nodes."""
        return cgroups.all_nodes(self.environment.name, self._engine_info.get("CgroupDriver", "cgroupfs"))

    def _control_group(self, container: Container) -> str:
        """The node's own control group for its nested containers; empty if this engine does not support that."""
        info = self._engine_info
        if (info.get("CgroupVersion"), info.get("CgroupDriver")) != ("1", "cgroupfs"):
            return ""
        return f"{container.attrs['HostConfig']['CgroupParent'] or '/docker'}/{container.id}"

    def _host_config(self, node: Node) -> dict[str, Any]:
        settings = self.environment.settings.testbed
        devices = [d for d in ("/dev/net/tun", "/dev/fuse", "/dev/kvm") if Path(d).exists()]
        config: dict[str, Any] = self.engine.api.create_host_config(
            network_mode=node.attachments[0].network,
            # everything that a separate machine can do, except for raising limits above the manager's
            cap_add=["ALL"],
            cap_drop=["SYS_RESOURCE"],
            security_opt=["seccomp=unconfined", "apparmor=unconfined"],
            tmpfs={"/run": "", "/tmp": "exec"},  # noqa: S108 - inside the node
            devices=[f"{d}:{d}:rwm" for d in devices],
            device_cgroup_rules=["a *:* rwm"],
            # nested containers need the real cgroup tree: runc uses the manager's paths
            cgroupns="host",
            cgroup_parent=self._nodes_group,
            binds=["/sys/fs/cgroup:/sys/fs/cgroup:rw", f"{node.docker_volume}:/var/lib/docker"],
            # Docker rewrites the node's /etc/hosts at every start: names must persist
            extra_hosts=self._names(),
            restart_policy={"Name": "unless-stopped"},
            mem_limit=settings.memory_limit if settings else None,
        )
        # same as `--security-opt systempaths=unconfined`, for sysctl and nested /proc mounts
        config["MaskedPaths"] = []
        config["ReadonlyPaths"] = []
        return config

    def _names(self) -> dict[str, str]:
        nodes = {node.host: node.address for node in self.layout.nodes}
        return nodes | {name: address for address, name in self.layout.names}

    # waiting

    def _wait(self, node: Node) -> None:
        container = self.engine.containers.get(node.full_name)
        _until(
            lambda: _systemd_is_up(container), f"{node.host}: systemd did not start", f"docker logs {node.full_name}"
        )
        self._check_interfaces(container, node)
        status, output = docker_engine.execute(
            container, "sh", "-c", f"test -e {HOST_KEY} || ssh-keygen -A >/dev/null; cat {HOST_KEY}.pub"
        )
        key = " ".join(output.split()[:2])
        if status != 0 or not key.startswith("ssh-ed25519 "):
            raise ScsError(
                f"{node.host}: no SSH host key: {output.strip()}", f"docker exec {node.full_name} ssh-keygen -A"
            )
        address = node.address
        ssh.trust(self.environment, {address: key, node.host: key})
        hint = f"docker exec {node.full_name} systemctl status ssh"
        _until(lambda: _ssh_answers(address), f"{node.host}: no SSH response from {address} port 22", hint)

    def _check_interfaces(self, container: Container, node: Node) -> None:
        """Check the interface names that Docker assigned. A node with other names than the inventory cannot be used."""
        wanted = {str(a.address): a.interface for a in node.attachments}
        interfaces: dict[str, str] = {}

        def attached() -> bool:
            interfaces.update(_addresses(container))
            return wanted.keys() <= interfaces.keys()

        # on a busy machine, systemd can be up before a network is
        _until(attached, f"{node.host}: an address is on no interface", "run scs testbed down, then up")
        for address, name in wanted.items():
            # after deployment, the address can be on a bridge with that interface
            if interfaces[address] != name and interfaces[address].startswith("eth"):
                raise ScsError(
                    f"{node.host}: {address} is on {interfaces[address]}, but the inventory names {name}",
                    "run scs testbed down, then up",
                )

    # helpers

    def _container(self, name: str) -> Container | None:
        from docker.errors import NotFound

        try:
            return self.engine.containers.get(name)
        except NotFound:
            return None

    def _disconnect_all(self, network: Network) -> None:
        network.reload()
        for container in network.containers:
            network.disconnect(container, force=True)


def _subnets(network: Network) -> list[IPv4Network]:
    configs: list[Mapping[str, str]] = network.attrs["IPAM"]["Config"] or []
    return [IPv4Network(c["Subnet"]) for c in configs if ":" not in c["Subnet"]]


def _put(container: Container, path: str, text: str, mode: int, folder_mode: int | None = None) -> None:
    """Write a file owned by root through the engine. Also works for stopped containers.

    :param folder_mode: create the file's folder with this mode; None: the folder exists
    """
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        if folder_mode is not None:
            folder = tarfile.TarInfo(str(Path(path).parent).lstrip("/"))
            folder.type, folder.mode = tarfile.DIRTYPE, folder_mode
            archive.addfile(folder)
        entry = tarfile.TarInfo(path.lstrip("/"))
        entry.size, entry.mode = len(text.encode()), mode
        archive.addfile(entry, io.BytesIO(text.encode()))
    container.put_archive("/", data.getvalue())


def _systemd_is_up(container: Container) -> bool:
    container.reload()
    if container.status != "running":
        last = container.logs(tail=3).decode(errors="replace").strip().replace("\n", " / ")
        raise ScsError(f"{container.name} exited: {last or 'no output'}", f"docker logs {container.name}")
    state = docker_engine.execute(container, "systemctl", "is-system-running")[1].strip()
    if state == "degraded":
        units = docker_engine.execute(container, "systemctl", "--failed", "--plain", "--no-legend")[1].splitlines()
        failed = " ".join(unit.split()[0] for unit in units if unit.strip())
        raise ScsError(
            f"{container.name}: failed units: {failed}", f"docker exec {container.name} systemctl status {failed}"
        )
    return state == "running"


def _ssh_answers(address: str) -> bool:
    try:
        with socket.create_connection((address, 22), timeout=2) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def _addresses(container: Container) -> dict[str, str]:
    """IPv4 address: interface."""
    _, output = docker_engine.execute(container, "ip", "-brief", "-4", "address")
    return {a.split("/")[0]: line.split("@")[0].split()[0] for line in output.splitlines() for a in line.split()[2:]}


def _until(condition: Callable[[], bool], message: str, hint: str) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > end:
            raise ScsError(f"{message} within {DEADLINE:.0f} s", hint)
        time.sleep(0.2)
