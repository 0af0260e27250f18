# SPDX-License-Identifier: Apache-2.0
"""What every cluster driver offers: how its members are asked, how they join, leave and recover, what a drain moves.

`service.yml` names a driver (`cluster: galera`). A driver reads and decides in pure functions; its effects go through
`Access`. Whoever works on hosts iterates drivers, and knows none of them by name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from typing import Any, ClassVar, Protocol

from pydantic import Field

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import Model, validate
from scs_deploy.engine.access import Access
from scs_deploy.engine.remote import Answer, Command, ContainerState
from scs_deploy.region.region import Region
from scs_deploy.spec.service import Service

Answers = Mapping[str, Mapping[str, Answer]]
"""host: question: answer. A host that did not answer, or a question that was not asked there, is absent."""


# what is seen


class ClusterState(Model):
    """Members that decide by majority. All names are hosts'."""

    name: str = Field(description="for people, e.g. Galera")
    service: str = Field(default="", description="whose driver it is")
    members: tuple[str, ...] = Field(description="as the cluster itself counts them; gone ones included")
    alive: tuple[str, ...] = Field(description="those that work in it now")
    wanted: tuple[str, ...] = Field(description="hosts that shall be members, from the inventory")
    leader: str = ""
    dynamic: bool = Field(default=False, description="a member that left in good order no longer counts")
    hands_over: bool = Field(default=False, description="a drain has the leader step down")
    says: dict[str, str] = Field(default_factory=dict, description="member: its state in its own words")

    @property
    def counted(self) -> tuple[str, ...]:
        """Members of which a majority must work."""
        return self.wanted if self.dynamic else tuple(sorted({*self.members, *self.wanted}))

    @property
    def needed(self) -> int:
        """How many members must work."""
        return len(self.counted) // 2 + 1

    @property
    def survives(self) -> int:
        """How many more working members it can lose; negative: it has no quorum."""
        return len(self.alive) - self.needed

    @property
    def trouble(self) -> list[str]:
        """Why it is not whole; empty: it is."""
        down = sorted(set(self.wanted) - set(self.alive))
        found = [f"{self.name}: not a working member on {host}" for host in down]
        return found + self._strangers()

    def lacking(self, host: str) -> list[str]:
        """What the membership of one host lacks; empty: it is whole, or the host is to be no member."""
        if host not in self.wanted:
            return []
        found = [] if host in self.alive else [f"{self.name}: not a working member on {host}"]
        return found + self._strangers()

    def other(self, host: str) -> str:
        """A working member on another host; '' when there is none."""
        return next((h for h in self.alive if h != host), "")

    def _strangers(self) -> list[str]:
        strange = sorted(set(self.members) - set(self.wanted))
        return [f"{self.name}: unknown members {', '.join(strange)}"] if strange else []


class Server(Model):
    """A backend's server in one load balancer."""

    balancer: str = Field(description="host of the load balancer")
    backend: str
    host: str
    up: bool
    state: str = Field(description="ready, drain or maint: what an operator made of it")


class Seen(Model):
    """What a driver reads from the answers of all hosts."""

    clusters: tuple[ClusterState, ...] = ()
    servers: tuple[Server, ...] = ()
    balancers: tuple[str, ...] = Field(default=(), description="hosts with a load balancer")
    used: dict[str, str] = Field(default_factory=dict, description="backend with one member in use: that member")
    marked: frozenset[str] = Field(default=frozenset(), description="hosts that give API addresses away")
    addresses: dict[str, tuple[str, ...]] = Field(default_factory=dict, description="host: API addresses it holds")
    gateways: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="host where Neutron may put routers' gateways or some are: their ports"
    )
    may_route: frozenset[str] = Field(default=frozenset(), description="hosts where Neutron may put routers' gateways")

    def __add__(self, other: Seen) -> Seen:
        """What both saw."""
        return Seen(
            clusters=self.clusters + other.clusters,
            servers=self.servers + other.servers,
            balancers=self.balancers + other.balancers,
            used={**self.used, **other.used},
            marked=self.marked | other.marked,
            addresses={**self.addresses, **other.addresses},
            gateways={**self.gateways, **other.gateways},
            may_route=self.may_route | other.may_route,
        )


# recovery


class RecoveryStep(Model):
    """One action on one or several hosts at the same time."""

    action: str
    """a procedure's own word"""
    hosts: tuple[str, ...]
    what: str
    """for people"""
    container: str = ""
    target: str = ""
    """what the action is about, e.g. a raft server's id"""
    create: bool = False
    """the container is to be created, not started"""


class Recovery(Model):
    """What was found, and what follows from it."""

    members: tuple[dict[str, str], ...]
    """the table: a row for each member, the same columns in each"""
    steps: tuple[RecoveryStep, ...] = ()
    """empty: nothing to recover"""
    summary: str
    warnings: tuple[str, ...] = ()
    partial: bool = False
    """more steps follow, which depend on what is read after these"""


class Procedure(Protocol):
    """How one service's cluster is recovered."""

    service: str

    def read(self, access: Access) -> Any:
        """Ask all members; changes nothing."""

    def settling(self, members: Any) -> str:
        """Who may be about to work without help, e.g. is starting; '' when a decision can be made."""

    def decide(self, members: Any) -> Recovery:
        """Pure.

        :raises RefusedError: what is right cannot be known, or is the operator's to say
        """

    def act(self, access: Access, step: RecoveryStep) -> None:
        """Carry out a step.

        :raises ScsError: it failed
        """

    def put_back(self, access: Access) -> None:
        """Undo a partial recovery that was not gone on with."""


class RecoveryOptions(Model):
    """What an operator spelled out. Each field is an option of `scs recover SERVICE`; the docstring is its help.

    A field's `json_schema_extra` may name the `option` and its `metavar`.
    """

    without: tuple[str, ...] = Field(
        default=(), description="Go on without this member; may be repeated.", json_schema_extra={"metavar": "HOST"}
    )

    def check(self) -> None:
        """Whether the options go together.

        :raises RefusedError: two of them contradict each other
        """


# drivers


class NoSettings(Model):
    """A driver that has none."""


class ClusterDriver(ABC):
    """The cluster of one service of a region.

    :raises RefusedError: `cluster.settings` in service.yml are wrong; names file and key
    """

    SETTINGS: ClassVar[type[Model]] = NoSettings
    """of `cluster.settings`"""
    OPTIONS: ClassVar[type[RecoveryOptions] | None] = None
    """of `scs recover`; None: it needs no recovery, or there is none"""
    replicated: ClassVar[bool] = False
    """Its members have the same data, so that any of them can become the one in use."""

    def __init__(self, region: Region, service: Service) -> None:
        self.region, self.service = region, service
        chosen = service.cluster.settings if service.cluster else {}
        file = service.directory / "service.yml"
        self._settings = validate(self.SETTINGS, chosen, file, ("cluster", "settings"))

    @property
    def hosts(self) -> tuple[str, ...]:
        """Hosts that shall be members, in the inventory's order."""
        return tuple(h.name for h in self.region.inventory.group(self.service.hosts))

    def here(self, host: str, container: str) -> bool:
        """Whether a container of the service belongs on a host."""
        return host in self.region.inventory.groups.get(self.region.group_of(self.service.name, container), ())

    @abstractmethod
    def questions(self, host: str) -> dict[str, Command]:
        """What to ask on a host, by name; only of containers that belong there.

        A command runs inside its container, with the accounts that the container's files hold.
        """

    @abstractmethod
    def parse(self, answers: Answers) -> Seen:
        """What the answers to `questions` say. Pure."""

    def leave(self, access: Access, state: ClusterState, host: str) -> None:  # noqa: B027 - a default
        """Have a host's working member leave in good order. Default: members leave when they stop.

        :raises ScsError: it stays
        """

    def forget(self, access: Access, state: ClusterState, host: str, empty: bool) -> None:  # noqa: B027 - a default
        """Have the cluster forget a host's members that will not come back. Default: it counts working ones only.

        :param empty: the host has no member at all now, so every one that is known is an earlier one
        :raises ScsError: the cluster refuses
        """

    def step_down(self, access: Access, state: ClusterState, host: str) -> None:  # noqa: B027 - a default
        """Have another member lead; asked for where `ClusterState.hands_over` says so.

        :raises ScsError: the host's member still leads
        """

    def unfinished(self, access: Access, host: str) -> list[str]:  # noqa: ARG002 - a default
        """What a host's working member must still take over before the cluster can lose another one."""
        return []

    def recovery(self, options: RecoveryOptions) -> Procedure:  # noqa: ARG002 - a default
        """Its recovery.

        :param options: of the driver's `OPTIONS`
        :raises RefusedError: there is none
        """
        raise RefusedError(f"{self.service.name} has no recovery", "scs apply")


class Balancer(ABC):
    """A driver whose members pass requests on to other hosts' servers."""

    @abstractmethod
    def move(self, access: Access, balancers: Iterable[str], server: str, states: Mapping[str, str],
             wait: int = 0) -> dict[str, dict[str, int]]:  # fmt: skip
        """Put a host's servers into other states.

        :param balancers: hosts whose load balancers are told
        :param states: backend: ready, drain or maint
        :param wait: seconds for sessions to end
        :returns: balancer: backend: sessions that are left
        :raises ScsError: a load balancer does not follow
        """

    @abstractmethod
    def mark(self, access: Access, host: str, drained: bool) -> None:
        """Note on a host that it gives API addresses away, or may hold them again."""

    @abstractmethod
    def down(self, access: Access, balancers: Iterable[str], server: str) -> str:
        """Which of a host's servers do not get requests; '' when all do."""


class AddressHolder(ABC):
    """A driver one of whose members holds each of the region's API addresses."""

    @abstractmethod
    def held(self, access: Access, holders: Iterable[str], leaving: str) -> str:
        """Why an API address is not on another host than `leaving`; '' when all are."""


class GatewayHost(ABC):
    """A driver on whose hosts traffic of routers passes."""

    @abstractmethod
    def release(self, access: Access, seen: Iterable[ClusterState], host: str) -> str:
        """Have no router use a host any more; returns the ports that stay there."""

    @abstractmethod
    def take(self, access: Access, host: str) -> None:
        """Let routers use a host again."""

    @abstractmethod
    def delete(self, access: Access, seen: Iterable[ClusterState], host: str) -> None:
        """Forget a host that leaves the region."""


# helpers of drivers


def running(answer: Answer) -> ContainerState:
    """What a container does, from the answer to a command in it."""
    return answer.container or ContainerState.RUNNING


def known(service: str, hosts: Collection[str], named: Iterable[str]) -> None:
    """Names that an operator spelled out must be members.

    :raises RefusedError: one is not
    """
    for name in named:
        if name not in hosts:
            raise RefusedError(f"{service} has no member on '{name}'", f"it runs on: {', '.join(sorted(hosts))}")


def names(hosts: Iterable[str]) -> str:
    """`a, b and c`."""
    ordered = sorted(hosts)
    return " and ".join([", ".join(ordered[:-1]), ordered[-1]] if len(ordered) > 1 else ordered)
