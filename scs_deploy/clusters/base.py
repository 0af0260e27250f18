# SPDX-License-Identifier: Apache-2.0
"""The interface of cluster drivers: querying members, joining, leaving, recovery, and what a drain moves.

`service.yml` names a driver (`cluster: galera`). A driver reads and decides in pure functions; its effects go through
`Access`. Operations on hosts iterate over the drivers, and know none of them by name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, ClassVar, Protocol

from pydantic import Field

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.base.model import Model, validate
from scs_deploy.engine.access import Access
from scs_deploy.engine.remote import Answer, Command, ContainerState
from scs_deploy.region.region import Region
from scs_deploy.spec.service import Service

Answers = Mapping[str, Mapping[str, Answer]]
"""host: query: answer. Omits hosts that did not respond, and queries that were not run on a host."""


# observed state


class ClusterState(Model):
    """A cluster, which decides by majority unless `votes` says otherwise. All names are names of hosts."""

    name: str = Field(description="display name, e.g. Galera")
    service: str = Field(default="", description="the service that the driver belongs to")
    members: tuple[str, ...] = Field(description="as the cluster itself counts them, including lost members")
    alive: tuple[str, ...] = Field(description="members that currently work")
    wanted: tuple[str, ...] = Field(description="hosts that should be members, from the inventory")
    leader: str = ""
    dynamic: bool = Field(default=False, description="a member that left cleanly no longer counts")
    hands_over: bool = Field(default=False, description="a drain makes the leader step down")
    says: dict[str, str] = Field(default_factory=dict, description="member: the state that it reports")
    heard: tuple[str, ...] = Field(
        default=(), description="hosts of which the others hear something, even if not all of their members work"
    )
    votes: bool = Field(default=True, description="most of the members must work; else `needs` says who must")
    needs: dict[str, str] = Field(
        default_factory=dict, description="host: why the others cannot do without its members now, without votes"
    )

    @property
    def counted(self) -> tuple[str, ...]:
        """The members that count towards a majority."""
        return self.wanted if self.dynamic else tuple(sorted({*self.members, *self.wanted}))

    @property
    def needed(self) -> int:
        """How many members must work."""
        return len(self.counted) // 2 + 1

    @property
    def survives(self) -> int:
        """How many more working members the cluster can lose; negative: it has no quorum."""
        return len(self.alive) - self.needed

    @property
    def trouble(self) -> list[str]:
        """Why the cluster is incomplete; empty if it is complete."""
        down = sorted(set(self.wanted) - set(self.alive))
        return [self._down(host) for host in down] + self._strangers()

    def lacking(self, host: str) -> list[str]:
        """What is wrong with the membership of one host; empty if nothing is, or if the host should not be a member."""
        if host not in self.wanted:
            return []
        return ([] if host in self.alive else [self._down(host)]) + self._strangers()

    def other(self, host: str) -> str:
        """A working member on another host; '' if none works."""
        return next((h for h in self.alive if h != host), "")

    def _down(self, host: str) -> str:
        if self.votes:
            return f"{self.name}: not a working member on {host}"
        return f"{self.name} on {host}: {self.says.get(host) or 'none'}"

    def _strangers(self) -> list[str]:
        strange = sorted(set(self.members) - set(self.wanted))
        return [f"{self.name}: unknown members {', '.join(strange)}"] if strange else []


class Server(Model):
    """A backend's server in one load balancer."""

    balancer: str = Field(description="host of the load balancer")
    backend: str
    host: str
    up: bool
    state: str = Field(description="administrative state: ready, drain or maint")


class Seen(Model):
    """What a driver derives from the answers of all hosts."""

    clusters: tuple[ClusterState, ...] = ()
    servers: tuple[Server, ...] = ()
    balancers: tuple[str, ...] = Field(default=(), description="hosts with a load balancer")
    used: dict[str, str] = Field(default_factory=dict, description="backend with a single active member: that member")
    marked: frozenset[str] = Field(
        default=frozenset(), description="hosts marked as drained, which release API addresses"
    )
    addresses: dict[str, tuple[str, ...]] = Field(default_factory=dict, description="host: API addresses it holds")
    gateways: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="host with router gateways, or where Neutron may schedule them: their ports"
    )
    may_route: frozenset[str] = Field(
        default=frozenset(), description="hosts where Neutron may schedule router gateways"
    )

    stores: dict[str, str] = Field(
        default_factory=dict, description="host with copies of data: why it cannot leave for good; '' if it can"
    )
    held: frozenset[str] = Field(
        default=frozenset(), description="hosts whose copies are not made anew elsewhere while they are away, by us"
    )
    shared: str | None = Field(
        default=None,
        description="storage that hosts share: why it cannot be used now, '' if it can; None: none",
    )
    fenced: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="host that `scs node evacuate` shut out of the storage: its addresses then"
    )
    full: str = Field(default="", description="why guests cannot open disks on another host now; '' if they can")

    def __add__(self, other: Seen) -> Seen:
        """Merge two observations."""
        return Seen(
            clusters=self.clusters + other.clusters,
            servers=self.servers + other.servers,
            balancers=self.balancers + other.balancers,
            used={**self.used, **other.used},
            marked=self.marked | other.marked,
            addresses={**self.addresses, **other.addresses},
            gateways={**self.gateways, **other.gateways},
            may_route=self.may_route | other.may_route,
            stores={**self.stores, **other.stores},
            held=self.held | other.held,
            shared=self.shared if other.shared is None else other.shared,
            fenced={**self.fenced, **other.fenced},
            full=self.full or other.full,
        )


# recovery


class RecoveryStep(Model):
    """An action on one host, or on several at the same time."""

    action: str
    """as the procedure names it"""
    hosts: tuple[str, ...]
    what: str
    """what the operator sees"""
    container: str = ""
    target: str = ""
    """the object of the action, e.g. a raft server's id"""
    create: bool = False
    """create the container instead of starting it"""


class Recovery(Model):
    """The state of the members, and the steps that follow from it."""

    members: tuple[dict[str, str], ...]
    """table with a row for each member; all rows have the same columns"""
    steps: tuple[RecoveryStep, ...] = ()
    """empty: nothing to recover"""
    summary: str
    warnings: tuple[str, ...] = ()
    partial: bool = False
    """further steps follow, depending on the state after these"""


class Procedure(Protocol):
    """Recovers the cluster of one service."""

    service: str

    def read(self, access: Access) -> Any:
        """Query all members; changes nothing."""

    def settling(self, members: Any) -> str:
        """Members that may recover by themselves, e.g. are starting; '' if a decision can be made."""

    def decide(self, members: Any) -> Recovery:
        """Decide on the steps. Pure.

        :raises RefusedError: the right steps cannot be determined, or the operator must choose
        """

    def act(self, access: Access, step: RecoveryStep) -> None:
        """Carry out a step.

        :raises ScsError: it failed
        """

    def put_back(self, access: Access) -> None:
        """Undo the first part of a recovery that was cancelled."""


class RecoveryOptions(Model):
    """What the operator chose explicitly. Each field is an option of `scs recover SERVICE`; the docstring is its help.

    A field's `json_schema_extra` may name the `option` and its `metavar`.
    """

    without: tuple[str, ...] = Field(
        default=(), description="Continue without this member; can be repeated.", json_schema_extra={"metavar": "HOST"}
    )

    def check(self) -> None:
        """Check that the options are compatible.

        :raises RefusedError: two of them contradict each other
        """


# drivers


class NoSettings(Model):
    """Settings of a driver that has none."""


class ClusterDriver(ABC):
    """The cluster of one service of a region.

    :raises RefusedError: `cluster.settings` in service.yml is invalid; names file and key
    """

    SETTINGS: ClassVar[type[Model]] = NoSettings
    """model of `cluster.settings`"""
    OPTIONS: ClassVar[type[RecoveryOptions] | None] = None
    """options of `scs recover`; None: the service needs no recovery, or has none"""
    replicated: ClassVar[bool] = False
    """whether all members have the same data, so that any of them can become the active one"""

    def __init__(self, region: Region, service: Service) -> None:
        self.region, self.service = region, service
        chosen = service.cluster.settings if service.cluster else {}
        file = service.directory / "service.yml"
        self._settings = validate(self.SETTINGS, chosen, file, ("cluster", "settings"))

    @property
    def hosts(self) -> tuple[str, ...]:
        """Hosts that should be members, in inventory order."""
        return tuple(h.name for h in self.region.inventory.group(*self.service.hosts))

    def here(self, host: str, container: str) -> bool:
        """Whether a container of the service belongs on a host."""
        return any(h.name == host for h in self.region.hosts_of(self.service.name, container))

    @abstractmethod
    def questions(self, host: str) -> dict[str, Command]:
        """Queries to run on a host, by name; only for containers that belong there.

        Commands run inside the container, with the credentials in the container's files.
        """

    @abstractmethod
    def parse(self, answers: Answers) -> Seen:
        """Interpret the answers to `questions`. Pure."""

    def leave(self, access: Access, state: ClusterState, host: str) -> None:  # noqa: B027 - a default
        """Make a host's working member leave cleanly. Default: members leave when they stop.

        :raises ScsError: the member does not leave
        """

    def forget(self, access: Access, state: ClusterState, host: str, empty: bool) -> None:  # noqa: B027 - a default
        """Remove a host's lost members from the cluster. Default: the cluster counts only working members.

        :param empty: the host has no member now, so every member known there is an earlier one
        :raises ScsError: the cluster refuses
        """

    def step_down(self, access: Access, state: ClusterState, host: str) -> None:  # noqa: B027 - a default
        """Make another member the leader; called if `ClusterState.hands_over` is set.

        :raises ScsError: the host's member is still the leader
        """

    def unfinished(self, access: Access, host: str) -> list[str]:  # noqa: ARG002 - a default
        """What a host's working member must still complete before the cluster can lose another one."""
        return []

    def recovery(self, options: RecoveryOptions) -> Procedure:  # noqa: ARG002 - a default
        """The recovery of this cluster.

        :param options: an instance of the driver's `OPTIONS`
        :raises RefusedError: the service has no recovery
        """
        raise RefusedError(f"{self.service.name} has no recovery", "scs apply")


class Balancer(ABC):
    """A driver whose members forward requests to servers on other hosts."""

    @abstractmethod
    def move(self, access: Access, balancers: Iterable[str], server: str, states: Mapping[str, str],
             wait: int = 0) -> dict[str, dict[str, int]]:  # fmt: skip
        """Set the states of a host's servers.

        :param balancers: hosts of the load balancers to change
        :param states: backend: ready, drain or maint
        :param wait: seconds for sessions to end
        :returns: balancer: backend: remaining sessions
        :raises ScsError: a load balancer did not apply the states
        """

    @abstractmethod
    def mark(self, access: Access, host: str, drained: bool) -> None:
        """Mark a host as drained, so that it releases API addresses, or remove the mark."""

    @abstractmethod
    def down(self, access: Access, balancers: Iterable[str], server: str) -> str:
        """Which of a host's servers receive no requests; '' if all do."""


class AddressHolder(ABC):
    """A driver whose members hold the region's API addresses, each on one host."""

    @abstractmethod
    def held(self, access: Access, holders: Iterable[str], leaving: str) -> str:
        """Which API address no host other than `leaving` holds, and why; '' if all moved."""


class GatewayHost(ABC):
    """A driver whose hosts carry the traffic of routers."""

    @abstractmethod
    def release(self, access: Access, seen: Iterable[ClusterState], host: str) -> str:
        """Move all router gateways off a host; returns the ports that remain there."""

    @abstractmethod
    def take(self, access: Access, host: str) -> None:
        """Allow router gateways on a host again."""

    @abstractmethod
    def delete(self, access: Access, seen: Iterable[ClusterState], host: str) -> None:
        """Remove a host that leaves the region."""


class DataHost(ABC):
    """A driver whose hosts hold copies of data, of which others hold more."""

    @abstractmethod
    def hold(self, access: Access, seen: Iterable[ClusterState], host: str) -> None:
        """Before a host goes away for a while: no copies of its data are made elsewhere meanwhile.

        :raises ScsError: the cluster refuses
        """

    @abstractmethod
    def let_go(self, access: Access, seen: Iterable[ClusterState], host: str) -> None:
        """Undo `hold`, and nothing that an operator did."""

    @abstractmethod
    def move_data(self, access: Access, seen: Iterable[ClusterState], host: str) -> None:
        """Make the copies of a host elsewhere, and wait as long as that makes progress.

        :raises ScsError: no progress; says what is stuck
        """

    @abstractmethod
    def drop_lost(self, access: Access, seen: Iterable[ClusterState], host: str, everything: bool) -> None:
        """Remove a host's lost members, once what they held has all its copies elsewhere.

        :param everything: working ones, too, and the host itself
        :raises ScsError: no progress; says what is stuck
        """


class SharedStorage(ABC):
    """A driver of storage that has guests' disks, each of which every host can open."""

    @abstractmethod
    def fence(self, access: Access, host: str, addresses: Collection[str]) -> None:
        """Refuse everything that a host's clients want, and note that, until `unfence`. May be repeated.

        :param addresses: all from which the host's clients may come
        :raises ScsError: the storage does not answer
        """

    @abstractmethod
    def unfence(self, access: Access, host: str, addresses: Collection[str]) -> None:
        """Undo `fence` of this host, and of any earlier one with one of these addresses."""

    @abstractmethod
    def open_disks(self, access: Access, disks: Collection[str]) -> dict[str, tuple[str, ...]]:
        """Disks that are open now: the addresses of those who have them open.

        :param disks: `<pool>/<image>`; those that are not there are left out
        :raises ScsError: the storage does not answer
        """


# helpers for drivers


def running(answer: Answer) -> ContainerState:
    """The state of a container, from the answer to a command in it."""
    return answer.container or ContainerState.RUNNING


CRASHES = 6
"""How often a member may be seen stopped while it is awaited."""


def await_members(
    access: Access, container: str, hosts: Collection[str], question: Callable[[str], Command],
    missing: Callable[[Answer], str], seconds: float, otherwise: str,
) -> None:  # fmt: skip
    """Wait until nothing is missing of the members on all hosts.

    :param question: what a host's member is asked
    :param missing: what an answer lacks, in words; empty: nothing
    :param otherwise: what is said of all hosts after `seconds`
    :raises ScsError: a member keeps crashing, a host became unreachable, or the time is over
    """
    stopped = dict.fromkeys(hosts, 0)

    def left() -> str:
        answers = access.run({h: [question(h)] for h in hosts})
        if answers.unreachable:
            raise ScsError(f"host {min(answers.unreachable)} became unreachable")
        for host in hosts:
            answer = answers.by_host[host][0]
            if running(answer) is not ContainerState.RUNNING:
                stopped[host] += 1
                if stopped[host] >= CRASHES:
                    raise ScsError(f"host {host}: {container} keeps crashing", f"scs logs {container} --host {host}")
            if lacks := missing(answer):
                return f"{host}: {lacks}"
        return ""

    access.until(left, seconds, f"{', '.join(hosts)}: {otherwise}")


def known(service: str, hosts: Collection[str], named: Iterable[str]) -> None:
    """Check that the hosts that the operator named have members.

    :raises RefusedError: one has none
    """
    for name in named:
        if name not in hosts:
            raise RefusedError(f"{service} has no member on '{name}'", f"it runs on: {', '.join(sorted(hosts))}")


def names(hosts: Iterable[str]) -> str:
    """`a, b and c`."""
    ordered = sorted(hosts)
    return " and ".join([", ".join(ordered[:-1]), ordered[-1]] if len(ordered) > 1 else ordered)
