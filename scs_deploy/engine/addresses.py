# SPDX-License-Identifier: Apache-2.0
"""Checks that no other machine uses a new region's API addresses."""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor

from scs_deploy.base import icmp
from scs_deploy.base.errors import RefusedError
from scs_deploy.environment.environment import Environment
from scs_deploy.plan.change import Kind
from scs_deploy.plan.host import HostPlan

TIMEOUT = 1.5


def unheld(hosts: Iterable[HostPlan], holders: Collection[str], services: Collection[str]) -> bool:
    """Whether no host can hold an API address yet, because the container for that is yet to be created on each.

    :param holders: hosts that the container belongs on
    :param services: services that hold API addresses
    """
    able = (h for h in hosts if h.host in holders)
    return all(any(c.kind is Kind.CREATE and c.service in services for c in h.changes) for h in able)


def answers(address: str, ports: Iterable[int]) -> str:
    """How an address responds, e.g. to `ping` or on `port 443`; empty if it does not."""

    if ":" not in address:
        try:
            icmp.ping(address, TIMEOUT)
            return "ping"
        except OSError:
            pass
    for port in ports:
        try:
            with socket.create_connection((address, port), TIMEOUT):
                return f"port {port}"
        except OSError:
            continue
    return ""


def refuse_taken(
    environment: Environment, ports: Iterable[int], ask: Callable[[str, Iterable[int]], str] = answers
) -> None:
    """Refuse an API address that responds although no host of the region holds it yet.

    :param ports: ports on which the region would listen
    :raises RefusedError: names the key, the address and how it responds
    """
    api = environment.settings.api
    wanted = {"internal": str(api.internal.address), "external": str(api.external.address)}
    chosen = tuple(ports)
    with ThreadPoolExecutor(len(wanted)) as pool:
        for side, how in zip(wanted, pool.map(lambda a: ask(a, chosen), wanted.values()), strict=True):
            if how:
                raise RefusedError(
                    f"{environment.file}: api.{side}.address: {wanted[side]} already responds ({how}), "
                    "but no host of this region holds it",
                    "set an unused address, or find the machine that uses this one",
                )
