# SPDX-License-Identifier: Apache-2.0
"""The networks of a region's hosts: what would change, and changing it, one host after the other."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from scs_deploy.base import paths
from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.engine import runner
from scs_deploy.host.network import action
from scs_deploy.host.network.plan import HostNetwork
from scs_deploy.operations.base import Operation, Session, Start, Step
from scs_deploy.region.region import Region
from scs_deploy.spec.container import Impact
from scs_deploy.state.runs import RunRecord

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


class ChangeHostNetworks(Operation[dict[str, HostNetwork], Applied]):
    """Change the networks of the hosts that differ, one host after the other.

    :param hosts: only these; empty: all that have links
    :param allow: impacts that the operator consents to: without `network` it is refused
    """

    name = "host network apply"
    repeat = "repeat the command: hosts whose network is as their links say are left as they are"

    def __init__(self, region: Region, hosts: Sequence[str] = (), allow: Sequence[Impact] = ()) -> None:
        super().__init__(region, " ".join(["scs host network apply", *hosts]))
        self.hosts, self.allow = tuple(hosts), tuple(allow)

    def plan(self) -> dict[str, HostNetwork]:
        """See Operation; all hosts are asked at the same time."""
        return plan(self.region, self.hosts)

    def execute(self, session: Session, confirm: Callable[[dict[str, HostNetwork]], bool]) -> Applied:
        """See Operation.

        :raises RefusedError: consent is missing, or a host's links do not fit it
        :raises ScsError: a host took its change back; the hosts after it were not touched
        """
        plans = self.plan()
        names = differing(plans)
        if names and not may(self.region, self.allow):
            raise RefusedError(
                "these changes may cut hosts off", f"add --allow network, or allow in {self.region.environment.file}"
            )
        if not names or not confirm(plans):
            return Applied("")
        start = Start(
            operation=self.name, command=self.command, total=len(names), inputs=_inputs(self.region, names),
            inventory=self.region.inventory.hash, repeat=self.repeat,
        )  # fmt: skip
        with session.recording(start) as record:
            warnings = change(self.region, names, session, record)
        return Applied(record.id, names, warnings)


def differing(plans: Mapping[str, HostNetwork]) -> tuple[str, ...]:
    """The hosts whose network is not as their links say."""
    return tuple(host for host, found in plans.items() if not found.empty)


def change(region: Region, names: Sequence[str], session: Session, record: RunRecord) -> dict[str, tuple[str, ...]]:
    """Change these hosts' networks, in a run; returns the links without carrier, by host.

    :raises ScsError: a host took its change back; the message names those that were not touched after it
    """
    warnings: dict[str, tuple[str, ...]] = {}

    def do(host: str) -> None:
        warnings[host] = _one(region, host)

    steps = [Step("links", f"network of {h}", partial(do, h), host=h) for h in names]
    try:
        session.carry_out(record, "network", steps)
    except ScsError as error:
        rest = names[len(warnings) + 1 :]
        left = f"; not touched after it: {', '.join(rest)}" if rest else ""
        raise type(error)(error.message + left, error.hint) from None
    return {h: w for h, w in warnings.items() if w}


def _inputs(region: Region, hosts: Sequence[str]) -> str:
    """Hash of all that the run goes by: a region's first run has no release lock yet."""
    digest = hashlib.sha256()
    for host in hosts:
        for name, link in sorted(region.inventory.hosts[host].links.items()):
            digest.update(f"{host} {name} {link.model_dump_json()}\n".encode())
    return digest.hexdigest()[:16]


def _one(region: Region, host: str) -> tuple[str, ...]:
    result = runner.run_playbook(
        region.environment, paths.root() / "playbooks" / PLAYBOOK, [host], keep_results=True,
        variables={action.ALLOW: Impact.NETWORK.value},
    )  # fmt: skip
    result.raise_for()
    return tuple(result.results.get(host, {}).get("warnings_of_links", ()))
