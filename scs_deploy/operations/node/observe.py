# SPDX-License-Identifier: Apache-2.0
"""Looks at all hosts, their clusters, load balancers and compute services. Changes nothing."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

from scs_deploy.base.errors import ScsError
from scs_deploy.desired.endpoints import endpoints
from scs_deploy.engine import remote
from scs_deploy.engine.remote import Answer, Command
from scs_deploy.inventory.ssh import ssh_command
from scs_deploy.operations.node import parse
from scs_deploy.operations.node.cloud import Cloud
from scs_deploy.operations.node.view import Cluster, Compute, Guest, HostView, Server, View
from scs_deploy.region.region import Region
from scs_deploy.shared import state as shared_state
from scs_deploy.shared.messaging import Messaging

ADMIN = "/run/scs/haproxy/admin.sock"
OVN = {"OVN northbound": ("ovn_nb", "nb", "OVN_Northbound"), "OVN southbound": ("ovn_sb", "sb", "OVN_Southbound")}
"""Cluster: container, short name, schema."""

PATIENCE = 60
"""Seconds that the compute API may take for all that is asked of it."""

T = TypeVar("T")
Asked = dict[str, dict[str, Answer]]
"""host: question: answer"""


def haproxy(*commands: str) -> Command:
    """Commands for the admin socket."""
    script = f'printf "%s\\n" "{"; ".join(commands)}" | nc -N -U -w 5 {ADMIN}'
    return Command(container="haproxy", argv=("sh", "-c", script), timeout=20)


def raft(cluster: str, verb: str, *arguments: str) -> Command:
    """`ovs-appctl cluster/<verb>` of an OVN database's own server."""
    container, name, schema = OVN[cluster]
    argv = ("ovs-appctl", "--timeout=30", f"--target=/run/ovn/ovn{name}_db.ctl", f"cluster/{verb}", schema, *arguments)
    return Command(container=container, argv=argv, timeout=40)


def southbound(*arguments: str) -> Command:
    """`ovn-sbctl` on the host's own member, which need not lead."""
    argv = ("ovn-sbctl", "--db=unix:/run/ovn/ovnsb_db.sock", "--no-leader-only", "--timeout=10", *arguments)
    return Command(container="ovn_sb", argv=argv, timeout=20)


def questions(region: Region, host: str) -> dict[str, Command]:
    """What to ask on a host, by name; only of what runs there."""
    asked: dict[str, Command] = {}

    def here(service: str, container: str | None = None) -> bool:
        return host in region.inventory.groups.get(region.group_of(service, container), ())

    if here("keepalived"):
        asked["addresses"] = Command(container="keepalived", argv=("ip", "-json", "address"), timeout=20)
        asked["mark"] = Command(container="keepalived", argv=("test", "-e", "/run/scs/haproxy/drained"), timeout=20)
    if here("haproxy"):
        asked["servers"] = haproxy("show servers state")
        for name in singles(region):
            asked[f"table {name}"] = haproxy(f"show table {name}")
    if here("mariadb"):
        argv = ("mariadb", "--defaults-file=/etc/mysql/monitor.cnf", "--batch", "--skip-column-names", "--execute")
        asked["Galera"] = Command(container="mariadb", argv=(*argv, parse.GALERA), timeout=20)
    if here("ovn"):
        asked |= {cluster: raft(cluster, "status") for cluster in OVN}
        asked["ports"] = southbound(
            "--format=json", "--columns=logical_port,chassis", "find", "Port_Binding", "type=chassisredirect"
        )
        asked["chassis"] = southbound("--format=json", "--columns=_uuid,name", "list", "Chassis")
    if here("ovn", "ovn_controller"):
        vsctl = ("ovs-vsctl", "--timeout=10", "--if-exists", "get", "Open_vSwitch", ".", "external_ids:ovn-cms-options")
        asked["gateway"] = Command(container="ovn_controller", argv=vsctl, timeout=20)
    return asked


def singles(region: Region) -> list[str]:
    """Backends with one member in use."""
    return [e.name for e in endpoints(region) if e.balance == "single" and len(e.backends) > 1]


def leaving(region: Region) -> dict[str, str]:
    """How a server leaves each backend: drain (sessions end by themselves), maint (at once, to the next member), or ''.

    Members of a cluster have the same data, so its one member in use can be another one at any time. One of several
    servers without a cluster has its data alone: sending requests to another one would show them other data.
    """
    result = {}
    for e in endpoints(region):
        if e.balance != "single":
            result[e.name] = "drain"
        else:
            result[e.name] = "maint" if e.service == "mariadb" else ""
    return result


def observe(region: Region, guests_of: Sequence[str] | None = None, empty: frozenset[str] = frozenset()) -> View:
    """Ask everything at once.

    :param guests_of: list guests of these hosts; None: of all
    :param empty: hosts that have no container engine: nothing is asked there
    :raises ScsError: a host's engine does not answer, or Ansible itself failed
    """
    hosts = [h for h in region.inventory.hosts if h not in empty]
    asked = {h: questions(region, h) for h in hosts}
    # a host with no question must be reached, too
    commands = {h: tuple(q.values()) or (Command(container="haproxy", argv=("true",)),) for h, q in asked.items()}
    brokers, cloud = _ask(_brokers, region), _ask(_compute, region, guests_of)
    answers = remote.execute(region, commands)
    seen: Asked = {h: dict(zip(asked[h], answers.by_host.get(h, ()), strict=False)) for h in hosts}
    clusters = (*_clusters(region, seen), *brokers.result())
    try:
        computes, guests, no_compute = cloud.result(timeout=PATIENCE)
    except TimeoutError:
        computes, guests, no_compute = {}, {}, f"no answer in {PATIENCE} s"
    return View(
        hosts={h: _host(region, h, seen.get(h, {}), answers.unreachable.get(h, ""), h in empty, _ports(seen))
               for h in region.inventory.hosts},
        clusters=clusters,
        servers=tuple(_servers(seen)),
        balancers=tuple(h.name for h in region.inventory.group(region.group_of("haproxy"))),
        backends=leaving(region),
        used=used(region, seen),
        computes=computes,
        guests=guests,
        no_compute=no_compute,
    )  # fmt: skip


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


def _host(
    region: Region, name: str, seen: Mapping[str, Answer], unreachable: str, empty: bool,
    ports: dict[str, tuple[str, ...]],
) -> HostView:  # fmt: skip
    api = region.environment.settings.api
    here = parse.addresses(seen["addresses"].output) if "addresses" in seen else frozenset()
    return HostView(
        name=name,
        groups=region.inventory.hosts[name].groups,
        unreachable=unreachable,
        empty=empty,
        marked="mark" in seen and seen["mark"].code == 0,
        addresses=tuple(a for a in (str(api.internal.address), str(api.external.address)) if a in here),
        gateway="gateway" in seen and "enable-chassis-as-gw" in seen["gateway"].output,
        gateways=ports.get(name, ()),
    )


def _ports(seen: Asked) -> dict[str, tuple[str, ...]]:
    """From the first member that answers: all have the same."""
    for answers in seen.values():
        ports, chassis = answers.get("ports"), answers.get("chassis")
        if ports and chassis and ports.code == chassis.code == 0:
            return parse.bindings(ports.output, chassis.output)
    return {}


def _servers(seen: Asked) -> list[Server]:
    return [
        Server(balancer=host, backend=s["backend"], host=s["name"], up=s["up"], state=s["state"])
        for host, answers in seen.items()
        if "servers" in answers
        for s in parse.servers(answers["servers"].output)
    ]


def used(region: Region, seen: Asked) -> dict[str, str]:
    used = {}
    servers = _servers(seen)
    for backend in singles(region):
        tables = [a[f"table {backend}"].output for a in seen.values() if f"table {backend}" in a]
        found = [word.partition("=")[2] for text in tables for word in text.split() if word.startswith("server_key=")]
        working = sorted(s.host for s in servers if s.backend == backend and s.up and s.state == "ready")
        # an entry outlives its server until the next connection
        if working:
            used[backend] = next((h for h in found if h in working), working[0])
    return used


def _clusters(region: Region, seen: Asked) -> list[Cluster]:
    result = []
    if "mariadb" in region.catalog.services:
        wanted = tuple(h.name for h in region.inventory.group(region.group_of("mariadb")))
        values = {h: parse.galera(a["Galera"].output) for h, a in seen.items() if "Galera" in a}
        alive = tuple(h for h, v in values.items() if parse.galera_works(v))
        result.append(Cluster(name="Galera", members=wanted, alive=alive, wanted=wanted, dynamic=True))
    if "ovn" in region.catalog.services:
        own = region.inventory.group(region.group_of("ovn"))
        names = {h.management: h.name for h in own}
        for cluster in OVN:
            found = {h: parse.raft(a[cluster].output) for h, a in seen.items() if cluster in a}
            members = {h: r for h, r in found.items() if r and r.member}
            listed = next((r.servers for r in members.values() if r.role == "leader"), ()) or next(
                (r.servers for r in members.values()), ()
            )
            leader = next((h for h, r in members.items() if r.role == "leader"), "")
            result.append(
                Cluster(
                    name=cluster,
                    members=tuple(sorted({names.get(s.address, s.address) for s in listed})),
                    alive=tuple(sorted(members)),
                    wanted=tuple(h.name for h in own),
                    leader=leader,
                )
            )
    return result


def _brokers(region: Region) -> list[Cluster]:
    if "rabbitmq" not in region.catalog.services:
        return []
    wanted = tuple(h.name for h in region.inventory.group(region.group_of("rabbitmq")))
    nodes: dict[str, bool] = {}
    with suppress(ScsError), broker(region) as session:
        nodes = session.nodes()
    members = tuple(sorted(n.partition("@")[2] for n in nodes))
    alive = tuple(sorted(n.partition("@")[2] for n, running in nodes.items() if running))
    return [Cluster(name="RabbitMQ", members=members, alive=alive, wanted=wanted)]


def broker(region: Region, but: str = "") -> Messaging:
    """A session with whichever broker answers.

    :param but: not this host's
    :raises ScsError: there is no other
    """
    hosts = [h.management for h in region.inventory.group(region.group_of("rabbitmq")) if h.name != but]
    if not hosts:
        raise ScsError("rabbitmq: no broker to ask")
    return shared_state.broker_session(region, hosts, timeout=5)


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
