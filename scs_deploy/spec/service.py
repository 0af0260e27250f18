# SPDX-License-Identifier: Apache-2.0
"""The service spec: the only place where a service is described (`services/<service>/service.yml`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from scs_deploy.base.model import Written
from scs_deploy.base.words import Words
from scs_deploy.spec.certificate import Certificate
from scs_deploy.spec.cluster import Cluster
from scs_deploy.spec.container import Argv, Container, Groups, Impact
from scs_deploy.spec.endpoint import Endpoint
from scs_deploy.spec.job import Job
from scs_deploy.spec.secret import Format
from scs_deploy.spec.setting import Declared
from scs_deploy.spec.storage import CephClient, Pool, key_of

LAYERS = ("core", "host", "infrastructure", "storage", "network", "openstack", "kubernetes", "operations")
"""Collections from the bottom up; a service requires services of its own or a lower layer only."""


class Rotate(Words):
    """How a secret gets a new value while the region works."""

    BOTH = "both", "every server accepts the old value and the new one"
    SECOND_USER = "second user", "the server gets a second user with the new value"
    IN_TURN = (
        "in turn",
        "every host knows the new value before any uses it; what is encrypted with the old one is encrypted anew",
    )
    AT_ONCE = "at once", "the server accepts one value; a client with the other one is refused until it restarts"
    BY_HAND = "by hand", "scs does not rotate it"


class KeyRotation(Written):
    """How keys that a service makes and keeps itself are rotated, beside the times that it does so on its own."""

    container: str = Field(description="where, on the first host that has it")
    command: Argv = Field(description="exits 0 when the new keys are in use everywhere")
    timeout: int = Field(default=300, description="seconds")


class Reencryption(Written):
    """How what is stored encrypted with a secret is encrypted with its new value."""

    container: str = Field(description="where, on the first host that has it")
    command: Argv = Field(description="exits 0 when nothing needs the old value any more")
    timeout: int = Field(default=300, description="seconds")


class DataFormat(Written):
    """Data that an earlier series of a program cannot read once a later one wrote it."""

    package: str = Field(description="of the service's image")
    parts: int = Field(default=2, description="parts of its version that make a series, e.g. 2 of 11.8.3")
    upgrades: dict[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="series: those that its members may go to one after the other; to another series they may not",
    )


class Saved(Written):
    """What of a service a backup holds, beside its databases: a command's output, taken from one host."""

    container: str = Field(description="whose image, mounts and user the commands take")
    save: Argv = Field(description="in the running container; prints what is to be kept")
    load: Argv = Field(description="takes it back from its standard input, a file")
    offline: bool = Field(
        default=False, description="`load` runs on every host while the container is stopped; else on one, in it"
    )
    quiet: bool = Field(default=False, description="services that require this one are stopped while it is loaded")
    preview: Argv | None = Field(
        default=None,
        description="for a `load` that only adds what is missing: takes the part like `load`, changes nothing, and "
        "prints JSON with the lists `changes`, `removed` (what somebody took away: loaded only if `--only` names the "
        "part) and `notes`; fails if the part does not belong here",
    )
    trial: Argv | None = Field(
        default=None,
        description="for `scs backup verify`: takes the part like `load`, in a new container without network, with the "
        "programs of `container` and none of its rendered files; prints what it proved",
    )


class Service(Written):
    """One service directory. What can be derived is never written."""

    name: str
    directory: Path
    own: bool = False
    """of the operator, in an environment's folder"""
    layer: str = Field(
        default="openstack",
        description="only in an environment's own services: the layer that it belongs to, whose shared templates and "
        "files it can use",
    )
    description: str = Field(description="what it is for, in a few words")
    hosts: Groups = Field(description="inventory group that runs it, a list of groups, or `all`: every host")
    only_with: Groups | None = Field(
        default=None,
        description="inventory groups: a region without hosts in them is without this service, and no other service "
        "requires it there",
    )
    requires: tuple[str, ...] = Field(default=(), description="services that must run before this one")
    quorum: bool = Field(default=False, description="its hosts vote: an odd number of them, and most must be there")
    cluster: Cluster | None = Field(default=None, description="driver of the cluster that its hosts form")
    api_addresses: bool = Field(default=False, description="one of its hosts holds each of the region's API addresses")
    load_balancer: bool = Field(default=False, description="it passes requests to endpoints on to their hosts")
    data_format: DataFormat | None = Field(default=None, description="absent: its images may go back")
    databases: tuple[str, ...] = Field(default=(), description="MariaDB schemas, owned by a user named as the service")
    messaging: bool = Field(default=False, description="RabbitMQ user and vhost named as the service")
    account: bool = Field(default=False, description="Keystone user in project `service`")
    account_roles: tuple[Literal["admin", "service"], ...] = Field(
        default=("admin", "service"),
        description="of that user; `service` is enough to check tokens and to be believed by other services",
    )
    secrets: tuple[str, ...] = Field(default=(), description="further secrets, beside the derived ones")
    formats: dict[str, Format] = Field(
        default_factory=dict, description="further secret: what its value is; absent: a password"
    )
    rotate: dict[str, Rotate] = Field(
        default_factory=dict, description="further secret: how it gets a new value; absent: at once"
    )
    reencrypt: dict[str, Reencryption] = Field(
        default_factory=dict,
        description="further secret that is rotated in turn: what encrypts anew once every host uses the new value",
    )
    key_rotations: dict[str, KeyRotation] = Field(
        default_factory=dict, description="keys that are in no secrets.yml, by the name that `scs secrets rotate` takes"
    )
    pools: dict[str, Pool] = Field(
        default_factory=dict, description="of Ceph, by name, unique in the catalog: made where the region has Ceph"
    )
    ceph_clients: dict[str, CephClient] = Field(
        default_factory=dict, description="users of Ceph, by name, unique in the catalog; see `ceph` of a container"
    )
    settings: dict[str, Declared] = Field(
        default_factory=dict,
        description="operator variables, each named <service>_<what>: the default, or a mapping with key `default`",
    )
    certificates: dict[str, Certificate] = Field(
        default_factory=dict,
        description="by name, unique in the catalog: what containers present or are accepted with; one with the "
        "service's name need not be written",
    )
    endpoints: dict[str, Endpoint] = Field(default_factory=dict, description="by service type or name")
    containers: dict[str, Container] = Field(description="by name, unique in the catalog; started in this order")
    retired: tuple[str, ...] = Field(
        default=(),
        description="containers that earlier versions of the service had and that other services use until they are "
        "rolled: a full `scs apply` removes them after everything else",
    )
    jobs: dict[str, Job] = Field(default_factory=dict, description="by name; one phase's run in this order")
    backup: dict[str, Saved] = Field(default_factory=dict, description="by name; loaded in this order")

    def groups(self, container: str) -> Groups:
        """The inventory groups that run a container."""
        return self.containers[container].hosts or self.hosts

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
        if any(c.cache for c in self.containers.values()):
            derived.append(self.cache_secret)
        return (*self.secrets, *derived, *self.ceph_keys)

    @property
    def ceph_keys(self) -> tuple[str, ...]:
        """Names of the secrets with the keys of its Ceph clients."""
        return tuple(map(key_of, self.ceph_clients))

    @property
    def secret_formats(self) -> dict[str, Format]:
        """Those of `all_secrets` that are no passwords."""
        keys = dict.fromkeys(self.ceph_keys, Format.CEPHX)
        return keys | {name: kind for name, kind in self.formats.items() if kind is not Format.PASSWORD}

    @property
    def cache_secret(self) -> str:
        """Name of the secret that signs what the service keeps in memcached."""
        return f"{self.name}_cache_secret"

    def listens(self, endpoint: Endpoint) -> str:
        """The container behind an endpoint of this service."""
        return endpoint.container or next(iter(self.containers))

    def ports(self, container: str) -> tuple[int, ...]:
        """Ports on the node where a container serves this service's endpoints."""
        return tuple(e.process_port for e in self.endpoints.values() if self.listens(e) == container)

    def loopback(self, container: str) -> bool:
        """Whether a container serves this service's endpoints on 127.0.0.1."""
        return any(e.loopback for e in self.endpoints.values() if self.listens(e) == container)

    def config_dir(self, container: str) -> str:
        """Folder of a container's files, inside it."""
        return self.containers[container].config_dir or f"/etc/{self.name}"

    def impact_of(self, container: str) -> Impact:
        """What a restart of a container touches."""
        http = any(e.protocol == "http" for e in self.endpoints.values())
        default = Impact.API if http and self.ports(container) else Impact.CONTROL
        return self.containers[container].impact or default

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
        if secret in self.ceph_keys:
            return Rotate.BY_HAND
        both = (f"{self.name}_database_password", self.cache_secret)
        return Rotate.BOTH if secret in both else Rotate.SECOND_USER

    @model_validator(mode="before")
    @classmethod
    def _own_certificate(cls, data: Any) -> Any:
        """`tls: true` means the certificate with the service's name, which exists without being written."""
        if not isinstance(data, dict) or not isinstance(data.get("containers"), dict) or "name" not in data:
            return data
        containers = {
            n: {**c, "tls": data["name"]} if isinstance(c, dict) and c.get("tls") is True else c
            for n, c in data["containers"].items()
        }
        if containers == data["containers"]:
            return data
        own: dict[str, Any] = {data["name"]: {}}
        written = data.get("certificates")
        certificates = own | written if isinstance(written, dict) else own if written is None else written
        return {**data, "containers": containers, "certificates": certificates}

    @field_validator("layer")
    @classmethod
    def _known_layer(cls, value: str) -> str:
        if value not in LAYERS:
            raise ValueError(f"no layer '{value}'; there are: {', '.join(LAYERS)}")
        return value

    @model_validator(mode="after")
    def _references(self) -> Service:
        if not self.containers:
            raise ValueError("containers: at least one is needed")
        for name in self.retired:
            if name in self.containers:
                raise ValueError(f"retired: {name}: the service still has this container")
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
            if saved.preview and (saved.offline or saved.quiet):
                raise ValueError(f"backup.{name}.preview: a `load` that only adds needs neither `offline` nor `quiet`")
        for name, endpoint in self.endpoints.items():
            if endpoint.container and endpoint.container not in self.containers:
                raise ValueError(f"endpoints.{name}.container: no container '{endpoint.container}' in this service")
        for name, spec in self.containers.items():
            if spec.wsgi and not self.ports(name):
                raise ValueError(f"containers.{name}.wsgi: no endpoint of the service leads to this container")
        for name, keys in self.key_rotations.items():
            if keys.container not in self.containers:
                raise ValueError(f"key_rotations.{name}.container: no container '{keys.container}' in this service")
        for kind, users in (("jobs", self.jobs), ("backup", self.backup), ("key_rotations", self.key_rotations)):
            for name, user in users.items():
                if self.containers[user.container].for_each:
                    raise ValueError(f"{kind}.{name}.container: '{user.container}' is several, one for each disk")
        if several := [n for n, c in self.containers.items() if c.for_each and self.ports(n)]:
            raise ValueError(f"endpoints: '{several[0]}' is several containers, one for each disk")
        for key, named in (("rotate", self.rotate), ("formats", self.formats), ("reencrypt", self.reencrypt)):
            for secret in named:
                if secret not in self.secrets:
                    raise ValueError(f"{key}.{secret}: not in `secrets`")
        for secret in self.secret_formats:
            if self.how_to_rotate(secret) is Rotate.SECOND_USER:
                raise ValueError(f"formats.{secret}: of a user it is a password")
        for secret, how in self.reencrypt.items():
            if how.container not in self.containers:
                raise ValueError(f"reencrypt.{secret}.container: no container '{how.container}' in this service")
        for secret in self.secrets:
            if (self.how_to_rotate(secret) is Rotate.IN_TURN) != (secret in self.reencrypt):
                raise ValueError(f"rotate.{secret}: `in turn` needs a command in `reencrypt`, and only that does")
        for key in self.settings:
            if not key.startswith(f"{self.name}_"):
                raise ValueError(f"settings.{key}: must start with '{self.name}_'")
        return self
