# SPDX-License-Identifier: Apache-2.0
"""An environment: the folder `environments/<name>/` of one region and its settings, read once and frozen."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from scs_deploy.base import paths
from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import IPAddress, IPNetwork, Model, PathText, Written, load_model
from scs_deploy.base.words import Words
from scs_deploy.environment import option_lists
from scs_deploy.spec.container import Groups, Impact
from scs_deploy.spec.listener import Port, ports


class Network(Written):
    """A network that hosts have addresses on. Its name is also the key in the hosts' `networks`."""

    cidr: IPNetwork = Field(description="address range")
    mtu: int = Field(default=1500, ge=1280, le=9216, description="bytes")


class ApiAddress(Written):
    """An address that HAProxy serves the APIs on: a virtual IP and its DNS name."""

    address: IPAddress = Field(description="virtual IP; must be unused on the network")
    name: str = Field(
        pattern=r"^([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$",
        max_length=253,
        description="DNS name, used in the certificate and in every URL",
    )
    network: str = Field(default="management", description="the network that contains the address")


class Api(Written):
    """The region's two API addresses."""

    internal: ApiAddress = Field(description="for the region's services")
    external: ApiAddress = Field(description="for the region's users")


class Registry(Written):
    """The registry that hosts pull images from."""

    address: str = Field(description="host name or address at which the hosts reach the registry")
    port: int = Field(default=5000, ge=1, le=65535, description="TLS port")
    managed: bool = Field(
        default=True, description="true: scs runs this registry on the manager; false: it is run outside of scs"
    )
    keep_days: int = Field(
        default=14, ge=0, description="days that the managed registry keeps images that are not in the release lock"
    )

    @property
    def host(self) -> str:
        """`address:port`, the first part of an image reference."""
        return f"{self.address}:{self.port}"


class Ssh(Written):
    """How the manager connects to hosts."""

    user: str = Field(default="root", description="login user; a user other than root needs sudo")
    private_key: PathText = Field(
        default="state/ssh/id_ed25519", description="private key file, relative to the environment's folder"
    )


class Rolling(Written):
    """How many hosts change at the same time."""

    compute_hosts: int = Field(default=1, ge=1, description="compute hosts whose containers are replaced at once")
    image_pulls: int = Field(
        default=20, ge=1, description="hosts that pull images at once; use 1 if the hosts share a disk"
    )


class Backup(Written):
    """Settings of `scs backup`."""

    target: PathText = Field(
        default="state/backups",
        description="folder, relative to the environment's, or `ssh://user@host[:port]/folder`; "
        "each region gets a subfolder",
    )
    ssh_key: PathText | None = Field(
        default=None,
        description="private key file for ssh://, relative to the environment's folder; default: the hosts' key",
    )
    recipients: tuple[str, ...] = Field(
        default=(), description="additional public age keys that can decrypt backups, e.g. an offline recovery key"
    )
    daily: int = Field(default=7, ge=1, description="days for which the last backup of the day is kept")
    weekly: int = Field(default=4, ge=0, description="weeks for which the last backup of the week is kept")
    full_every_days: int = Field(default=7, ge=1, description="days between full backups of the database")
    schedule: str = Field(
        default="*-*-* 04:30:00",
        description="systemd calendar expression of `scs backup schedule`; outside 01:00 to 03:59, where an hour is "
        "missing when summer time begins, or in UTC: `*-*-* 02:30 UTC`",
    )


class Keep(Written):
    """How much the manager keeps of what grows with every run."""

    runs: int = Field(default=1000, ge=50, description="run records: command, user, result, plan, measurements")
    run_details: int = Field(default=200, ge=50, description="the newest run records that keep their steps, too")
    run_files: int = Field(default=20, ge=1, description="runs whose playbooks and Ansible's output are kept")
    snapshots: int = Field(default=50, ge=2, le=1000, description="inputs of runs, which a rollback needs")
    restored: int = Field(default=3, ge=1, description="descriptions of the region that restores extracted")
    log_mib: int = Field(default=10, ge=1, le=10240, description="size at which `state/scs.log` is set aside, once")

    @model_validator(mode="after")
    def _enough(self) -> Keep:
        if self.run_details < self.snapshots:
            raise ValueError(f"run_details: a rollback to a snapshot needs its steps: at least {self.snapshots}")
        if self.runs < self.run_details:
            raise ValueError(f"runs: expected at least run_details, {self.run_details}")
        return self


class UnknownOptions(Words):
    """What to do about an override's option that its service does not read."""

    REFUSE = "refuse", "it has no effect, and its author expects one: nothing is changed"
    WARN = "warn", "for options of plugins that the images' packages do not declare"


class Opening(Written):
    """Ports of hosts that the operator opens, beside those that services declare."""

    ports: tuple[Port, ...] = Field(min_length=1, description="ports, or ranges such as 9100-9105")
    protocol: Literal["tcp", "udp"] = Field(default="tcp", description="tcp or udp")
    sources: tuple[IPNetwork, ...] = Field(
        min_length=1, description="who may connect; 0.0.0.0/0 and ::/0 are everybody"
    )
    hosts: Groups = Field(default=("all",), description="inventory group, list of groups, or `all`")

    @property
    def ranges(self) -> tuple[tuple[int, int], ...]:
        """First and last port of each."""
        return tuple(ports(text) for text in self.ports)

    @field_validator("ports")
    @classmethod
    def _ranges(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            ports(text)
        return value


class Firewall(Written):
    """The packet filter of the hosts. Their services' ports are open to those who use them without any setting."""

    managed: bool = Field(
        default=True, description="false: scs sets no packet filter; another one has to protect the hosts"
    )
    manager: tuple[IPNetwork, ...] = Field(
        default=(),
        description="addresses from which the region is administered, beside the management network and the manager "
        "that prepared the hosts: SSH, and what the manager uses",
    )
    allow: tuple[Opening, ...] = Field(default=(), description="further ports, e.g. of a monitoring agent")


class Testbed(Written):
    """Settings of `scs testbed` for this environment. Absent in a real region."""

    provider: str = Field(default="containers", description="provider that creates the hosts")
    memory_limit: str | None = Field(default=None, description="memory limit per host, e.g. 8g")


class Settings(Written):
    """The keys of `environments/<name>/environment.yml`."""

    release: str = Field(description="name of a file in releases/, without .yml")
    region: str = Field(default="RegionOne", description="name of the Keystone region")
    inventory: PathText = Field(default="inventory", description="folder or file, relative to the environment's folder")
    networks: dict[str, Network] = Field(description="networks by name; `management` is required")
    api: Api = Field(description="API addresses of the region")
    registry: Registry = Field(description="registry that hosts pull images from")
    ssh: Ssh = Field(default=Ssh(), description="how the manager connects to hosts")
    vault_password_file: PathText | None = Field(
        default=None, description="file with the vault password, relative to the environment's folder"
    )
    vault_password_command: str | None = Field(default=None, description="command that prints the vault password")
    allow: tuple[Impact, ...] = Field(
        default=(), description="impacts that every run may have without `--allow`: data-plane, network"
    )
    unknown_options: UnknownOptions = Field(
        default=UnknownOptions.REFUSE,
        description="options and policy rules in `config/` that their services do not have: refuse, or warn",
    )
    rolling: Rolling = Field(default=Rolling(), description="how many hosts change at the same time")
    health_interval: int = Field(
        default=30, ge=10, le=3600,
        description="seconds between Docker's health checks of a container, of which each is a process; a roll makes "
        "its own checks, more often",
    )  # fmt: skip
    firewall: Firewall = Field(default=Firewall(), description="who may reach the hosts, beside the region's services")
    backup: Backup = Field(default=Backup(), description="where backups are stored and how many are kept")
    keep: Keep = Field(default=Keep(), description="how much the manager keeps in the state folder")
    testbed: Testbed | None = Field(default=None, description="present if scs creates the hosts itself")

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        if (self.vault_password_file is None) == (self.vault_password_command is None):
            raise ValueError("set exactly one of vault_password_file and vault_password_command")
        if "management" not in self.networks:
            raise ValueError("networks: 'management' is required")
        _refuse_ipv6(self)
        for side in ("internal", "external"):
            api: ApiAddress = getattr(self.api, side)
            if api.network not in self.networks:
                raise ValueError(f"api.{side}.network: '{api.network}' is not defined in networks")
            if api.address not in self.networks[api.network].cidr:
                raise ValueError(f"api.{side}.address: {api.address} is outside {self.networks[api.network].cidr}")
        return self


def _refuse_ipv6(settings: Settings) -> None:
    """:raises ValueError: IPv6 where the region's own services cannot use it"""
    network = settings.networks["management"].cidr
    if network.version == 6:
        raise ValueError(
            f"networks.management.cidr: {network} is IPv6, but RabbitMQ, Galera and OVN form their clusters over IPv4; "
            "use an IPv4 network (api.external and tunnels may be IPv6)"
        )
    internal = settings.api.internal.address
    if internal.version == 6:
        raise ValueError(
            f"api.internal.address: {internal} is IPv6, but the region's services reach it from their IPv4 addresses"
        )
    if ":" in settings.registry.address:
        raise ValueError(
            f"registry.address: {settings.registry.address} is IPv6, but hosts pull images over IPv4: use a name or "
            "an IPv4 address"
        )


class Environment(Model):
    """A region's name, folder and settings."""

    name: str
    path: Path
    settings: Settings
    ahead: bool = Field(default=False, description="loaded with a release that environment.yml does not name yet")

    @property
    def file(self) -> Path:
        """environment.yml."""
        return self.path / "environment.yml"

    @property
    def state(self) -> Path:
        """Run records, keys and locks of this manager. Never in git."""
        return self.path / "state"

    @property
    def inventory(self) -> Path:
        """The Ansible inventory."""
        return (self.path / self.settings.inventory).resolve()

    @property
    def secrets_file(self) -> Path:
        """The ansible-vault file with all secrets, name: value."""
        return self.path / "secrets.yml"

    @property
    def certificates_file(self) -> Path:
        """The ansible-vault file with the region CA and all certificates with their keys."""
        return self.path / "certificates.yml"

    @property
    def ca_file(self) -> Path:
        """The region CA's certificate (public, PEM)."""
        return self.path / "ca.crt"

    @property
    def lock_file(self) -> Path:
        """The release lock that this environment uses: what its release resolved to in this region."""
        return self.next_lock(self.settings.release) if self.ahead else self.present_lock

    @property
    def options_file(self) -> Path:
        """The options that the services of the release's images read."""
        return option_lists.file_of(self.path, self.settings.release)

    @property
    def present_lock(self) -> Path:
        """release.lock.yml: the lock of the release that environment.yml names, even if another one is loaded."""
        return self.path / "release.lock.yml"

    def next_lock(self, release: str) -> Path:
        """release.lock.<release>.yml: the lock of a release that the region has not been upgraded to yet."""
        return self.path / f"release.lock.{release}.yml"

    @property
    def ssh_key(self) -> Path:
        """The private key for the hosts."""
        return self.path / self.settings.ssh.private_key

    @property
    def known_hosts(self) -> Path:
        """The SSH host keys of this region's hosts."""
        return self.state / "ssh" / "known_hosts"


def names() -> list[str]:
    """Names of all environments, sorted."""
    base = paths.environments()
    return sorted(p.parent.name for p in base.glob("*/environment.yml")) if base.is_dir() else []


def folder(name: str) -> Path:
    """The folder of an environment, which may not exist."""
    return paths.environments() / name


def current() -> str:
    """The default environment: SCS_ENVIRONMENT, else the choice of `scs env use`, else the only environment.

    :raises RefusedError: none of these selects an environment
    """
    if name := os.environ.get("SCS_ENVIRONMENT"):
        return name
    marker = paths.environments() / ".current"
    if marker.is_file():
        return marker.read_text(encoding="utf-8").strip()
    existing = names()
    if len(existing) == 1:
        return existing[0]
    raise RefusedError(
        "no environment selected",
        f"scs env use NAME, or --environment NAME; available: {', '.join(existing) or 'none'}",
    )


def use(name: str) -> None:
    """Make an environment the default.

    :raises RefusedError: it does not exist, environment.yml has an error, or the choice is another user's
    """
    load(name)
    marker = paths.environments() / ".current"
    try:
        marker.write_text(f"{name}\n", encoding="utf-8")
    except PermissionError:
        raise RefusedError(
            f"{marker}: only its owner selects the environment for all users", f"export SCS_ENVIRONMENT={name}"
        ) from None


AHEAD = "SCS_RELEASE_AHEAD"
"""Environment variable for Ansible's processes: the release to load the environment with."""


def load(name: str | None = None, release: str | None = None) -> Environment:
    """Load and validate an environment.

    :param release: load it with this release instead of the one in environment.yml
    :raises RefusedError: it does not exist, or environment.yml has an error
    """
    name = name or current()
    path = folder(name)
    if not (path / "environment.yml").is_file():
        raise RefusedError(
            f"{path}: environment '{name}' does not exist",
            f"scs env init {name}; available: {', '.join(names()) or 'none'}",
        )
    settings = load_model(Settings, path / "environment.yml")
    release = release or os.environ.get(AHEAD) or settings.release
    ahead = release != settings.release
    return Environment(name=name, path=path, settings=settings.model_copy(update={"release": release}), ahead=ahead)
