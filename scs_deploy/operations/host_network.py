# SPDX-License-Identifier: Apache-2.0
"""The networks of a region's hosts: what would change, and changing it, one host after the other."""

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
    """What a run changed."""

    run: str
    """id of its record; empty: nothing was to be done"""
    hosts: tuple[str, ...] = ()
    warnings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """host: links that have no carrier"""


def chosen(region: Region, hosts: Sequence[str] = ()) -> tuple[str, ...]:
    """The hosts that have links, in the inventory's order.

    :param hosts: only these; empty: all
    :raises RefusedError: an unknown host, or one that is asked for and has no links
    """
    known = region.inventory.hosts
    for host in hosts:
        if host not in known:
            raise RefusedError(f"{region.environment.inventory}: no host '{host}'", f"there are: {', '.join(known)}")
        if not known[host].links:
            raise RefusedError(
                f"{region.environment.inventory}: host {host} has no links",
                "its network is not scs's: describe it there",
            )
    return tuple(h for h in known if known[h].links and (not hosts or h in hosts))


def plan(region: Region, hosts: Sequence[str] = ()) -> dict[str, HostNetwork]:
    """What would change, by host; hosts that are as wanted included. All hosts are asked at the same time.

    :param hosts: only these; empty: all that have links
    :raises RefusedError: an unknown or unreachable host, or one that cannot use the renderer
    :raises ScsError: a host could not be read
    """
    names = chosen(region, hosts)
    if not names:
        return {}
    play = {
        "name": "Compare the network", "hosts": ",".join(names), "gather_facts": False,
        "roles": [{"role": "scs.host.network"}],
    }  # fmt: skip
    result = runner.run_playbook(region.environment, [play], keep_results=True, variables={action.STATE: "plan"})
    result.raise_for()
    return {host: HostNetwork.model_validate(result.results[host]["network"]) for host in names}


def may(region: Region, allow: Sequence[Impact]) -> bool:
    """Whether the operator consented to changes of hosts' networks."""
    return Impact.NETWORK in {*region.environment.settings.allow, *allow}


class NetworkRequest(Model):
    """Which hosts' networks to bring to what their links say."""

    hosts: tuple[str, ...] = ()
    """empty: all that have links"""
    allow: tuple[Impact, ...] = ()
    """impacts that the operator consents to: without `network` it is refused"""


class ChangeHostNetworks(Operation[NetworkRequest, dict[str, HostNetwork], Applied]):
    """Changes the networks of the hosts that differ, one host after the other."""

    name = "host network apply"
    requests = NetworkRequest

    def __init__(self, region: Region, request: NetworkRequest, command: str = "") -> None:
        super().__init__(region, request, command or " ".join(["scs host network apply", *request.hosts]))

    def plan(self, watch: Watch = ignore) -> dict[str, HostNetwork]:
        """See Operation; all hosts are asked at the same time."""
        watch(Stage("reading the hosts' networks"))
        return plan(self.region, self.request.hosts)

    def total(self, plan: dict[str, HostNetwork]) -> int:
        """See Operation."""
        return len(differing(plan))

    def nothing(self, plan: dict[str, HostNetwork]) -> Applied:  # noqa: ARG002 - the same for every plan
        """See Operation."""
        return Applied("")

    def check(self, plan: dict[str, HostNetwork]) -> None:
        """See Operation.

        :raises RefusedError: consent is missing
        """
        if differing(plan) and not may(self.region, self.request.allow):
            raise RefusedError(
                "these changes may cut hosts off", f"add --allow network, or allow in {self.region.environment.file}"
            )

    def secrets(self) -> Iterable[str]:
        """None: a region may have no secrets yet."""
        return ()

    def carry_out(self, session: Session, plan: dict[str, HostNetwork]) -> Applied:
        """See Operation.

        :raises RefusedError: a host's links do not fit it
        :raises ScsError: a host took its change back; the message names those that were not touched after it
        """
        names = differing(plan)
        warnings: dict[str, tuple[str, ...]] = {}

        def do(host: str) -> str:
            warnings[host] = _one(self.region, host)
            return "; ".join(warnings[host])

        steps = [Step("links", f"network of {h}", partial(do, h), (h,)) for h in names]
        try:
            session.carry_out("network", steps)
        except ScsError as error:
            rest = names[len(warnings) + 1 :]
            left = f"; not touched after it: {', '.join(rest)}" if rest else ""
            raise type(error)(error.message + left, error.hint) from None
        return Applied(session.record.id, names, {h: w for h, w in warnings.items() if w})


def differing(plans: Mapping[str, HostNetwork]) -> tuple[str, ...]:
    """The hosts whose network is not as their links say."""
    return tuple(host for host, found in plans.items() if not found.empty)


def _one(region: Region, host: str) -> tuple[str, ...]:
    result = runner.run_playbook(
        region.environment, paths.root() / "playbooks" / PLAYBOOK, [host], keep_results=True,
        variables={action.ALLOW: Impact.NETWORK.value},
    )  # fmt: skip
    result.raise_for()
    return tuple(result.results.get(host, {}).get("warnings_of_links", ()))
