# SPDX-License-Identifier: Apache-2.0
"""One region: the folder `environments/<name>/` and its settings, read once and frozen."""

from __future__ import annotations

import os
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path

from pydantic import Field, model_validator

from scs_deploy.base import paths
from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import Model, load_model
from scs_deploy.spec.container import Impact

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network


class Network(Model):
    """A network that hosts have addresses on; its name is the key in the hosts' `networks` too."""

    cidr: IPNetwork = Field(description="its addresses")
    mtu: int = Field(default=1500, ge=1280, le=9216, description="bytes")


class ApiAddress(Model):
    """Where HAProxy answers: a virtual IP and the name in its certificate."""

    address: IPAddress = Field(description="virtual IP, unused so far")
    name: str = Field(description="name in its certificate and in every URL")
    network: str = Field(default="management", description="the network that holds the address")


class Api(Model):
    """The region's two API addresses."""

    internal: ApiAddress = Field(description="for the services themselves")
    external: ApiAddress = Field(description="for the region's users")


class Registry(Model):
    """Where nodes pull images from."""

    address: str = Field(description="host name or address that the nodes reach")
    port: int = Field(default=5000, ge=1, le=65535, description="TLS")
    managed: bool = Field(default=True, description="scs runs this registry on the manager; false: somebody else does")
    keep_days: int = Field(
        default=14, ge=0, description="how long the managed registry keeps images that the release lock does not name"
    )

    @property
    def host(self) -> str:
        """`address:port`, the first part of an image reference."""
        return f"{self.address}:{self.port}"


class Ssh(Model):
    """How the manager reaches hosts."""

    user: str = Field(default="root", description="another one becomes root with sudo")
    private_key: str = Field(default="state/ssh/id_ed25519", description="relative to the environment's folder")


class Rolling(Model):
    """How much changes at the same time."""

    compute_hosts: int = Field(default=1, ge=1, description="compute hosts whose containers roll at once")
    image_pulls: int = Field(default=20, ge=1, description="hosts that pull images at once; 1 where they share a disk")


class Backup(Model):
    """Settings of `scs backup`."""

    target: str = Field(
        default="state/backups",
        description="folder, relative to the environment's, or `ssh://user@host[:port]/folder`; one in it per region",
    )
    ssh_key: str | None = Field(
        default=None, description="for ssh://, relative to the environment's folder; default: the hosts' key"
    )
    recipients: tuple[str, ...] = Field(
        default=(), description="further public age keys that can read backups, e.g. one whose secret half is in a safe"
    )
    daily: int = Field(default=7, ge=1, description="days of which the last backup is kept")
    weekly: int = Field(default=4, ge=0, description="weeks of which the last backup is kept")
    full_every_days: int = Field(default=7, ge=1, description="days until the database is copied in full again")
    schedule: str = Field(default="*-*-* 02:30:00", description="systemd calendar expression of `scs backup schedule`")


class Testbed(Model):
    """Settings of `scs testbed` for this environment; absent in a real region."""

    provider: str = Field(default="containers", description="what makes the hosts")
    memory_limit: str | None = Field(default=None, description="per node, e.g. 8g")


class Settings(Model):
    """The keys of `environments/<name>/environment.yml`."""

    release: str = Field(description="file name in releases/, without .yml")
    region: str = Field(default="RegionOne", description="Keystone region")
    inventory: str = Field(default="inventory", description="folder or file, relative to the environment's folder")
    networks: dict[str, Network] = Field(description="by name; `management` is required")
    api: Api = Field(description="where the region answers")
    registry: Registry = Field(description="where hosts get images")
    ssh: Ssh = Field(default=Ssh(), description="how hosts are reached")
    vault_password_file: str | None = Field(default=None, description="relative to the environment's folder")
    vault_password_command: str | None = Field(default=None, description="prints the vault password")
    allow: tuple[Impact, ...] = Field(
        default=(), description="impacts that need no consent per run: data-plane, network"
    )
    rolling: Rolling = Field(default=Rolling(), description="how much changes at the same time")
    backup: Backup = Field(default=Backup(), description="where backups go, how many are kept")
    testbed: Testbed | None = Field(default=None, description="present where scs makes the hosts itself")

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        if (self.vault_password_file is None) == (self.vault_password_command is None):
            raise ValueError("give exactly one of vault_password_file, vault_password_command")
        if "management" not in self.networks:
            raise ValueError("networks: 'management' is required")
        for side in ("internal", "external"):
            api: ApiAddress = getattr(self.api, side)
            if api.network not in self.networks:
                raise ValueError(f"api.{side}.network: no network '{api.network}' in networks")
            if api.address not in self.networks[api.network].cidr:
                raise ValueError(f"api.{side}.address: {api.address} is outside {self.networks[api.network].cidr}")
        return self


class Environment(Model):
    """A region's name, folder and settings."""

    name: str
    path: Path
    settings: Settings
    ahead: bool = Field(default=False, description="seen as with a release that environment.yml does not name yet")

    @property
    def file(self) -> Path:
        """environment.yml."""
        return self.path / "environment.yml"

    @property
    def state(self) -> Path:
        """Run records, keys and locks of this manager; never in git."""
        return self.path / "state"

    @property
    def inventory(self) -> Path:
        """The Ansible inventory."""
        return (self.path / self.settings.inventory).resolve()

    @property
    def secrets_file(self) -> Path:
        """Ansible-vault file with every secret, name: value."""
        return self.path / "secrets.yml"

    @property
    def certificates_file(self) -> Path:
        """Ansible-vault file with the region CA and all certificates with their keys."""
        return self.path / "certificates.yml"

    @property
    def ca_file(self) -> Path:
        """The region CA's certificate (public, PEM)."""
        return self.path / "ca.crt"

    @property
    def lock_file(self) -> Path:
        """release.lock.yml: what the release resolved to in this region."""
        return self.next_lock(self.settings.release) if self.ahead else self.present_lock

    @property
    def present_lock(self) -> Path:
        """The lock of the release that environment.yml names, whichever the region is seen with."""
        return self.path / "release.lock.yml"

    def next_lock(self, release: str) -> Path:
        """release.lock.<release>.yml: of a release that the region is yet to be upgraded to."""
        return self.path / f"release.lock.{release}.yml"

    @property
    def ssh_key(self) -> Path:
        """Private key for the hosts."""
        return self.path / self.settings.ssh.private_key

    @property
    def known_hosts(self) -> Path:
        """SSH host keys of this region's hosts."""
        return self.state / "ssh" / "known_hosts"


def names() -> list[str]:
    """Environments that exist, sorted."""
    base = paths.environments()
    return sorted(p.parent.name for p in base.glob("*/environment.yml")) if base.is_dir() else []


def current() -> str:
    """The environment to use when none is named: SCS_ENVIRONMENT, then `scs env use`, then the only one.

    :raises RefusedError: there is no such choice
    """
    if name := os.environ.get("SCS_ENVIRONMENT"):
        return name
    marker = paths.environments() / ".current"
    if marker.is_file():
        return marker.read_text(encoding="utf-8").strip()
    found = names()
    if len(found) == 1:
        return found[0]
    raise RefusedError(
        "no environment chosen", f"scs env use NAME, or --environment NAME; there are: {', '.join(found) or 'none'}"
    )


def use(name: str) -> None:
    """Make an environment the one to use when none is named.

    :raises RefusedError: it does not exist, or environment.yml has an error
    """
    load(name)
    (paths.environments() / ".current").write_text(f"{name}\n", encoding="utf-8")


AHEAD = "SCS_RELEASE_AHEAD"
"""Environment variable of Ansible's processes: the release that the region is to be seen with."""


def load(name: str | None = None, release: str | None = None) -> Environment:
    """Load and validate an environment.

    :param release: see it with this release instead of environment.yml's
    :raises RefusedError: it does not exist, or environment.yml has an error
    """
    name = name or current()
    path = paths.environments() / name
    if not (path / "environment.yml").is_file():
        raise RefusedError(
            f"{path}: no environment '{name}' here", f"scs env init {name}; there are: {', '.join(names()) or 'none'}"
        )
    settings = load_model(Settings, path / "environment.yml")
    release = release or os.environ.get(AHEAD) or settings.release
    ahead = release != settings.release
    return Environment(name=name, path=path, settings=settings.model_copy(update={"release": release}), ahead=ahead)
