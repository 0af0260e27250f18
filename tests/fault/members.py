# SPDX-License-Identifier: Apache-2.0
"""Reads who belongs to what in a region: Galera, RabbitMQ, OVN's raft, VRRP, HAProxy, Ceph, agents. Parsing is pure."""

from __future__ import annotations

import csv
import http.client
import io
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pymysql
import requests

from scs_deploy.base.errors import ScsError
from scs_deploy.base.model import Model
from scs_deploy.clusters.raft.settings import Settings, control_socket
from scs_deploy.clusters.raft.status import raft
from scs_deploy.prober.https import ApiError, Https
from scs_deploy.region import ceph
from scs_deploy.region.region import Region
from scs_deploy.shared.ceph import status
from scs_deploy.shared.ceph.session import Ceph
from scs_deploy.shared.ceph.status import CLEAN, SLOW, Status
from tests.fault import sockets
from tests.fault.client import database, say
from tests.fault.faults import FaultError, Node, run, wait

SOCKET = "/run/scs/haproxy/admin.sock"
NO_HISTORY = "00000000-0000-0000-0000-000000000000"
"""Of a Galera cluster that formed without comparing its members' positions."""
EARLIER = "_earlier"
"""Ends the name of a server that HAProxy has for a process of an earlier scs; it is down in a region of this one."""
SYNCED = {"wsrep_cluster_status": "Primary", "wsrep_local_state_comment": "Synced", "wsrep_ready": "ON"}


class RaftStatus(Model):
    """A member's answer to `cluster/status`."""

    member: bool
    leader: bool
    knows_leader: bool
    servers: int
    heard: int
    """other members that a leader heard of within two election timers"""


def parse_raft(text: str) -> RaftStatus:
    """`ovs-appctl cluster/status`, see ovsdb-server(1)."""
    found = raft(text)
    if found is None:
        return RaftStatus(member=False, leader=False, knows_leader=False, servers=0, heard=0)
    timer = next((int(t) for t in re.findall(r"^Election timer: (\d+)", text, re.MULTILINE)), 0)
    return RaftStatus(
        member=found.status == "cluster member",
        leader=found.role == "leader",
        knows_leader=bool(found.leader),
        servers=len(found.servers),
        heard=sum(s.last is not None and s.last <= 2 * timer for s in found.servers),
    )


def parse_haproxy(text: str) -> dict[tuple[str, str], str]:
    """(backend, server): status, from `show stat`."""
    rows = csv.DictReader(io.StringIO(text.removeprefix("# ")))
    return {
        (r["pxname"], r["svname"]): r["status"]
        for r in rows
        if r["pxname"] and r["svname"] not in ("FRONTEND", "BACKEND")
    }


def ceph_problems(found: Status, monitors: Collection[str], osds: int) -> list[str]:
    """What a whole cluster has and this one has not.

    :param monitors: hosts of monitors; each has a manager as well
    :param osds: number of them by the inventory
    """
    problems = [f"ceph_mon on {host} is not in the quorum" for host in sorted(set(monitors) - set(found.quorum))]
    managers = found.manager + found.standby_managers
    if not found.manager:
        problems.append("no ceph_mgr is active")
    if managers != len(monitors):
        problems.append(f"{managers} of {len(monitors)} ceph_mgr are there")
    if found.osds != osds:
        problems.append(f"ceph has {found.osds} OSDs, the inventory {osds}")
    problems += [f"osd.{number} is down" for number in found.down]
    problems += [f"osd.{number} is out" for number in found.out]
    problems += [
        f"{count} placement groups are {state}"
        for state, count in found.placement_groups.items()
        if not set(state.split("+")) <= CLEAN
    ]
    problems += [f"ceph has the flag {flag}" for flag in found.flags]
    return problems + [f"ceph: {c.name}: {c.summary}" for c in found.checks if c.counts and c.name not in SLOW]


def cinder_problems(services: Iterable[Mapping[str, Any]], wanted: Collection[tuple[str, str]]) -> list[str]:
    """Which of the services, by binary and host, are not up: `GET /os-services`, where a host may name a back end."""
    state = {(s["binary"], s["host"].partition("@")[0]): s["state"] for s in services if s["status"] == "enabled"}
    return [
        f"{binary} on {host} is {state.get((binary, host), 'unknown')}"
        for binary, host in sorted(wanted)
        if state.get((binary, host)) != "up"
    ]


class Membership:
    """Asks the members of a region. Every question is answered with what is missing, empty when nothing is."""

    def __init__(self, inputs: Region) -> None:
        self._context = inputs
        self.ca = inputs.environment.ca_file
        self._password = inputs.secrets["mariadb_root_password"]
        self._broker = inputs.secrets["rabbitmq_admin_password"]
        databases = inputs.catalog.services["ovn"].cluster
        assert databases
        self.raft_databases = Settings.model_validate(databases.settings).databases
        self.nodes = {h.name: Node(h.name) for h in inputs.inventory.group("control")}
        self.addresses = {h.name: h.management for h in inputs.inventory.group("control")}
        self.interfaces = {
            h.name: {network: place.interface for network, place in h.networks.items()}
            for h in inputs.inventory.group("control")
        }
        """host: network: interface"""
        api = inputs.environment.settings.api
        self._inventory = inputs.inventory
        self.monitors = ceph.monitors(inputs)
        self._ceph_session = Ceph(inputs, self._in_container)
        self._osds = sum(len(h.disks_of(("osd",))) for h in inputs.inventory.group(ceph.GROUP))
        cinder = inputs.catalog.services.get("cinder") if self.monitors else None
        self.cinder = {
            (spec.agent.binary, host.name)
            for name, spec in (cinder.containers.items() if cinder else ())
            if spec.agent
            for host in inputs.hosts_of("cinder", name)
        }
        """binary and host of the services that Cinder's API has to know as up"""
        self.vips = {"internal": str(api.internal.address), "external": str(api.external.address)}

    @staticmethod
    def together(nodes: list[Node], what: Callable[[Node], None]) -> None:
        """Do something to several nodes at the same time.

        :raises FaultError: it failed on one of them, after it was tried on all
        """
        with ThreadPoolExecutor(len(nodes)) as pool:
            for future in [pool.submit(what, node) for node in nodes]:
                future.result()

    # -- readers

    def session(self, host: str) -> Any:
        """A session with a member, as administrator.

        :raises pymysql.Error, OSError: it does not answer
        """
        return database(self.addresses[host], self._password, self.ca)

    def galera(self, host: str) -> dict[str, str]:
        """wsrep status of a member.

        :raises pymysql.Error, OSError: it does not answer
        """
        with self.session(host) as session, session.cursor() as cursor:
            cursor.execute("SHOW GLOBAL STATUS LIKE 'wsrep_%%'")
            return {str(name): str(value) for name, value in cursor.fetchall()}

    def writer(self) -> str:
        """The host whose database member HAProxy sends writes to."""
        session = database(str(self.vips["internal"]), self._password, self.ca)
        with session, session.cursor() as cursor:
            cursor.execute("SELECT @@wsrep_node_name")
            return str(cursor.fetchone()[0])

    def move_writer(self, host: str) -> None:
        """Have the load balancers send the database's writes to a host: the others are out for a moment.

        :raises AssertionError: writes do not go there
        """
        others = [f"set server database/{h} state maint" for h in self.nodes if h != host]
        back = [line.replace("maint", "ready") for line in others]
        try:
            self._tell_haproxy(others)
            wait(lambda: self.writer() == host, 15, f"writes to mariadb on {host}")
        finally:
            self._tell_haproxy(back)
        wait(lambda: not self._haproxy(), 30, "every server up in HAProxy")
        assert self.writer() == host, f"writes go to {self.writer()}, not to {host}"

    def _tell_haproxy(self, lines: list[str]) -> None:
        for node in self.nodes.values():
            for line in lines:
                sockets.haproxy(node.path(SOCKET), line)

    def raft(self, host: str, container: str) -> RaftStatus:
        """A member's view of OVN's database cluster.

        :raises FaultError: it does not answer
        """
        path = self.nodes[host].path(control_socket(container))
        return parse_raft(sockets.unixctl(path, "cluster/status", self.raft_databases[container].schema_name))

    def raft_leader(self, container: str) -> str:
        """The host whose member leads."""
        for host in self.nodes:
            if self.raft(host, container).leader:
                return host
        raise FaultError(f"{container}: no leader")

    def ceph(self) -> Status:
        """The state of Ceph by its monitors.

        :raises ScsError: none answers
        """
        return Status.parse(self._ceph_session.ask(status.QUESTIONS))

    def ask_ceph(self, prefix: str, **arguments: Any) -> Any:
        """A monitor's answer to a command.

        :raises ScsError: none answers, or it refuses
        """
        return self._ceph_session.ask(({"prefix": prefix, **arguments},))[0]

    def active_manager(self) -> str:
        """The host whose manager of Ceph works."""
        return str(self.ask_ceph("mgr dump")["active_name"])

    def leading_monitor(self) -> str:
        """The host whose monitor leads the quorum."""
        return str(self.ask_ceph("quorum_status")["quorum_leader_name"])

    def osd(self, number: int) -> tuple[str, str]:
        """Host and container of an OSD.

        :raises FaultError: none of the inventory's disks is it
        """
        for host in self._inventory.group(ceph.GROUP):
            for disk in host.disks_of(("osd",)):
                container = f"{ceph.OSD}_{disk.name}"
                folder = f"/var/lib/docker/volumes/{container}/_data/ceph-{number}"
                if Path(self.nodes[host.name].path(folder)).is_dir():
                    return host.name, container
        raise FaultError(f"osd.{number} is on no host")

    def primary(self, pool: str, name: str) -> int:
        """The OSD that takes the writes to an object, whether or not the object exists."""
        return int(self.ask_ceph("osd map", pool=pool, object=name)["acting_primary"])

    def _in_container(self, host: str, container: str, argv: tuple[str, ...]) -> tuple[int, str]:
        try:
            return 0, self.nodes[host].inside(container, *argv)
        except FaultError as error:
            return 1, str(error)

    def vip_holders(self, side: str) -> list[str]:
        """Hosts that have an API address, according to themselves."""
        found = []
        for host, node in self.nodes.items():
            if not (pid := node.pid):
                continue
            text = run("nsenter", "--target", str(pid), "--net",
                       "ip", "-oneline", "address", "show", "to", self.vips[side], check=False)  # fmt: skip
            if text.strip():
                found.append(host)
        return found

    def broker(self, host: str) -> list[dict[str, object]]:
        """Nodes of the message broker as one of them sees them.

        :raises requests.RequestException, ValueError: it does not answer
        """
        columns = "name,running,partitions,mem_alarm,disk_free_alarm"
        answer = requests.get(
            f"https://{self.addresses[host]}:15671/api/nodes?columns={columns}",
            auth=("scs", self._broker), verify=str(self.ca), timeout=10,
        )  # fmt: skip
        answer.raise_for_status()
        found: list[dict[str, object]] = answer.json()
        return found

    def haproxy(self, host: str) -> dict[tuple[str, str], str]:
        """Status of every server in a host's load balancer.

        :raises FaultError: it does not answer
        """
        return parse_haproxy(sockets.haproxy(self.nodes[host].path(SOCKET), "show stat"))

    # -- what is missing

    def missing(self, api: Https | None = None, token: Callable[[], str] | None = None,
                urls: Mapping[str, str] | None = None, storage: bool = True) -> list[str]:  # fmt: skip
        """What a whole region has and this one has not; empty: full membership.

        :param storage: whether all copies of all data in Ceph belong to it
        """
        questions: list[Callable[[], list[str]]] = [
            self._nodes, self._galera, self._rabbitmq, self._raft, self._vips, self._haproxy, self._containers
        ]  # fmt: skip
        problems = [problem for question in questions for problem in self._ask(question)]
        if not problems and storage and self.monitors:
            # a program in a container, which takes a second of processor
            problems = self._ask(self._ceph)
        if not problems and api and token and urls:
            # last, because these ask the API
            problems = self._ask(lambda: self._agents(api, token(), urls))
        return problems

    def _ask(self, question: Callable[[], list[str]]) -> list[str]:
        try:
            return question()
        except (
            FaultError, ScsError, pymysql.Error, OSError, ApiError, ValueError, http.client.HTTPException
        ) as error:  # fmt: skip
            text = str(error) if isinstance(error, (FaultError, ScsError)) else say(error)
            return [f"{getattr(question, '__name__', 'agents').strip('_')}: {text}"]

    def _nodes(self) -> list[str]:
        return [f"node {host} does not run" for host, node in self.nodes.items() if not node.running]

    def _galera(self) -> list[str]:
        wanted = SYNCED | {"wsrep_cluster_size": str(len(self.nodes))}
        found = {host: self.galera(host) for host in self.nodes}
        histories = {status.get("wsrep_cluster_state_uuid", "") for status in found.values()}
        strange = [] if len(histories) == 1 and NO_HISTORY not in histories else [f"mariadb: histories {histories}"]
        return strange + [
            f"mariadb on {host}: {name} is {status.get(name)}"
            for host, status in found.items()
            for name, value in wanted.items()
            if status.get(name) != value
        ]

    def _rabbitmq(self) -> list[str]:
        problems = []
        for host in self.nodes:
            nodes = self.broker(host)
            running = [n for n in nodes if n.get("running")]
            if len(running) != len(self.nodes):
                problems.append(f"rabbitmq on {host} sees {len(running)} of {len(self.nodes)} nodes running")
            problems += [
                f"rabbitmq on {host}: {n['name']} has {key}"
                for n in nodes
                for key in ("partitions", "mem_alarm", "disk_free_alarm")
                if n.get(key)
            ]
        return problems

    def _raft(self) -> list[str]:
        problems = []
        for container in self.raft_databases:
            leaders = 0
            for host in self.nodes:
                status = self.raft(host, container)
                leaders += status.leader
                if not (status.member and status.knows_leader):
                    problems.append(f"{container} on {host} is no member with a leader")
                if status.servers != len(self.nodes):
                    problems.append(f"{container} on {host} knows {status.servers} servers")
                if status.leader and status.heard != len(self.nodes) - 1:
                    problems.append(f"{container}: leader {host} hears of {status.heard} members")
            if leaders != 1:
                problems.append(f"{container} has {leaders} leaders")
        return problems

    def _vips(self) -> list[str]:
        holders = {side: self.vip_holders(side) for side in self.vips}
        return [f"{side} API address is on {hosts or 'no host'}" for side, hosts in holders.items() if len(hosts) != 1]

    def _haproxy(self) -> list[str]:
        return [
            f"haproxy on {host}: {backend}/{server} is {status}"
            for host in self.nodes
            for (backend, server), status in self.haproxy(host).items()
            if backend != "control" and not server.endswith(EARLIER) and status.split()[0] not in ("UP", "no")
        ]

    def _containers(self) -> list[str]:
        problems = []
        for host, node in self.nodes.items():
            for found in node.containers():
                status = found["Status"]
                name = found["Names"][0][1:]
                # the engine checks a new container for the first time after an interval, which may be long
                late = "starting)" in status and not node.passes_check(name)
                if found["State"] != "running" or "(unhealthy)" in status or late:
                    problems.append(f"container {name} on {host}: {status}")
        return problems

    def _ceph(self) -> list[str]:
        return ceph_problems(self.ceph(), self.monitors, self._osds)

    def _agents(self, api: Https, token: str, urls: Mapping[str, str]) -> list[str]:
        _, services = api("GET", f"{urls['compute']}/os-services", token, timeout=30)
        _, agents = api("GET", f"{urls['network']}/v2.0/agents", token, timeout=30)
        return (
            [f"{s['binary']} on {s['host']} is down" for s in services["services"] if s["state"] != "up"]
            + [f"{a['binary']} on {a['host']} is down" for a in agents["agents"] if not a["alive"]]
            + (self._cinder(api, token, urls) if self.cinder else [])
        )

    def _cinder(self, api: Https, token: str, urls: Mapping[str, str]) -> list[str]:
        _, answer = api("GET", f"{urls['block-storage']}/os-services", token, timeout=30)
        return cinder_problems(answer["services"], self.cinder)
