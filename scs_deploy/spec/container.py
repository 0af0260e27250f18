# SPDX-License-Identifier: Apache-2.0
"""Of the service spec: a container, how it shows that it works, takes new files, and makes room for another one."""

from __future__ import annotations

import shlex
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from scs_deploy.base.model import Written
from scs_deploy.base.words import Words
from scs_deploy.spec.certificate import Use, uses
from scs_deploy.spec.listener import Listener
from scs_deploy.spec.metrics import Metrics


def _argv(value: Any) -> Any:
    return tuple(shlex.split(value)) if isinstance(value, str) else value


Argv = Annotated[tuple[str, ...], BeforeValidator(_argv)]
"""A command: a string is split as a shell would, but no shell runs it. Each word may hold Jinja."""


ALL = "all"
"""As a group of `hosts`: every host of the region."""


def _groups(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _whole(groups: tuple[str, ...]) -> tuple[str, ...]:
    if not groups or not all(groups):
        raise ValueError("name at least one inventory group, or `all` for every host")
    if len(set(groups)) < len(groups):
        raise ValueError(f"names a group twice: {', '.join(groups)}")
    if ALL in groups and len(groups) > 1:
        raise ValueError("`all` already stands for every host; name no further group")
    return groups


Groups = Annotated[tuple[str, ...], BeforeValidator(_groups), AfterValidator(_whole)]
"""Inventory groups: one name, a list of them, or `all`."""


class Impact(Words):
    """What a change touches, from nothing to the guests' data plane and the hosts' own network."""

    NONE = "none", "nothing that runs"
    RELOAD = "reload", "a process takes new configuration and goes on"
    API = "api", "requests to one API fail or wait while its container restarts"
    CONTROL = "control", "work inside the region waits: scheduling, agents, database, queues"
    DATA_PLANE = "data-plane", "guests' traffic or guests; held back without consent"
    NETWORK = (
        "network",
        "a host's own network (`scs host network`); refused without consent, taken back when the host is lost",
    )


class Health(Written):
    """How Docker and the rolling engine tell a container that works from one that only runs: one of the three."""

    http: str | None = Field(default=None, description="path that answers below 400 on the container's endpoint")
    tcp: int | None = Field(
        default=None,
        description="port that accepts a connection: where its endpoints' processes listen, else on the management "
        "address",
    )
    command: Argv | None = Field(default=None, description="exits 0 inside the container")
    timeout: int = Field(default=300, description="seconds that a roll waits for it")

    @model_validator(mode="after")
    def _one(self) -> Health:
        if sum(x is not None for x in (self.http, self.tcp, self.command)) != 1:
            raise ValueError("give exactly one of http, tcp, command")
        return self


class Reload(Written):
    """How a container takes new configuration without a restart: one of the three."""

    signal: str | None = Field(default=None, description="sent to the container's main process, e.g. SIGUSR2")
    command: Argv | None = Field(default=None, description="run inside the container")
    itself: bool = Field(
        default=False, description="nothing is done: it reads these files anew when it needs them, or never"
    )
    only: Literal["leaf", "peers", "tls"] | None = Field(
        default=None,
        description="`leaf`: takes new certificates and keys of its own only, `peers`: the CAs of `tls` too, `tls`: "
        "and the region's CA; any other file restarts it; absent: takes every file",
    )

    @model_validator(mode="after")
    def _one(self) -> Reload:
        if sum((self.signal is not None, self.command is not None, self.itself)) != 1:
            raise ValueError("give exactly one of signal, command, itself")
        return self


class Roll(Written):
    """How a container makes room for the one that takes its place; commands run inside it, while it still works."""

    gate: Argv | None = Field(default=None, description="exits 0 when the others can do without this member now")
    leave: Argv | None = Field(
        default=None,
        description="run before it stops, once the load balancers send elsewhere: ends what is left, e.g. idle "
        "sessions, or hands over what it leads",
    )
    handover: bool = Field(
        default=False,
        description="the new container starts beside the old one, takes its sockets and has it finish: HAProxy",
    )
    stay: str | None = Field(
        default=None,
        description="file on the host: touched before the container is killed, not stopped, for a new one that goes on "
        "with what it leaves on the host, e.g. addresses",
    )
    alone: bool = Field(
        default=False,
        description="of several such containers on a host, each is asked, changed and healthy again before the next "
        "one is asked",
    )
    timeout: int = Field(
        default=300,
        description="seconds that the gate is asked, and that a handover may take; a gate that exits with 75 and "
        "begins its output with what is left, in numbers (`3 120: ...`), is given it again whenever that becomes less",
    )


class Agent(Written):
    """A process that reports to an API; a rolling change waits until the API knows that it works again."""

    api: Literal["compute", "network", "block-storage"] = Field(description="which one")
    binary: str = Field(description="as the API calls it, e.g. nova-compute")


class ConfigFile(Written):
    """A container's file: rendered from `<name>.j2` beside service.yml, or copied verbatim from `files/<name>`.

    The layer's `templates/` and `files/` hold what several services share. A plain string gives the name only.
    """

    name: str = Field(description="what plans, overrides and `scs config` call it")
    path: str | None = Field(default=None, description="in the container; default: <config_dir>/<name>")
    format: Literal["auto", "ini", "cnf", "yaml", "json", "policy", "text"] = Field(
        default="auto", description="how operator overrides merge; auto goes by suffix"
    )
    mode: str | None = Field(
        default=None, pattern="^0[0-7]{3}$", description="octal permissions; default: 0750 for a script (#!), else 0640"
    )
    live: bool = Field(
        default=False, description="read anew by each command that needs it: a change restarts and reloads nothing"
    )
    optional: bool = Field(
        default=False, description="there only if an override of the operator is, which is all of it; has no source"
    )


CACHE_DIRECTORY = "/etc/scs/cache"

CACHE_FILES = tuple(ConfigFile(name=n, path=f"{CACHE_DIRECTORY}/{n}") for n in ("memcache.py", "cache.json"))
"""Of a container with `cache`: the module that Python's programs find as `memcache`, and how it logs in and signs."""

POLICY_FILE = ConfigFile(name="policy.yaml", format="policy", optional=True)
"""Of a container with `policy`."""


def _config(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return tuple({"name": v} if isinstance(v, str) else v for v in value)
    return value


class Wsgi(Written):
    """A Python web application that uWSGI runs, `<service>_workers` processes on each host."""

    program: str = Field(description="name in /usr/bin, or path of a WSGI file")
    arguments: str = Field(default="", description="of the program")
    static: dict[str, str] = Field(default_factory=dict, description="path of the URL: directory that is served there")

    @property
    def path(self) -> str:
        """The WSGI file."""
        return self.program if self.program.startswith("/") else f"/usr/bin/{self.program}"


def _wsgi(value: Any) -> Any:
    return {"program": value} if isinstance(value, str) else value


class ForEach(Written):
    """What a container exists once for, on each of its hosts: `disks`, or a mapping that chooses among them."""

    list: Literal["disks"] = Field(description="of the host's entry in the inventory")
    roles: tuple[str, ...] = Field(default=(), description="only disks of these roles; default: all")


def _each(value: Any) -> Any:
    return {"list": value} if isinstance(value, str) else value


class Container(Written):
    """One process of a service. Names follow Docker's. Host networking always; never privileged."""

    image: str | None = Field(default=None, description="key in the release's images; default: the service's name")
    command: Argv = Field(default=(), description="the process; runs under dumb-init; required without `wsgi`")
    wsgi: Annotated[Wsgi | None, BeforeValidator(_wsgi)] = Field(
        default=None,
        description="a WSGI application: gives the container its command and `uwsgi.ini`, on the port of its endpoint; "
        "a text is its program",
    )
    user: str = Field(default="root", description="name in the image")
    hosts: Groups | None = Field(
        default=None, description="inventory group, list of groups, or `all`; default: the service's"
    )
    for_each: Annotated[ForEach | None, BeforeValidator(_each)] = Field(
        default=None,
        description="one container for each of the host's disks, named `<container>_<name of the disk>`; its files and "
        "texts such as `volumes`, `devices`, `command` know the disk as `item`, e.g. `item.name`",
    )
    ingress: bool = Field(
        default=False,
        description="passes requests that load balancers of other hosts send over TLS on to the HTTP processes of its "
        "own host: runs where there are such processes, if a load balancer is elsewhere, whatever `hosts` says",
    )
    config: Annotated[tuple[ConfigFile, ...], BeforeValidator(_config)] = Field(
        default=(), description="files that it reads and programs that it runs"
    )
    policy: bool = Field(
        default=False,
        description="enforces rules of oslo.policy: the operator's `config/<service>/policy.yaml` changes them, and "
        "templates know its path as `policy_file`; `policy.yaml.j2` beside service.yml holds the service's own",
    )
    cache: bool = Field(
        default=False,
        description="keeps values in the region's memcached, which its service requires: what its programs import as "
        "`memcache` speaks TLS, logs in, signs values with `<service>_cache_secret`, and reads no others",
    )
    ceph: tuple[str, ...] = Field(
        default=(),
        description="Ceph clients of this service or of one that it requires: where the region has Ceph, it gets "
        "`/etc/ceph/ceph.conf`, and of each `/etc/ceph/ceph.client.<name>.keyring`",
    )
    config_dir: str | None = Field(default=None, description="default: /etc/<service>")
    volumes: tuple[str, ...] = Field(
        default=(),
        description="`name:/path[:options]` or `/host/path:/path[:options]`; one that renders empty is left out",
    )
    tmpfs: dict[str, str] = Field(default_factory=dict, description="path: mount options")
    devices: tuple[str, ...] = Field(default=(), description="paths on the host; one that renders empty is left out")
    kernel_modules: tuple[str, ...] = Field(
        default=(),
        description="modules that the host's kernel must have; `scs doctor` looks for them; empty ones are left out",
    )
    cap_drop: tuple[str, ...] = Field(default=("ALL",), description="capabilities to take away")
    cap_add: tuple[str, ...] = Field(default=(), description="capabilities to keep")
    group_add: tuple[str, ...] = Field(
        default=(), description="further groups of its processes, e.g. disk, which may use block devices"
    )
    security_opt: tuple[str, ...] = Field(default=(), description="as in Docker's API, e.g. seccomp=unconfined")
    no_new_privileges: bool = Field(
        default=True, description="no process gets privileges from a set-user-ID program or a file's capabilities"
    )
    read_only: bool = Field(
        default=False,
        description="its image's file system; `volumes` and `tmpfs` are writable, and /tmp: 64 MiB in memory unless "
        "`tmpfs` has it",
    )
    cpu_shares: int | None = Field(
        default=None, ge=2, le=262144,
        description="weight while the host's processors are busy; default: the engine's, 1024",
    )  # fmt: skip
    pid: Literal["host"] | None = Field(default=None, description="see the host's processes")
    cgroupns: Literal["host"] | None = Field(default=None, description="see the host's control groups")
    environment: dict[str, str] = Field(default_factory=dict, description="never a secret")
    health: Health | None = Field(
        default=None, description="default: with `wsgi` what HAProxy checks; else running is enough"
    )
    roll: Roll | None = Field(default=None, description="absent: it may be stopped at any time, one host after another")
    after: tuple[str, ...] = Field(
        default=(),
        description="containers of the service that have their new image on all hosts before this one gets its own",
    )
    agent: Agent | None = Field(default=None, description="how Nova, Neutron or Cinder knows it")
    reload: Reload | None = Field(default=None, description="absent: a changed file restarts the container")
    stop_signal: str | None = Field(default=None, description="default: SIGTERM")
    stop_timeout: int | None = Field(
        default=None, description="seconds before a stop becomes a kill; default: 30, with `wsgi` 60"
    )
    tls: Annotated[tuple[Use, ...], BeforeValidator(uses)] = Field(
        default=(),
        description="the host's certificates that it gets in /etc/scs/tls, by name; `true`: the one with the service's "
        "name. The first is `host.crt`, `host.key`, and `ca.crt` whom it accepts; another is `<name>.crt`, "
        "`<name>.key`, `<name>-ca.crt`",
    )
    tls_ports: tuple[str, ...] = Field(
        default=(),
        description="where it serves TLS with its first certificate, on the management address, for `scs certs`: "
        "`port`, or `mysql:port` where a greeting comes first; may hold Jinja",
    )
    listeners: tuple[Listener, ...] = Field(
        default=(),
        description="ports that it listens on beside those of its endpoints; others than these are not reachable",
    )
    metrics: Metrics | None = Field(
        default=None, description="what monitoring servers read: scrape target, access and dashboards follow from it"
    )
    needs_room: bool = Field(
        default=False,
        description="does not come back well while Ceph is full: a plan that restarts or replaces it is refused then",
    )
    impact: Impact | None = Field(default=None, description="default: api behind an HTTP endpoint, control else")

    @property
    def sourced(self) -> tuple[ConfigFile, ...]:
        """The files that have a template or a program behind them."""
        return tuple(f for f in self.config if not f.optional)

    @model_validator(mode="after")
    def _process(self) -> Container:
        if not self.command and not self.wsgi:
            raise ValueError("give command or wsgi")
        if self.metrics and self.for_each:
            raise ValueError("metrics: several containers of a host cannot share a port; leave out for_each or metrics")
        return self


class Repeated(Container):
    """One of the containers that `for_each` in a spec means."""

    origin: str
    """the container's name in the spec"""
    item: str
    """name of the entry that it is for"""
