# SPDX-License-Identifier: Apache-2.0
"""Looks at all hosts, their clusters, load balancers and compute services. Changes nothing."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from scs_deploy import clusters
from scs_deploy.base.errors import ScsError
from scs_deploy.clusters.base import ClusterDriver, Seen, SharedStorage
from scs_deploy.desired.endpoints import endpoints
from scs_deploy.desired.listeners import settings_of
from scs_deploy.engine.access import Access
from scs_deploy.inventory.ssh import ssh_command
from scs_deploy.operations.node import evacuation
from scs_deploy.operations.node.cloud import Cloud
from scs_deploy.operations.node.view import Compute, Guest, HostView, View
from scs_deploy.region.region import Region

PATIENCE = 60
"""Seconds that the compute API may take for all that is asked of it."""

T = TypeVar("T")


def leaving(region: Region, drivers: Mapping[str, ClusterDriver]) -> dict[str, str]:
    """How a server leaves each backend: drain (sessions end by themselves), maint (at once, to the next member), or ''.

    Members of a cluster have the same data, so its one member in use can be another one at any time. One of several
    servers without a cluster has its data alone: sending requests to another one would show them other data.
    """
    result = {}
    for e in endpoints(region):
        if e.balance != "single":
            result[e.name] = "drain"
        else:
            result[e.name] = "maint" if e.service in drivers and drivers[e.service].replicated else ""
    return result


def observe(region: Region, guests_of: Sequence[str] | None = None, empty: frozenset[str] = frozenset()) -> View:
    """Ask everything at once.

    :param guests_of: list guests of these hosts; None: of all
    :param empty: hosts that have no container engine: nothing is asked there
    :raises ScsError: a host's engine does not answer, or Ansible itself failed
    """
    drivers = clusters.of(region)
    hosts = [h for h in region.inventory.hosts if h not in empty]
    cloud = _ask(_compute, region, guests_of)
    seen, unreachable = clusters.observe(region, drivers, hosts)
    try:
        computes, guests, no_compute = cloud.result(timeout=PATIENCE)
    except TimeoutError:
        computes, guests, no_compute = {}, {}, f"no answer in {PATIENCE} s"
    return View(
        hosts={h: _host(region, h, seen, unreachable.get(h, ""), h in empty) for h in region.inventory.hosts},
        clusters=seen.clusters,
        servers=seen.servers,
        balancers=seen.balancers,
        backends=leaving(region, drivers),
        used=seen.used,
        computes=computes,
        guests=guests,
        no_compute=no_compute,
        shared=seen.shared,
        full=seen.full,
    )


def with_open_disks(region: Region, view: View, host: str) -> View:
    """The same with disks of the host's guests that are open at the host, as the shared storage knows it."""
    names = evacuation.disks(view, host)
    if view.shared != "" or not names:
        return view
    own, access = frozenset(region.inventory.hosts[host].addresses), Access(region)
    found: dict[str, tuple[str, ...]] = {}
    try:
        for driver in clusters.of(region).values():
            if isinstance(driver, SharedStorage):
                found |= driver.open_disks(access, names)
    except ScsError as error:
        return view.model_copy(update={"unknown_disks": str(error)})
    here = {disk: tuple(a for a in clients if a in own) for disk, clients in found.items()}
    return view.model_copy(update={"open_disks": {disk: at for disk, at in here.items() if at}})


def _ask(what: Callable[..., T], *arguments: Any) -> Future[T]:
    """In a thread that nobody waits for at the end: an API whose database hangs answers after many minutes."""
    future: Future[T] = Future()

    def work() -> None:
        try:
            future.set_result(what(*arguments))
        except BaseException as error:  # noqa: BLE001 - raised where the result is asked for
            future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return future


def _host(region: Region, name: str, seen: Seen, unreachable: str, empty: bool) -> HostView:
    return HostView(
        name=name,
        groups=region.inventory.hosts[name].groups,
        unreachable=unreachable,
        empty=empty,
        marked=name in seen.marked,
        addresses=seen.addresses.get(name, ()),
        gateway=name in seen.may_route,
        gateways=seen.gateways.get(name, ()),
        stores=seen.stores.get(name),
        held=name in seen.held,
        local_disks=settings_of(region, region.inventory.hosts[name]).get("nova_images") == "local",
        fenced=_fenced(region, name, seen),
    )


def _fenced(region: Region, name: str, seen: Seen) -> tuple[str, ...]:
    """Addresses of a host that the shared storage refuses; also those of an earlier host that had one of them."""
    own = set(region.inventory.hosts[name].addresses)
    return tuple(sorted({a for h, kept in seen.fenced.items() if h == name or own & set(kept) for a in kept}))


def _compute(
    region: Region, guests_of: Sequence[str] | None
) -> tuple[dict[str, Compute], dict[str, tuple[Guest, ...]], str]:
    if "nova" not in region.catalog.services:
        return {}, {}, ""
    try:
        cloud = Cloud(region.environment)
        computes = cloud.computes()
        return computes, cloud.guests([h for h in computes if guests_of is None or h in guests_of]), ""
    except ScsError as error:
        return {}, {}, str(error)


def probe(region: Region, host: str) -> str:
    """What is on a host, asked with plain ssh: 'empty', 'used', or what ssh said when it cannot be reached."""

    script = 'if [ -n "$(docker ps --all --quiet 2> /dev/null)" ]; then echo used; else echo empty; fi'
    command = ssh_command(region.environment, region.inventory.hosts[host], ["sh", "-c", script], False)
    command[1:1] = ["-o", "ConnectTimeout=10", "-o", "BatchMode=yes"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        return "no answer in 60 s"
    said = done.stdout.strip()
    return said if said in ("empty", "used") else " ".join(done.stderr.split()) or f"ssh ended with {done.returncode}"
