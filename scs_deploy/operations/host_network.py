# SPDX-License-Identifier: Apache-2.0
"""Plans and changes the network of a region's hosts, one host after the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from scs_deploy.base import paths
from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.base.model import Model
from scs_deploy.engine import runner
from scs_deploy.engine.events import Stage, Watch, ignore
from scs_deploy.host.network import action
from scs_deploy.host.network.plan import HostNetwork
from scs_deploy.operations.base import Operation, Session, Step
from scs_deploy.region.region import Region
from scs_deploy.spec.container import Impact

PLAYBOOK = "host_network.yml"


@dataclass(frozen=True)
class Applied:
    """The result of a run."""

    run: str
    """id of the run; empty: there was nothing to do"""
    hosts: tuple[str, ...] = ()
    warnings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """host: links without carrier"""


def select_hosts(region: Region, hosts: Sequence[str] = ()) -> tuple[str, ...]:
    """The hosts that have links, in the inventory's order.

    :param hosts: only these; empty: all
    :raises RefusedError: a named host is unknown or has no links
    """
    known = region.inventory.hosts
    for host in hosts:
        if host not in known:
            raise RefusedError(f"{region.environment.inventory}: no host '{host}'", f"there are: {', '.join(known)}")
        if not known[host].links:
            raise RefusedError(
                f"{region.environment.inventory}: host {host} has no links",
                "describe its network there first",
            )
    return tuple(h for h in known if known[h].links and (not hosts or h in hosts))


def plan(region: Region, hosts: Sequence[str] = ()) -> dict[str, HostNetwork]:
    """The differences of each host, also if it has none. Reads all hosts concurrently.

    :param hosts: only these; empty: all that have links
    :raises RefusedError: a host is unknown or unreachable, or cannot use the renderer
    :raises ScsError: a host could not be read
    """
    names = select_hosts(region, hosts)
    if not names:
        return {}
    play = {
        "name": "Compare the network", "hosts": ",".join(names), "gather_facts": False,
        "roles": [{"role": "scs.host.network"}],
    }  # fmt: skip
    result = runner.run_playbook(region.environment, [play], keep_results=True, variables={action.STATE: "plan"})
    result.raise_for()
    return {host: HostNetwork.model_validate(result.results[host]["network"]) for host in names}


def network_allowed(region: Region, allow: Sequence[Impact]) -> bool:
    """Whether the operator allows changes to the network of hosts."""
    return Impact.NETWORK in {*region.environment.settings.allow, *allow}


class NetworkRequest(Model):
    """Which hosts to configure according to their links."""

    hosts: tuple[str, ...] = ()
    """empty: all that have links"""
    allow: tuple[Impact, ...] = ()
    """allowed impacts; required: `network`"""


class ChangeHostNetworks(Operation[NetworkRequest, dict[str, HostNetwork], Applied]):
    """Changes the network of the hosts that differ from their links, one host after the other."""

    name = "host network apply"
    requests = NetworkRequest

    def __init__(self, region: Region, request: NetworkRequest, command: str = "") -> None:
        super().__init__(region, request, command or " ".join(["scs host network apply", *request.hosts]))

    def plan(self, watch: Watch = ignore) -> dict[str, HostNetwork]:
        """See Operation. Reads all hosts concurrently."""
        watch(Stage("reading the hosts' networks"))
        return plan(self.region, self.request.hosts)

    def total(self, plan: dict[str, HostNetwork]) -> int:
        """See Operation."""
        return len(differing_hosts(plan))

    def empty_result(self, plan: dict[str, HostNetwork]) -> Applied:  # noqa: ARG002 - the same for every plan
        """See Operation."""
        return Applied("")

    def check(self, plan: dict[str, HostNetwork]) -> None:
        """See Operation.

        :raises RefusedError: the changes are not allowed
        """
        if differing_hosts(plan) and not network_allowed(self.region, self.request.allow):
            raise RefusedError(
                "these changes may disconnect hosts",
                f"add --allow network, or set allow: [network] in {self.region.environment.file}",
            )

    def secrets(self) -> Iterable[str]:
        """None: the region may have no secrets yet."""
        return ()

    def carry_out(self, session: Session, plan: dict[str, HostNetwork]) -> Applied:
        """See Operation.

        :raises RefusedError: a host's links do not match its interfaces
        :raises ScsError: a host reverted its change; the message names the hosts that were not changed after it
        """
        names = differing_hosts(plan)
        warnings: dict[str, tuple[str, ...]] = {}

        def do(host: str) -> str:
            warnings[host] = _one(self.region, host)
            return "; ".join(warnings[host])

        steps = [Step("links", f"network of {h}", partial(do, h), (h,)) for h in names]
        try:
            session.carry_out("network", steps)
        except ScsError as error:
            rest = names[len(warnings) + 1 :]
            left = f"; not changed: {', '.join(rest)}" if rest else ""
            raise type(error)(error.message + left, error.hint) from None
        return Applied(session.record.id, names, {h: w for h, w in warnings.items() if w})


def differing_hosts(plans: Mapping[str, HostNetwork]) -> tuple[str, ...]:
    """The hosts whose network differs from their links."""
    return tuple(host for host, network in plans.items() if not network.empty)


def _one(region: Region, host: str) -> tuple[str, ...]:
    result = runner.run_playbook(
        region.environment, paths.root() / "playbooks" / PLAYBOOK, [host], keep_results=True,
        variables={action.ALLOW: Impact.NETWORK.value},
    )  # fmt: skip
    result.raise_for()
    return tuple(result.results.get(host, {}).get("warnings_of_links", ()))
