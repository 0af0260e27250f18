# SPDX-License-Identifier: Apache-2.0
"""From one observed state to the changes a user sees: each case is (desired, observed) -> (kind, subject, reason)."""

from __future__ import annotations

from typing import Any

import pytest

from scs_deploy.base.errors import RefusedError
from scs_deploy.desired.model import DesiredHost, RunContainer
from scs_deploy.plan.change import Change, Kind
from scs_deploy.plan.host import HostPlan, plan_host
from scs_deploy.plan.region import assemble
from scs_deploy.spec.container import Impact, Reload
from scs_deploy.spec.job import Phase
from tests.support.plan_parts import LOCK, TEXT, body, container, desired, observed, seen, sha


def changed(text: str, mtime: float = 50.0) -> dict[str, Any]:
    path = "/etc/scs/web/web.conf"
    return {"files": {path: (sha(text), "0640", 0, 7, mtime)}, "texts": {path: text}}


LEAF, CA = "tls/host.crt", "ca.crt"
FLUSH = Reload(command=("flush",), only="tls")


def with_files(run: RunContainer, *names: str) -> DesiredHost:
    """A host whose container reads these files, all with the same text."""
    paths = {name: f"/etc/scs/web/{name}" for name in names}
    one = desired().files["/etc/scs/web/web.conf"]
    files = {p: one.model_copy(update={"path": p, "name": n, "format": "text"}) for n, p in paths.items()}
    run = run.model_copy(update={"files": tuple(paths.values())})
    return DesiredHost(host="n1", containers={"web": run}, files=files, jobs={})


def same_files(*names: str, mtime: float = 50.0) -> dict[str, Any]:
    return {f"/etc/scs/web/{n}": (sha(TEXT), "0640", 0, 7, mtime) for n in names}


def old_files(*names: str) -> dict[str, Any]:
    return {f"/etc/scs/web/{n}": (sha("old"), "0640", 0, 7, 50.0) for n in names}


def new_files(*names: str) -> list[tuple[str, str, str]]:
    return [("file", f"web/{n}", "lines +2 -0") for n in names]


CASES = {
    "as desired": (desired(), observed(seen()), []),
    "new host": (
        desired(),
        observed(None, files={}, images={}),
        [
            ("file", "web/web.conf", "new file"),
            ("pull", "web", "image sha256:aaaaaaaa is not on the host"),
            ("create", "web", "missing"),
        ],
    ),
    "removed by hand": (desired(), observed(None), [("create", "web", "missing")]),
    "killed": (desired(), observed(seen(status="exited", exit_code=137)), [("start", "web", "exited with code 137")]),
    "stopped by the operator": (
        desired(),
        observed(seen(status="exited"), stopped=["web"]),
        [("start", "web", "stopped with `scs stop`")],
    ),
    "another image id under the same reference": (
        desired(),
        observed(seen(image_id="sha256:other")),
        [("replace", "web", "image sha256:aaaaaaaa -> sha256:aaaaaaaa")],
    ),
    "a capability too many": (
        desired(),
        observed(seen(HostConfig={**body()["HostConfig"], "CapAdd": ["NET_RAW", "SYS_ADMIN"]})),
        [("replace", "web", "capabilities -SYS_ADMIN")],
    ),
    "an environment variable is gone": (desired(), observed(seen(Env=[])), [("replace", "web", "environment A")]),
    "edited by hand": (
        desired(),
        observed(seen(), **changed("[web]\nport = 81\n")),
        [("file", "web/web.conf", "[web] port 81 -> 80"), ("restart", "web", "web.conf: [web] port 81 -> 80")],
    ),
    "reloadable": (
        desired(container(reload=Reload(signal="SIGHUP"))),
        observed(seen(), **changed("[web]\nport = 81\n")),
        [("file", "web/web.conf", "[web] port 81 -> 80"), ("reload", "web", "web.conf: [web] port 81 -> 80")],
    ),
    "interrupted between writing and restarting": (
        desired(),
        observed(seen(), **changed(TEXT, mtime=101.0)),
        [("restart", "web", "web.conf newer than the running process")],
    ),
    "reloaded since": (
        desired(container(reload=Reload(signal="SIGHUP"))),
        observed(seen(), **changed(TEXT, mtime=101.0), reloads={"web": 102.0}),
        [],
    ),
    "new certificates, which it takes by a command": (
        with_files(container(reload=FLUSH), LEAF, CA),
        observed(seen(), files=old_files(LEAF, CA)),
        [*new_files(LEAF, CA), ("reload", "web", "tls/host.crt: lines +2 -0; ca.crt: lines +2 -0")],
    ),
    "new certificates beside new configuration": (
        with_files(container(reload=FLUSH), LEAF, "web.conf"),
        observed(seen(), files=old_files(LEAF, "web.conf")),
        [*new_files(LEAF, "web.conf"), ("restart", "web", "tls/host.crt: lines +2 -0; web.conf: lines +2 -0")],
    ),
    "a new certificate that it looks for itself": (
        with_files(container(reload=Reload(itself=True, only="leaf")), LEAF),
        observed(seen(), files=old_files(LEAF)),
        new_files(LEAF),
    ),
    "a new CA that it reads once": (
        with_files(container(reload=Reload(itself=True, only="leaf")), LEAF, CA),
        observed(seen(), files=old_files(LEAF, CA)),
        [*new_files(LEAF, CA), ("restart", "web", "ca.crt: lines +2 -0")],
    ),
    "a certificate written, and not taken before the run was interrupted": (
        with_files(container(reload=FLUSH), LEAF),
        observed(seen(), files=same_files(LEAF, mtime=101.0)),
        [("reload", "web", "host.crt newer than the running process")],
    ),
    "configuration restarted by hand after a reload of certificates": (
        with_files(container(reload=FLUSH), "web.conf"),
        observed(seen(), files=same_files("web.conf", mtime=101.0), reloads={"web": 102.0}),
        [("restart", "web", "web.conf newer than the running process")],
    ),
    "a file that each command reads": (
        with_files(container(live=("web.conf",)), "web.conf"),
        observed(seen(), files=old_files("web.conf")),
        new_files("web.conf"),
    ),
    "mode changed by hand": (
        desired(),
        observed(seen(), files={"/etc/scs/web/web.conf": (sha(TEXT), "0644", 0, 7, 50.0)}),
        [("file", "web/web.conf", "mode 0644 0:7 -> 0640 0:7")],
    ),
    "left over": (
        DesiredHost(host="n1", containers={}, files={}, jobs={}),
        observed(seen()),
        [
            ("delete", "web/web.conf", "no container reads it"),
            ("remove", "web", "not in the catalog for this host"),
        ],
    ),
    "replaced by a run that was interrupted": (
        desired(),
        observed(seen(), containers={"web": seen(), "web_leaving": seen()}),
        [("remove", "web_leaving", "an interrupted run replaced it by web")],
    ),
    "about to be replaced by a run that was interrupted": (
        desired(),
        observed(None, containers={"web_leaving": seen()}, listening=[("10.0.0.1", 80)]),
        [("create", "web", "missing")],
    ),
    "somebody else's container": (
        desired(),
        observed(seen(), containers={"web": seen(), "x": seen(managed=False)}),
        [],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_host_plan(name: str) -> None:
    want, have, expected = CASES[name]
    found = plan_host(want, have, (), LOCK)
    assert [(c.kind.value, c.subject, c.reason) for c in found.changes] == expected
    assert not found.refusals


def test_a_new_container_that_the_packet_filter_would_cut_off_is_refused() -> None:
    wanted = desired().model_copy(update={"lets_in": ("tcp dport 22 accept", "tcp dport 80 accept")})

    def refusals(loaded: list[str] | None) -> tuple[str, ...]:
        return plan_host(wanted, observed(None, firewall=loaded), (), LOCK).refusals

    assert refusals(["tcp dport 22 accept"]) == (
        "host n1: its packet filter does not let in what its services need (1 rule): run `scs bootstrap` first",
    )
    assert refusals(["tcp dport 80 accept", "tcp dport 22 accept", "tcp dport 99 accept"]) == ()
    # a host from before the packet filter
    assert refusals(None) == ()


def test_a_taken_port_and_a_full_disk_are_refused() -> None:
    port = plan_host(desired(), observed(None, listening=[("10.0.0.1", 80)]), (), LOCK)
    disk = plan_host(desired(), observed(None, images={}, free=10**8), (), LOCK)
    with pytest.raises(RefusedError, match=r"host n1: port 80 on 10\.0\.0\.1, which web needs, is taken"):
        assemble([port], [], {"web": 0}, frozenset({"web"}))
    with pytest.raises(RefusedError, match=r"host n1: 1\.0 GB of images to pull, 0\.1 GB free"):
        assemble([disk], [], {"web": 0}, frozenset({"web"}))


def test_a_disk_that_holds_data_is_refused_before_its_container_is_made() -> None:
    wanted = desired(container(disks={"/dev/sdb": "fast"}))
    foreign = {"/dev/sdb": {"signatures": ["gpt", "ceph_bluestore"], "cluster": "other", "osd": "3"}}

    def refusals(seen_container: Any, *secrets: str) -> tuple[str, ...]:
        return plan_host(wanted, observed(seen_container, disks=foreign), secrets, LOCK).refusals

    assert refusals(None) == (
        "host n1: disk fast: /dev/sdb holds a partition table (gpt), a BlueStore of osd.3 of cluster other: erase it "
        "there if nobody needs that, or choose another disk in the inventory",
    )
    assert refusals(None, "other") == (), "an OSD of this region's own cluster"
    assert refusals(seen()) == (), "it is used already"


def test_the_container_of_a_disk_that_left_the_inventory_goes_with_consent_only() -> None:
    one = seen(Labels={"scs.container": "store_a", "scs.layer": "storage", "scs.for_each": "store"})
    have = observed(seen())
    have = have.model_copy(update={"containers": {**have.containers, "store_a": one}})
    gone = next(c for c in plan_host(desired(), have, (), LOCK).changes if c.kind is Kind.REMOVE)
    assert (gone.subject, gone.impact) == ("store_a", Impact.DATA_PLANE)
    assert gone.reason == "its disk is not in the inventory any more"


def test_the_data_plane_waits_for_consent_and_creation_does_not() -> None:
    restart = plan_host(
        desired(container(impact=Impact.DATA_PLANE)), observed(seen(), **changed(TEXT, mtime=101.0)), (), LOCK
    )
    create = plan_host(desired(container(impact=Impact.DATA_PLANE)), observed(None), (), LOCK)
    services = frozenset({"web"})
    assert [c.kind for c in assemble([restart], [], {"web": 0}, services).held] == [Kind.RESTART]
    allowed = assemble([restart], [], {"web": 0}, services, allow=frozenset({Impact.DATA_PLANE}))
    assert [c.kind for c in allowed.changes] == [Kind.RESTART]
    assert [c.kind for c in assemble([create], [], {"web": 0}, services).changes] == [Kind.CREATE]


def test_changes_come_in_waves_and_phases_and_selection_limits_them() -> None:
    def change(service: str, phase: Phase, kind: Kind, host: str = "n1") -> Change:
        return Change(
            kind=kind,
            service=service,
            host=host,
            subject=f"{service}-{kind}",
            reason="r",
            phase=phase,
            impact=Impact.API,
        )

    mixed = HostPlan(
        host="n1",
        changes=(
            change("api", Phase.ROLL, Kind.CREATE),
            change("api", Phase.CONFIG, Kind.FILE),
            change("db", Phase.ROLL, Kind.CREATE),
            change("api", Phase.PULL, Kind.PULL),
            change("db", Phase.CONFIG, Kind.FILE),
        ),
    )
    waves = {"db": 0, "api": 1}
    ordered = assemble([mixed], [], waves, frozenset(waves)).changes
    assert [c.subject for c in ordered] == ["api-pull", "db-file", "db-create", "api-file", "api-create"]
    assert {c.service for c in assemble([mixed], [], waves, frozenset({"db"})).changes} == {"db"}
    assert not assemble([mixed], [], waves, frozenset(waves), frozenset({"n2"})).changes
