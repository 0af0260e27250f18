# SPDX-License-Identifier: Apache-2.0
"""A cluster that is not shipped: a directory with its description and its driver is all that the manager needs.

Its members are processes on loopback addresses. Verbs and recoveries are the real ones, from plan to record.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from scs_deploy import clusters
from scs_deploy.base.errors import RefusedError
from scs_deploy.cli import recover as cli
from scs_deploy.clusters.base import ClusterState
from scs_deploy.engine import access, connection, runner
from scs_deploy.images import registry
from scs_deploy.inventory.model import Inventory
from scs_deploy.operations.node import observe
from scs_deploy.operations.node import run as node_run
from scs_deploy.operations.node.plan import NodeOptions, NodePlan
from scs_deploy.operations.recover import run as recover_run
from scs_deploy.region import sources
from scs_deploy.region.region import Region
from scs_deploy.secrets import pki, vault
from scs_deploy.spec import catalog, drivers
from scs_deploy.spec.release import ImageSpec, Lock, LockedImage
from scs_deploy.state.runs import RunStore, Status
from tests.conftest import dummy_region
from tests.support import votes
from tests.support.loopback_hosts import Loopback
from tests.support.peer_hosts import LOOPBACK, eventually
from tests.unit.secrets.test_secrets import region as environment_in

SUPPORT = Path(votes.__file__).parent
PORT = 2479


@pytest.fixture
def offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution that offers the driver."""
    info = tmp_path / "site" / "votes-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: votes\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[scs.clusters]\nvotes = tests.support.services.votes.driver:Driver\n")
    monkeypatch.syspath_prepend(str(info.parent))


def region_of(folder: Path, *hosts: str) -> Region:
    shipped = dummy_region("testbed-ha")
    template = next(iter(shipped.inventory.hosts.values()))
    made = {}
    for number, name in enumerate(hosts, 1):
        address = ipaddress.ip_address(f"{LOOPBACK}.{number}")
        networks = {k: n.model_copy(update={"address": address}) for k, n in template.networks.items()}
        made[name] = template.model_copy(
            update={"name": name, "networks": networks, "groups": ("control",), "links": {}, "settings": {}}
        )
    environment = environment_in(folder)
    if not environment.ca_file.exists():
        vault.create_password(environment)
        pki.ensure(environment, {})
    for file in (environment.file, environment.lock_file):
        file.write_text("---\n")
    (folder / "inventory").mkdir(exist_ok=True)
    (folder / "inventory" / "hosts.yml").write_text("---\n" + "\n".join(f"{h}:" for h in hosts) + "\n")
    image = LockedImage(reference="scs/votes", digest=f"sha256:{1:064x}", size=1)
    return dataclasses.replace(
        shipped,
        environment=environment,
        catalog=catalog.load_from((("infrastructure", SUPPORT / "services"),)),
        release=shipped.release.model_copy(update={"images": {"votes": ImageSpec()}}),
        inventory=Inventory(hosts=made, groups={"control": tuple(made)}),
        load_secrets=lambda _e: {},
        load_lock=lambda _e: Lock(release=shipped.release.name, images={"votes": image}),
        inputs=sources.digests(environment),
    )


class Votes:
    """A region with votes on its hosts."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.patch = folder, monkeypatch
        self.region = region_of(folder, "a", "b", "c")
        self.hosts = Loopback(folder / "hosts", self.region, {"votes": Path(votes.__file__)})
        monkeypatch.setattr(runner, "run_playbook", self.hosts.run_playbook)
        # its hosts know plays only
        monkeypatch.setattr(connection, "of", lambda *_: None)
        monkeypatch.setattr(observe, "probe", self.hosts.probe)
        monkeypatch.setattr(registry, "missing", lambda *_: [])
        monkeypatch.setattr(Region, "load", lambda *_: self.region)
        for module in (access, recover_run):
            monkeypatch.setattr(module, "INTERVAL", 0.1)
        monkeypatch.setattr(recover_run, "SETTLE", 20.0)

    def begin(self, *members: str) -> None:
        """A cluster of members, with a value."""
        first, *others = members
        votes.save(self.data(first), votes.alone(first, self.url(first), {}))
        for member in (first, *others):
            self.apply(member)
            eventually(lambda: set(members[: members.index(member) + 1]) <= set(self.state().alive))  # noqa: B023
        self.put("colour", "green")

    def apply(self, host: str) -> None:
        """What a plan of the region would do there."""
        node = self.hosts.nodes[host]
        self.hosts._task(host, "scs.core.images", {"pull": ["votes"]})
        self.hosts._task(host, "scs.core.files", {"write": ["votes/ca.crt"]})
        action = "start" if "votes" in node.containers else "create"
        self.hosts._act(host, action, "votes", wait=True)

    def grow(self, *hosts: str) -> None:
        """The inventory gets further hosts, with empty disks."""
        before = self.hosts.nodes
        self.region = region_of(self.folder, *self.region.inventory.hosts, *hosts)
        self.hosts.region = self.region
        for host in hosts:
            before[host] = type(next(iter(before.values())))(engine=False)

    def state(self) -> ClusterState:
        (found,) = observe.observe(self.region).clusters
        return found

    def url(self, host: str) -> str:
        return f"http://{self.region.inventory.hosts[host].management}:{PORT}"

    def data(self, host: str) -> Path:
        return self.folder / "hosts" / host / "votes"

    def put(self, key: str, value: str) -> None:
        host = next(h for h, n in self.hosts.nodes.items() if "votes" in n.containers and n.containers["votes"].runs)
        votes.ask(self.url(host), "POST", "/values", {key: value})

    def kept(self, host: str) -> dict[str, str]:
        found: dict[str, str] = votes.read(self.data(host)).get("values", {})
        return found

    def node(self, verb: str, host: str, **options: bool) -> NodePlan:
        """`scs node VERB HOST --yes`."""
        request = node_run.NodeRequest(verb=verb, host=host, options=NodeOptions(**options))
        return node_run.NodeVerb(self.region, request).run().plan

    def recover(self, **options: Any) -> recover_run.Recovered:
        """`scs recover votes --yes`."""
        chosen = clusters.driver_class("votes").OPTIONS
        assert chosen
        request = recover_run.RecoverRequest(service="votes", options=options)
        return recover_run.Recover(self.region, request).run()

    def runs(self) -> list[tuple[str, Status]]:
        store = RunStore(self.region.environment.state / "runs.sqlite3")
        try:
            return [(r.command, r.status) for r in store.list()]
        finally:
            store.close()


@pytest.fixture
def region(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offered: None) -> Iterator[Votes]:
    made = Votes(tmp_path, monkeypatch)
    try:
        yield made
    finally:
        made.hosts.stop_all()


def test_a_driver_is_found_by_its_name(offered: None) -> None:
    assert drivers.known() == ["ceph", "galera", "haproxy", "keepalived", "rabbitmq", "raft", "votes"]
    assert clusters.driver_class("votes").__module__ == "tests.support.services.votes.driver"


def test_an_unknown_driver_is_refused_where_it_is_named() -> None:
    with pytest.raises(RefusedError) as error:
        catalog.load_from((("infrastructure", SUPPORT / "services"), ("storage", SUPPORT / "nothing")))
    spec = SUPPORT / "services" / "votes" / "service.yml"
    assert str(error.value).startswith(
        f"{spec}:5: cluster: no cluster driver 'votes' (there are: ceph, galera, haproxy,"
    )


def test_a_settings_error_names_file_and_key(region: Votes) -> None:
    service = region.region.catalog.services["votes"]
    assert service.cluster
    wrong = service.model_copy(update={"cluster": service.cluster.model_copy(update={"settings": {"port": "many"}})})
    with pytest.raises(RefusedError, match=r"service.yml:5: cluster.settings.port: "):
        clusters.of_service(region.region, wrong)


def test_members_leader_and_losses_are_seen(region: Votes) -> None:
    region.begin("a", "b", "c")
    state = region.state()
    assert (state.alive, state.leader, state.survives, state.trouble) == (("a", "b", "c"), "a", 1, [])
    region.hosts.die("b")
    eventually(lambda: region.state().trouble == ["Votes: not a working member on b"])
    assert region.state().survives == 0


def test_drain_has_another_member_lead_and_undrain_brings_the_host_back(region: Votes) -> None:
    region.begin("a", "b", "c")
    made = region.node("drain", "a")
    assert [s.title for s in made.steps] == ["hand over leadership of Votes to another member"]
    assert region.state().leader in ("b", "c")
    assert region.hosts.nodes["a"].drained
    region.node("undrain", "a")
    assert not region.hosts.nodes["a"].drained


def test_drain_of_a_member_that_the_others_need_is_refused(region: Votes) -> None:
    region.begin("a", "b", "c")
    region.hosts.die("c")
    eventually(lambda: region.state().survives == 0)
    with pytest.raises(RefusedError, match="Votes would have 1 of 3 members without a, but needs 2; already down: c"):
        region.node("drain", "a")
    assert region.state().leader == "a"


def test_replace_brings_a_host_back_as_another_member(region: Votes) -> None:
    region.begin("a", "b", "c")
    old = votes.read(region.data("b"))["id"]
    region.hosts.wipe("b")
    region.put("shape", "round")
    region.node("replace", "b")
    members = votes.ask(region.url("a"), "GET", "/status")["members"]
    assert old not in members
    assert sorted(members.values()) == ["a", "b", "c"]
    assert region.state().trouble == []
    eventually(lambda: region.kept("b") == {"colour": "green", "shape": "round"})
    assert region.runs() == [("scs node replace b", Status.DONE)]


def test_add_takes_a_third_member_in(region: Votes) -> None:
    region.region = region_of(region.folder, "a", "b")
    region.hosts.region = region.region
    region.begin("a", "b")
    region.grow("c")
    made = region.node("add", "c")
    assert [s.name for s in made.steps] == ["certificates", "bootstrap_all", "apply", "verify"]
    assert region.state().alive == ("a", "b", "c")
    assert region.state().survives == 1
    assert region.kept("c") == {"colour": "green"}


def test_remove_lets_a_member_leave_in_good_order(region: Votes) -> None:
    region.begin("a", "b", "c")
    with pytest.raises(RefusedError, match="Votes would have 2 members left, an even number"):
        region.node("remove", "c")
    region.node("remove", "c", force_quorum_loss=True, purge=True)
    assert sorted(votes.ask(region.url("a"), "GET", "/status")["members"].values()) == ["a", "b"]
    assert not region.data("c").exists()
    assert region.hosts.nodes["c"].containers == {}


def test_remove_forgets_a_member_that_died(region: Votes) -> None:
    region.begin("a", "b", "c")
    region.hosts.die("c")
    eventually(lambda: "c" not in region.state().alive)
    region.node("remove", "c", force_quorum_loss=True)
    assert sorted(votes.ask(region.url("a"), "GET", "/status")["members"].values()) == ["a", "b"]


def test_recover_starts_all_members_after_an_outage(region: Votes) -> None:
    region.begin("a", "b", "c")
    region.hosts.stop_all()
    done = region.recover()
    assert [(s.action, s.hosts) for s in done.found.steps] == [("start", ("a",)), ("start", ("b",)), ("start", ("c",))]
    assert region.state().trouble == []
    assert region.kept("a") == {"colour": "green"}
    assert region.recover().run == ""


def test_recover_goes_on_with_one_members_data_only_when_told(region: Votes) -> None:
    region.begin("a", "b", "c")
    for host in ("a", "b"):
        region.hosts.wipe(host)
        region.hosts.nodes[host].engine = True
    eventually(lambda: votes.ask(region.url("c"), "GET", "/status")["leader"] == "")
    with pytest.raises(RefusedError, match="1 of 3 members have data"):
        region.recover()
    region.recover(source="c")
    assert region.state().trouble == []
    eventually(lambda: region.kept("a") == region.kept("b") == {"colour": "green"})
    assert region.runs() == [("scs recover votes", Status.DONE)]


def test_recover_is_offered_for_it(region: Votes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "load", lambda: region.region.catalog)
    program = CliRunner()
    assert "votes" in program.invoke(cli.commands, ["--help"]).output
    help_text = program.invoke(cli.commands, ["votes", "--help"]).output
    assert "--from" in help_text
    assert "--without" in help_text
    region.begin("a", "b", "c")
    said = program.invoke(cli.commands, ["votes", "--plan", "--json"])
    assert json.loads(said.stdout)["healthy"] is True
