# SPDX-License-Identifier: Apache-2.0
"""The service spec: the only place where a service is described (`services/<service>/service.yml`)."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from scs_deploy.base.model import Model
from scs_deploy.spec.container import Agent, Argv, Health, Reload, Roll

LAYERS = ("core", "host", "infrastructure", "storage", "network", "openstack", "kubernetes", "operations")
"""Collections from the bottom up; a service requires services of its own or a lower layer only."""


class Phase(StrEnum):
    """What happens to a service, in this order."""

    PULL = "pull"
    CONFIG = "config"
    DATABASE = "database"
    MIGRATE = "migrate"
    ROLL = "roll"
    REGISTER = "register"
    FINISH = "finish"
    VERIFY = "verify"


class Impact(StrEnum):
    """What a change touches, from nothing to the guests' data plane and the hosts' own network."""

    NONE = "none"
    RELOAD = "reload"
    API = "api"
    CONTROL = "control"
    DATA_PLANE = "data-plane"
    NETWORK = "network"


class Probe(Model):
    """How a run measures a service from outside while it changes the region: see `scs apply`, `scs upgrade`."""

    list: str = Field(description="path of a cheap list call below the catalogue's URL, or of a page without login")
    create: str = Field(
        default="", description="path of a collection where something small is made, read and removed every minute"
    )
    key: str = Field(default="", description="key that wraps such a resource; its plural wraps their list")
    body: dict[str, str | int | tuple[str, ...]] = Field(default={}, description="what it must say beside its name")


class Endpoint(Model):
    """A port that clients reach through HAProxy on the region's addresses, over TLS where it is HTTP.

    The key in `endpoints` is the Keystone catalogue's service type when `catalogue` is true.
    """

    port: int = Field(ge=1, le=65535, description="on the region's addresses")
    backend_port: int | None = Field(default=None, description="port on the node, when it differs from `port`")
    path: str = Field(default="", description="appended to the URL in the Keystone catalogue")
    public: bool = Field(default=False, description="reachable on the external address too")
    catalogue: bool = Field(default=True, description="registered in Keystone")
    protocol: Literal["http", "tcp"] = Field(
        default="http", description="`http`: HAProxy ends TLS; `tcp`: it passes bytes on"
    )
    balance: Literal["leastconn", "source", "single"] = Field(
        default="leastconn",
        description="`single` sends all to one member as long as that is healthy, the others stand by (single writer)",
    )
    container: str | None = Field(default=None, description="the container that listens; default: the first one")
    health_path: str | None = Field(default=None, description="HTTP path of HAProxy's health check; default: TCP check")
    health_port: int | None = Field(
        default=None, ge=1, le=65535, description="port of HAProxy's health check on the node, when it is another one"
    )
    copies: bool = Field(
        default=False, description="a new member copies data before HAProxy may use it: a roll does not fail for that"
    )
    probe: Probe | None = Field(default=None, description="how runs measure it; absent: they do not")


class ConfigFile(Model):
    """A file rendered from `<name>.j2` beside service.yml. Written as a plain string when only the name is needed."""

    name: str = Field(description="what plans, overrides and `scs config` call it")
    path: str | None = Field(default=None, description="in the container; default: <config_dir>/<name>")
    format: Literal["auto", "ini", "yaml", "json", "text"] = Field(
        default="auto", description="how operator overrides merge; auto goes by suffix"
    )
    mode: str = Field(default="0640", pattern="^0[0-7]{3}$", description="octal permissions")
    template: str | None = Field(default=None, description="default: <name>.j2")
    live: bool = Field(
        default=False, description="read anew by each command that needs it: a change restarts and reloads nothing"
    )


def _config(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return tuple({"name": v} if isinstance(v, str) else v for v in value)
    return value


class Container(Model):
    """One process of a service. Names follow Docker's. Host networking always; never privileged."""

    image: str | None = Field(default=None, description="key in the release's images; default: the service's name")
    command: Argv = Field(description="the process; runs under dumb-init")
    user: str = Field(default="root", description="name in the image")
    hosts: str | None = Field(default=None, description="inventory group; default: the service's")
    config: Annotated[tuple[ConfigFile, ...], BeforeValidator(_config)] = Field(
        default=(), description="files that are rendered for it"
    )
    config_dir: str | None = Field(default=None, description="default: /etc/<service>")
    volumes: tuple[str, ...] = Field(default=(), description="`name:/path[:options]` or `/host/path:/path[:options]`")
    tmpfs: dict[str, str] = Field(default_factory=dict, description="path: mount options")
    devices: tuple[str, ...] = Field(default=(), description="paths on the host; one that renders empty is left out")
    cap_drop: tuple[str, ...] = Field(default=(), description="capabilities to take away, as a rule `[ALL]`")
    cap_add: tuple[str, ...] = Field(default=(), description="capabilities to keep")
    security_opt: tuple[str, ...] = Field(default=(), description="as in Docker's API, e.g. seccomp=unconfined")
    pid: Literal["host"] | None = Field(default=None, description="see the host's processes")
    cgroupns: Literal["host"] | None = Field(default=None, description="see the host's control groups")
    environment: dict[str, str] = Field(default_factory=dict, description="never a secret")
    health: Health | None = Field(default=None, description="absent: running is enough")
    roll: Roll | None = Field(default=None, description="absent: it may be stopped at any time, one host after another")
    after: tuple[str, ...] = Field(
        default=(),
        description="containers of the service that have their new image on all hosts before this one gets its own",
    )
    agent: Agent | None = Field(default=None, description="how Nova or Neutron knows it")
    reload: Reload | None = Field(default=None, description="absent: a changed file restarts the container")
    stop_signal: str | None = Field(default=None, description="default: SIGTERM")
    stop_timeout: int = Field(default=30, description="seconds before a stop becomes a kill")
    tls: bool = Field(
        default=False, description="mounts the host's certificate, key and the region's CA at /etc/scs/tls"
    )
    tls_ports: tuple[str, ...] = Field(
        default=(),
        description="where it serves TLS with the host's certificate, on the management address, for `scs certs`: "
        "`port`, or `mysql:port` where a greeting comes first; may hold Jinja",
    )
    impact: Impact | None = Field(default=None, description="default: api behind an HTTP endpoint, control else")


class Schema(StrEnum):
    """What a job does to a database's schema."""

    EXPAND = "expand"
    """adds to it only: earlier images work with it, and with what later ones write"""
    CONTRACT = "contract"
    """earlier images may not work with it, or with what later ones write, any more"""


class Job(Model):
    """A one-shot command. It runs again when its image or command changes, or a database of the service is new."""

    container: str = Field(description="whose image, files, mounts and user the job takes")
    command: Argv = Field(default=(), description="exits 0 when its work is done")
    restart: tuple[str, ...] = Field(
        default=(),
        description="instead of a command, once per release: these containers start anew, because each keeps what it "
        "learned of the others' versions when it started; in a new region there is nothing to forget",
    )
    phase: Phase = Field(default=Phase.MIGRATE, description="migrate, register, finish or verify")
    each: Literal["cluster", "host"] = Field(default="cluster", description="once per cluster or on every host")
    everywhere: bool = Field(
        default=False,
        description="waits until every container of the service, on every host, has its new image: also those that "
        "are held back or left out of a run",
    )
    preflight: bool = Field(
        default=False,
        description="asks whether the region is ready: runs with the new release's image, and the present files, "
        "before an upgrade to it changes anything",
    )
    schema_change: Schema | None = Field(
        default=None, description="what it does to a database's schema; absent: nothing"
    )
    once: bool = Field(
        default=False, description="creates the cluster: never again once any host has recorded a success"
    )
    user: str | None = Field(default=None, description="default: the container's")
    timeout: int = Field(default=900, description="seconds")

    @field_validator("phase")
    @classmethod
    def _phase(cls, value: Phase) -> Phase:
        if value not in (Phase.MIGRATE, Phase.REGISTER, Phase.FINISH, Phase.VERIFY):
            raise ValueError("a job runs in phase migrate, register, finish or verify")
        return value

    @model_validator(mode="after")
    def _work(self) -> Job:
        if bool(self.command) == bool(self.restart):
            raise ValueError("give exactly one of command, restart")
        if self.restart and (self.phase is not Phase.FINISH or self.each != "cluster" or self.preflight):
            raise ValueError("restart: goes with phase finish, each cluster, and no preflight")
        return self


class Rotate(StrEnum):
    """How a secret gets a new value while the region works."""

    BOTH = "both"
    """its server, or those that share it, accept the old value beside the new one"""
    SECOND_USER = "second user"
    """its server makes a second user with the new value"""
    AT_ONCE = "at once"
    """one value at a time: who has the other one is refused until it has been restarted"""
    BY_HAND = "by hand"
    """scs does not rotate it"""


class KeyRotation(Model):
    """How keys that a service makes and keeps itself are rotated, beside the times that it does so on its own."""

    container: str = Field(description="where, on the first host that has it")
    command: Argv = Field(description="exits 0 when the new keys are in use everywhere")
    timeout: int = Field(default=300, description="seconds")


class DataFormat(Model):
    """Data that an earlier series of a program cannot read once a later one wrote it."""

    package: str = Field(description="of the service's image")
    parts: int = Field(default=2, description="parts of its version that make a series, e.g. 2 of 11.8.3")
    upgrades: dict[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="series: those that its members may go to one after the other; to another series they may not",
    )


class Saved(Model):
    """What of a service a backup holds, beside its databases: a command's output, taken from one host."""

    container: str = Field(description="whose image, mounts and user the commands take")
    save: Argv = Field(description="in the running container; prints what is to be kept")
    load: Argv = Field(description="takes it back from its standard input, a file")
    offline: bool = Field(
        default=False, description="`load` runs on every host while the container is stopped; else on one, in it"
    )
    quiet: bool = Field(default=False, description="services that require this one are stopped while it is loaded")


class Service(Model):
    """One service directory. What can be derived is never written."""

    name: str
    layer: str
    directory: Path
    description: str = Field(description="what it is for, in a few words")
    hosts: str = Field(description="inventory group that runs it")
    requires: tuple[str, ...] = Field(default=(), description="services that must run before this one")
    quorum: bool = Field(default=False, description="its hosts vote: an odd number of them, and most must be there")
    data_format: DataFormat | None = Field(default=None, description="absent: its images may go back")
    databases: tuple[str, ...] = Field(default=(), description="MariaDB schemas, owned by a user named as the service")
    messaging: bool = Field(default=False, description="RabbitMQ user and vhost named as the service")
    account: bool = Field(default=False, description="Keystone user in project `service`, roles admin and service")
    secrets: tuple[str, ...] = Field(default=(), description="further secrets, beside the derived ones")
    rotate: dict[str, Rotate] = Field(
        default_factory=dict, description="further secret: how it gets a new value; absent: at once"
    )
    key_rotations: dict[str, KeyRotation] = Field(
        default_factory=dict, description="keys that are in no secrets.yml, by the name that `scs secrets rotate` takes"
    )
    settings: dict[str, Any] = Field(
        default_factory=dict, description="operator variables with their defaults, each named <service>_<what>"
    )
    endpoints: dict[str, Endpoint] = Field(default_factory=dict, description="by service type or name")
    containers: dict[str, Container] = Field(description="by name, unique in the catalog; started in this order")
    jobs: dict[str, Job] = Field(default_factory=dict, description="by name; one phase's run in this order")
    backup: dict[str, Saved] = Field(default_factory=dict, description="by name; loaded in this order")

    @property
    def all_secrets(self) -> tuple[str, ...]:
        """Declared and derived secrets, by name."""
        derived = []
        if self.databases:
            derived.append(f"{self.name}_database_password")
        if self.messaging:
            derived.append(f"{self.name}_rabbitmq_password")
        if self.account:
            derived.append(f"{self.name}_keystone_password")
        return (*self.secrets, *derived)

    def stages(self) -> dict[str, int]:
        """Container: how many steps of a rolling change of the service come before its own.

        :raises ValueError: containers that wait for each other
        """
        result: dict[str, int] = {}
        while ready := [
            n for n in self.containers if n not in result and result.keys() >= set(self.containers[n].after)
        ]:
            result |= {n: max((result[a] + 1 for a in self.containers[n].after), default=0) for n in ready}
        if waiting := [n for n in self.containers if n not in result]:
            raise ValueError(f"containers.{waiting[0]}.after: waits for itself, by way of {', '.join(waiting)}")
        return result

    def how_to_rotate(self, secret: str) -> Rotate:
        """How one of `all_secrets` gets a new value."""
        if secret in self.secrets:
            return self.rotate.get(secret, Rotate.AT_ONCE)
        return Rotate.BOTH if secret == f"{self.name}_database_password" else Rotate.SECOND_USER

    @model_validator(mode="after")
    def _references(self) -> Service:
        if not self.containers:
            raise ValueError("containers: at least one is needed")
        for name, job in self.jobs.items():
            if job.container not in self.containers:
                raise ValueError(f"jobs.{name}.container: no container '{job.container}' in this service")
            for other in job.restart:
                if other not in self.containers:
                    raise ValueError(f"jobs.{name}.restart: no container '{other}' in this service")
        for name, spec in self.containers.items():
            for other in spec.after:
                if other not in self.containers:
                    raise ValueError(f"containers.{name}.after: no container '{other}' in this service")
        self.stages()
        for name, saved in self.backup.items():
            if saved.container not in self.containers:
                raise ValueError(f"backup.{name}.container: no container '{saved.container}' in this service")
        for name, endpoint in self.endpoints.items():
            if endpoint.container and endpoint.container not in self.containers:
                raise ValueError(f"endpoints.{name}.container: no container '{endpoint.container}' in this service")
        for name, keys in self.key_rotations.items():
            if keys.container not in self.containers:
                raise ValueError(f"key_rotations.{name}.container: no container '{keys.container}' in this service")
        for secret in self.rotate:
            if secret not in self.secrets:
                raise ValueError(f"rotate.{secret}: not in `secrets`")
        for key in self.settings:
            if not key.startswith(f"{self.name}_"):
                raise ValueError(f"settings.{key}: must start with '{self.name}_'")
        return self
