# SPDX-License-Identifier: Apache-2.0
"""keepalived's driver: the region's API addresses, each of which VRRP assigns to one host."""

from __future__ import annotations

import json
from collections.abc import Iterable

from scs_deploy.clusters.base import AddressHolder, Answers, ClusterDriver, Seen
from scs_deploy.engine.access import Access
from scs_deploy.engine.remote import Command

CONTAINER = "keepalived"
ADDRESSES = Command(container=CONTAINER, argv=("ip", "-json", "address"), timeout=20)
MARK = Command(container=CONTAINER, argv=("test", "-e", "/run/scs/haproxy/drained"), timeout=20)


class Driver(ClusterDriver, AddressHolder):
    """VRRP between hosts with a load balancer. There is no quorum: each host decides by priority."""

    def questions(self, host: str) -> dict[str, Command]:
        """The host's addresses, and whether it is marked as drained."""
        return {"addresses": ADDRESSES, "mark": MARK} if self.here(host, CONTAINER) else {}

    def parse(self, answers: Answers) -> Seen:
        """Who holds which API address."""
        return Seen(
            marked=frozenset(h for h, a in answers.items() if "mark" in a and a["mark"].code == 0),
            addresses={
                h: tuple(x for x in self._wanted() if x in parse(a["addresses"].output))
                for h, a in answers.items()
                if "addresses" in a
            },
        )

    def held(self, access: Access, holders: Iterable[str], leaving: str) -> str:
        """Check `ip address` on the holders."""
        answers = access.run({h: [ADDRESSES] for h in holders}).by_host
        for address in self._wanted():
            at = [h for h, a in answers.items() if address in parse(a[0].output)]
            if leaving in at:
                return f"{address} is still on {leaving}"
            if not at:
                return f"no host holds {address}"
        return ""

    def _wanted(self) -> tuple[str, str]:
        api = self.region.environment.settings.api
        return str(api.internal.address), str(api.external.address)


def parse(text: str) -> frozenset[str]:
    """All addresses in the output of `ip -json address`."""
    try:
        found = json.loads(text)
    except ValueError:
        return frozenset()
    return frozenset(a["local"] for link in found for a in link.get("addr_info", ()) if "local" in a)
