# SPDX-License-Identifier: Apache-2.0
"""A release upgrade of the shipped three-node region, step by step, against upstream's order."""

from __future__ import annotations

import json
from functools import cache

from scs_deploy.desired import resolve
from scs_deploy.desired.model import DesiredHost
from scs_deploy.engine import playbook
from scs_deploy.observed.model import Observed, ObservedContainer
from scs_deploy.operations.upgrade import release as release_upgrade
from scs_deploy.plan.change import Change, Kind
from scs_deploy.plan.host import plan_host
from scs_deploy.plan.ordering import Ordering
from scs_deploy.plan.region import Plan, assemble
from scs_deploy.plan.rolling import Rolling
from scs_deploy.region.region import Region
from scs_deploy.spec.container import Impact
from scs_deploy.spec.job import Phase
from scs_deploy.spec.release import Lock
from tests.conftest import dummy_region

ALL = frozenset({Impact.DATA_PLANE})


@cache
def now() -> Region:
    return dummy_region("testbed-ha")


@cache
def then(series: str = "2026.1") -> Region:
    """The same region with other images."""
    region = dummy_region("testbed-ha")
    images = {
        n: i.model_copy(update={"digest": i.digest.replace("sha256:0", "sha256:f")})
        for n, i in region.lock.images.items()
    }
    region.__dict__["lock"] = Lock(release=series, images=images)
    region.__dict__["release"] = region.release.model_copy(update={"openstack": series})
    return region


def as_desired(desired: DesiredHost, forget: str = "") -> Observed:
    """A host that has all that it shall have.

    :param forget: a job that never ran
    """
    containers = {
        n: ObservedContainer(
            managed=True, image_id=r.image, image=r.image, status="running", started="2026-01-01T00:00:00Z",
            **{k: v for k, v in r.body.items() if k in ObservedContainer.model_fields},
        )
        for n, r in desired.containers.items()
    }  # fmt: skip
    return Observed(
        files={f.path: (f.sha256, f.mode, f.uid, f.gid, 0.0) for f in desired.files.values()},
        containers=containers,
        images={r.image: r.image for r in desired.containers.values()},
        jobs={n: (json.dumps({"hash": j.hash}), 0.0) for n, j in desired.jobs.items() if n != forget},
        volumes=sorted({v for r in desired.containers.values() for v in r.volumes}),
        free=10**12,
    )


def planned(
    target: Region, allow: frozenset[Impact] = ALL, hosts: frozenset[str] | None = None, forget: str = ""
) -> Plan:  # fmt: skip
    """The plan with which the region, as it is now, becomes as in `target`."""
    plans = [
        plan_host(resolve.resolve(target, h), as_desired(resolve.resolve(now(), h), forget), (), target.lock)
        for h in target.inventory.hosts
    ]
    catalog = target.catalog
    return assemble(
        plans, [], catalog.waves, frozenset(catalog.services), hosts, allow, Ordering.of(target)
    )  # fmt: skip


def steps(found: Plan, *services: str) -> list[str]:
    """What is done in the end, without where: each run of equal steps once."""
    result: list[str] = []
    for change in found.changes:
        if change.service in services and change.kind is not Kind.PULL:
            said = f"{change.kind.value} {change.subject}"
            if said not in result:
                result.append(said)
    return result


def test_a_region_that_is_as_desired_changes_nothing() -> None:
    assert planned(now()).empty


def test_the_order_within_and_between_the_services() -> None:
    openstack = ("keystone", "glance", "placement", "neutron", "nova")
    assert steps(planned(then()), *openstack) == [
        "job keystone.db_expand",
        "job keystone.fernet_setup", "job keystone.credential_setup", "job keystone.bootstrap",
        "replace keystone_fernet", "replace keystone",
        # these two share a wave
        "job glance.db_expand", "job glance.db_migrate",
        "job placement.db_sync", "job placement.upgrade_check",
        "replace glance_replica", "replace glance", "replace placement",
        "job placement.online_data_migrations",
        "job neutron.open_ovsdb_sockets", "job neutron.db_expand", "job neutron.offline_migrations",
        "replace neutron_api", "replace neutron_rpc", "replace neutron_periodic", "replace neutron_ovn_maintenance",
        "replace neutron_metadata_agent",
        "job nova.api_db_sync", "job nova.cells", "job nova.db_sync", "job nova.upgrade_check",
        "replace nova_conductor",
        "replace nova_scheduler", "replace nova_novncproxy",
        "replace nova_api", "replace nova_metadata",
        "replace nova_libvirt", "replace nova_compute",
        "restart nova_conductor", "restart nova_scheduler", "restart nova_metadata", "restart nova_api",
        "restart nova_compute",
        # Neutron's agent is new by now, too
        "job nova.close_ovsdb_port",
        "record nova.version_pins",
        "job nova.online_data_migrations", "job nova.discover_hosts",
        # the way back ends here
        "job keystone.db_contract", "job glance.db_contract", "job neutron.db_contract",
    ]  # fmt: skip


def test_infrastructure_comes_before_and_each_cluster_ends_its_upgrade() -> None:
    found = planned(then())
    assert steps(found, "rabbitmq") == ["replace rabbitmq", "job rabbitmq.feature_flags"]
    assert steps(found, "mariadb") == ["replace mariadb", "replace mariadb_check", "job mariadb.upgrade"]
    assert steps(found, "ovn") == [
        "replace ovn_sb_relay", "replace ovn_controller", "replace ovn_nb", "replace ovn_sb", "replace ovn_northd",
        "job ovn.upgrade_nb", "job ovn.upgrade_sb",
    ]  # fmt: skip
    places = {c.service: i for i, c in enumerate(found.changes) if c.phase is Phase.ROLL}
    first = next(i for i, c in enumerate(found.changes) if c.service == "keystone" and c.phase is Phase.MIGRATE)
    assert max(places[s] for s in ("rabbitmq", "mariadb", "memcached", "haproxy", "ovn", "openvswitch")) < first


def test_every_host_has_the_conductor_before_any_has_the_api_and_one_after_the_other() -> None:
    target = then()
    found = playbook.plays(planned(target), target.catalog.waves, Rolling.of(target), Ordering.of(target))
    plays = playbook.render(found)
    rolls = [(p["hosts"], t["name"]) for p in plays if p["name"] == "roll: nova" for t in p["tasks"]]
    names = list(then().inventory.hosts)
    assert rolls == [
        (h, f"{verb} {what}")
        for verb, what in (
            ("Replace", "nova_conductor"), ("Replace", "nova_scheduler, nova_novncproxy"),
            ("Replace", "nova_api, nova_metadata"), ("Replace", "nova_libvirt, nova_compute"),
            ("Restart", "nova_conductor, nova_scheduler, nova_metadata, nova_api, nova_compute"),
        )
        for h in names
    ]  # fmt: skip
    api = [i for i, p in enumerate(plays) if any("nova_api" in t["name"] for t in p["tasks"])]
    assert all(plays[i - 1]["name"] == "drain: nova" and plays[i + 1]["name"] == "use: nova" for i in api)


def test_new_images_of_the_same_release_lift_no_pins() -> None:
    found = steps(planned(then(now().release.openstack)), "nova")
    assert "replace nova_compute" in found
    assert [s for s in found if "version_pins" in s or s.startswith("restart")] == []


def test_a_region_that_knows_no_earlier_release_restarts_nothing() -> None:
    assert steps(planned(now(), forget="nova.version_pins"), "nova") == ["record nova.version_pins"]


def test_without_consent_what_must_come_after_waits_too() -> None:
    found = planned(then(), frozenset())
    assert steps(found, "ovn", "openvswitch", "nova") == []
    assert steps(found, "keystone")[-1] == "job keystone.db_contract"
    waiting = {c.subject for c in found.held}
    assert {"ovn_northd", "ovn.upgrade_sb", "nova.version_pins", "nova.online_data_migrations"} <= waiting


def test_one_host_alone_ends_no_upgrade() -> None:
    found = planned(then(), hosts=frozenset({"ha-1"}))
    done = {c.subject for c in found.changes}
    assert {"keystone", "nova_compute", "keystone.db_expand", "nova.db_sync"} <= done
    assert done.isdisjoint(
        {"keystone.db_contract", "nova.version_pins", "nova.online_data_migrations", "mariadb.upgrade"}
    )
    assert not [c for c in found.changes if c.kind is Kind.RESTART]


def change(
    host: str, subject: str, kind: Kind = Kind.REPLACE, phase: Phase = Phase.ROLL, service: str = "ovn"
) -> Change:
    return Change(
        kind=kind, service=service, host=host, subject=subject, reason="", phase=phase, impact=Impact.CONTROL
    )  # fmt: skip


def test_central_waits_for_controllers_of_other_hosts_but_not_for_their_files() -> None:
    ordered = Ordering.of(now())
    central, compute = change("control-1", "ovn_northd"), change("compute-1", "ovn_controller")
    held = frozenset({("compute-1", "ovn")})
    assert ordered.waiting([central, compute], held) == held | {("control-1", "ovn")}
    # a file that restarts the controller has nothing to do with versions
    restart = change("compute-1", "ovn_controller", Kind.RESTART)
    assert ordered.waiting([central, restart], held) == held
    # nothing runs on a schema that was not migrated, because that was to happen on a host which waits
    migration = change("control-1", "nova.db_sync", Kind.JOB, Phase.MIGRATE, "nova")
    conductor = change("control-2", "nova_conductor", service="nova")
    one = frozenset({("control-1", "nova")})
    assert ordered.waiting([migration, conductor], one) == one | {("control-2", "nova")}
    # control services need not wait for computes
    computes = frozenset({("compute-1", "nova")})
    changes = [change("compute-1", "nova_libvirt", service="nova"), change("control-1", "nova_api", service="nova")]
    assert ordered.waiting(changes, computes) == computes


def test_each_services_own_checks_are_asked_with_the_new_images() -> None:
    assert release_upgrade.preflight_jobs(now()) == {
        "ha-1": (
            ["barbican_api", "placement", "cinder_scheduler", "neutron_api", "nova_conductor"],
            [
                "barbican.upgrade_check",
                "placement.upgrade_check",
                "cinder.upgrade_check",
                "neutron.offline_migrations",
                "nova.upgrade_check",
            ],
        )
    }


def test_what_a_restart_needs_is_created_on_every_host_before() -> None:
    """A host without the relay would have controllers of other hosts wait for it, and those begin."""
    target = now()
    ordering, waves = Ordering.of(target), target.catalog.waves
    restarts = [change(h, "ovn_controller", Kind.RESTART) for h in ("ha-1", "ha-2", "ha-3")]
    relays = [change(h, "ovn_sb_relay", Kind.CREATE) for h in ("ha-2", "ha-3")]
    found = assemble((), [*restarts, *relays], waves, frozenset(waves), ordering=ordering)
    assert [c.subject for c in found.changes] == ["ovn_sb_relay"] * 2 + ["ovn_controller"] * 3
    plays = playbook.plays(found, waves, Rolling.of(target), ordering)
    said = [c.subject for p in plays for t in p.tasks for c in t.changes]
    assert "ovn_sb_relay" not in said[said.index("ovn_controller") :]


def test_without_consent_the_users_of_what_does_not_exist_yet_wait() -> None:
    """The metadata agent is told to use the relay, which is created when its host's controller may restart."""
    held = frozenset({("control-1", "ovn")})
    relay = change("control-1", "ovn_sb_relay", Kind.CREATE)
    agent = change("compute-1", "neutron_metadata_agent", Kind.RESTART, service="neutron")
    assert Ordering.of(now()).waiting([relay, agent], held) == held | {("compute-1", "neutron")}
    assert Ordering.of(now()).waiting([agent], held) == held
