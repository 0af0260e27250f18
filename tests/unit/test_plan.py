# SPDX-License-Identifier: Apache-2.0
"""From one observed state to the changes a user sees: each case is (desired, observed) -> (kind, subject, reason)."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from scs_deploy import plan
from scs_deploy.change import Change, Kind
from scs_deploy.errors import RefusedError
from scs_deploy.observed import Observed, ObservedContainer
from scs_deploy.release import Lock, LockedImage
from scs_deploy.resolve import DesiredHost, File, RunContainer, RunJob
from scs_deploy.service import Impact, Phase

DIGEST = "sha256:" + "a" * 64
IMAGE = f"reg:5000/scs/web@{DIGEST}"
LOCK = Lock(release="r", images={"web": LockedImage(reference="scs/web", digest=DIGEST, size=10**9)})
TEXT = "[web]\nport = 80\n"


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def body(**changes: Any) -> dict[str, Any]:
    host = {
        "NetworkMode": "host",
        "Binds": ["/etc/scs/web/web.conf:/etc/web/web.conf:ro"],
        "Tmpfs": {},
        "CapAdd": ["NET_RAW"],
        "CapDrop": ["ALL"],
        "SecurityOpt": [],
        "PidMode": "",
        "CgroupnsMode": "private",
        "Devices": [],
        "RestartPolicy": {"Name": "unless-stopped"},
        "Privileged": False,
    }
    return {
        "Image": IMAGE,
        "Cmd": ["web"],
        "User": "web",
        "Env": ["A=1"],
        "Labels": {"scs.spec": "s1"},
        "StopSignal": "SIGTERM",
        "StopTimeout": 30,
        "HostConfig": host,
        **changes,
    }


def container(**changes: Any) -> RunContainer:
    values: dict[str, Any] = {
        "name": "web",
        "service": "web",
        "image": IMAGE,
        "body": body(),
        "files": ("/etc/scs/web/web.conf",),
        "health": None,
        "health_timeout": 1,
        "reload_signal": None,
        "reload_command": None,
        "volumes": {},
        "directories": {},
        "address": "10.0.0.1",
        "ports": (80,),
        "impact": Impact.API,
        **changes,
    }
    return RunContainer(**values)


def desired(run: RunContainer | None = None, jobs: tuple[RunJob, ...] = ()) -> DesiredHost:
    file = File(
        path="/etc/scs/web/web.conf",
        content=TEXT,
        sha256=sha(TEXT),
        mode="0640",
        uid=0,
        gid=7,
        service="web",
        container="web",
        name="web.conf",
        format="ini",
    )
    return DesiredHost(
        host="n1", containers={"web": run or container()}, files={file.path: file}, jobs={j.name: j for j in jobs}
    )


def seen(**changes: Any) -> ObservedContainer:
    right = body()
    host = {**right["HostConfig"], "CapAdd": ["CAP_NET_RAW"]}
    values: dict[str, Any] = {
        "managed": True,
        "image_id": "sha256:id",
        "image": IMAGE,
        "Cmd": ["web"],
        "User": "web",
        "Env": ["PATH=/bin", "A=1"],
        "Labels": {"scs.spec": "s1", "scs.service": "web"},
        "StopSignal": "SIGTERM",
        "StopTimeout": 30,
        "HostConfig": host,
        "status": "running",
        "exit_code": 0,
        "started": "1970-01-01T00:01:40.5Z",
        **changes,
    }
    return ObservedContainer(**values)


def observed(run: ObservedContainer | None, **changes: Any) -> Observed:
    values: dict[str, Any] = {
        "files": {"/etc/scs/web/web.conf": (sha(TEXT), "0640", 0, 7, 50.0)},
        "containers": {"web": run} if run else {},
        "images": {IMAGE: "sha256:id"},
        "free": 10**12,
        **changes,
    }
    return Observed(**values)


def changed(text: str, mtime: float = 50.0) -> dict[str, Any]:
    path = "/etc/scs/web/web.conf"
    return {"files": {path: (sha(text), "0640", 0, 7, mtime)}, "texts": {path: text}}


LEAF, CA = "tls/host.crt", "ca.crt"


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
        desired(container(reload_signal="SIGHUP")),
        observed(seen(), **changed("[web]\nport = 81\n")),
        [("file", "web/web.conf", "[web] port 81 -> 80"), ("reload", "web", "web.conf: [web] port 81 -> 80")],
    ),
    "interrupted between writing and restarting": (
        desired(),
        observed(seen(), **changed(TEXT, mtime=101.0)),
        [("restart", "web", "web.conf newer than the running process")],
    ),
    "reloaded since": (
        desired(container(reload_signal="SIGHUP")),
        observed(seen(), **changed(TEXT, mtime=101.0), reloads={"web": 102.0}),
        [],
    ),
    "new certificates, which it takes by a command": (
        with_files(container(reload_command=("flush",), reload_only="tls"), LEAF, CA),
        observed(seen(), files=old_files(LEAF, CA)),
        [*new_files(LEAF, CA), ("reload", "web", "tls/host.crt: lines +2 -0; ca.crt: lines +2 -0")],
    ),
    "new certificates beside new configuration": (
        with_files(container(reload_command=("flush",), reload_only="tls"), LEAF, "web.conf"),
        observed(seen(), files=old_files(LEAF, "web.conf")),
        [*new_files(LEAF, "web.conf"), ("restart", "web", "tls/host.crt: lines +2 -0; web.conf: lines +2 -0")],
    ),
    "a new certificate that it looks for itself": (
        with_files(container(reload_itself=True, reload_only="leaf"), LEAF),
        observed(seen(), files=old_files(LEAF)),
        new_files(LEAF),
    ),
    "a new CA that it reads once": (
        with_files(container(reload_itself=True, reload_only="leaf"), LEAF, CA),
        observed(seen(), files=old_files(LEAF, CA)),
        [*new_files(LEAF, CA), ("restart", "web", "ca.crt: lines +2 -0")],
    ),
    "a certificate written, and not taken before the run was interrupted": (
        with_files(container(reload_command=("flush",), reload_only="tls"), LEAF),
        observed(seen(), files=same_files(LEAF, mtime=101.0)),
        [("reload", "web", "host.crt newer than the running process")],
    ),
    "configuration restarted by hand after a reload of certificates": (
        with_files(container(reload_command=("flush",), reload_only="tls"), "web.conf"),
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
            ("file", "web/web.conf", "no container reads it any more"),
            ("remove", "web", "not in the catalog for this host"),
        ],
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
    found = plan.host_plan(want, have, (), LOCK)
    assert [(c.kind.value, c.subject, c.reason) for c in found.changes] == expected
    assert not found.refusals


def test_a_taken_port_and_a_full_disk_are_refused() -> None:
    port = plan.host_plan(desired(), observed(None, listening=[("10.0.0.1", 80)]), (), LOCK)
    disk = plan.host_plan(desired(), observed(None, images={}, free=10**8), (), LOCK)
    with pytest.raises(RefusedError, match=r"host n1: port 80 on 10\.0\.0\.1, which web needs, is taken"):
        plan.assemble([port], [], {"web": 0}, frozenset({"web"}))
    with pytest.raises(RefusedError, match=r"host n1: 1\.0 GB of images to pull, 0\.1 GB free"):
        plan.assemble([disk], [], {"web": 0}, frozenset({"web"}))


def job(each: str = "cluster", once: bool = False, schema_change: bool = False) -> RunJob:
    return RunJob(
        name="web.sync",
        service="web",
        phase=Phase.MIGRATE,
        each=each,
        once=once,
        schema_change=schema_change,
        container="web",
        image=IMAGE,
        body={},
        volumes={},
        directories={},
        hash="h2",
        timeout=1,
    )


def done(digest: str) -> dict[str, Any]:
    return {"jobs": {"web.sync": (f'{{"hash": "{digest}"}}', 0.0)}}


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({}, {}, [("n1", "has not run yet")]),
        (done("h1"), {}, [("n1", "its image or command changed")]),
        ({}, done("h2"), []),
        (done("h1"), done("h2"), []),
    ],
)
def test_a_cluster_job_runs_once(
    first: dict[str, Any], second: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    want = desired(jobs=(job(),))
    one = plan.host_plan(want, observed(seen(), **first), (), LOCK)
    two = plan.host_plan(want.model_copy(update={"host": "n2"}), observed(seen(), **second), (), LOCK)
    found = plan.assemble([one, two], [], {"web": 0}, frozenset({"web"}))
    assert [(c.host, c.reason) for c in found.changes] == expected


def test_a_job_that_creates_the_cluster_never_runs_in_one_that_some_host_knows() -> None:
    want = desired(jobs=(job(once=True),))

    def hosts(*records: dict[str, Any]) -> list[plan.HostPlan]:
        wants = [want.model_copy(update={"host": f"n{i}"}) for i in range(1, len(records) + 1)]
        return [plan.host_plan(w, observed(seen(), **r), (), LOCK) for w, r in zip(wants, records, strict=True)]

    def changes(*records: dict[str, Any]) -> list[tuple[str, tuple[str, ...]]]:
        found = plan.assemble(hosts(*records), [], {"web": 0}, frozenset({"web"}))
        return [(c.host, c.witnesses) for c in found.changes]

    assert changes({}, {}, {}) == [("n1", ("n2", "n3"))]
    # the first host lost its disk, and the job is another one by now
    assert changes({}, done("h1"), done("h1")) == []


def test_a_new_schema_is_migrated_again() -> None:
    one = plan.host_plan(desired(jobs=(job(),)), observed(seen(), **done("h2")), (), LOCK)
    schema = Change(
        kind=Kind.DATABASE,
        service="web",
        host="region",
        subject="schema web",
        reason="missing",
        phase=Phase.DATABASE,
        impact=Impact.CONTROL,
    )
    found = plan.assemble([one], [schema], {"web": 0}, frozenset({"web"}))
    assert [(c.kind.value, c.reason) for c in found.changes] == [
        ("database", "missing"),
        ("job", "its database is new"),
    ]


def test_the_data_plane_waits_for_consent_and_creation_does_not() -> None:
    restart = plan.host_plan(
        desired(container(impact=Impact.DATA_PLANE)), observed(seen(), **changed(TEXT, mtime=101.0)), (), LOCK
    )
    create = plan.host_plan(desired(container(impact=Impact.DATA_PLANE)), observed(None), (), LOCK)
    services = frozenset({"web"})
    assert [c.kind for c in plan.assemble([restart], [], {"web": 0}, services).held] == [Kind.RESTART]
    allowed = plan.assemble([restart], [], {"web": 0}, services, allow=frozenset({Impact.DATA_PLANE}))
    assert [c.kind for c in allowed.changes] == [Kind.RESTART]
    assert [c.kind for c in plan.assemble([create], [], {"web": 0}, services).changes] == [Kind.CREATE]


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

    mixed = plan.HostPlan(
        host="n1",
        changes=(
            change("api", Phase.ROLL, Kind.CREATE),
            change("api", Phase.CONFIG, Kind.FILE),
            change("db", Phase.ROLL, Kind.CREATE),
            change("api", Phase.PULL, Kind.PULL),
            change("db", Phase.CONFIG, Kind.FILE),
        ),
        cluster_jobs={},
        phases={},
    )
    waves = {"db": 0, "api": 1}
    ordered = plan.assemble([mixed], [], waves, frozenset(waves)).changes
    assert [c.subject for c in ordered] == ["api-pull", "db-file", "db-create", "api-file", "api-create"]
    assert {c.service for c in plan.assemble([mixed], [], waves, frozenset({"db"})).changes} == {"db"}
    assert not plan.assemble([mixed], [], waves, frozenset(waves), frozenset({"n2"})).changes


@pytest.mark.parametrize(
    ("last", "succeeded", "kind"),
    [
        ("h3", ["h2", "h3"], Kind.RECORD),  # back from a later image, whose schema stays
        ("h1", ["h1", "h2"], Kind.JOB),  # forward again
        ("h1", ["h1"], Kind.JOB),
        ("h1", None, Kind.JOB),  # as an earlier scs recorded it
    ],
)
def test_an_earlier_image_does_not_migrate_a_later_schema(last: str, succeeded: list[str] | None, kind: Kind) -> None:
    record = json.dumps({"hash": last} | ({"succeeded": succeeded} if succeeded else {}))
    want = desired(jobs=(job(schema_change=True),))
    one = plan.host_plan(want, observed(seen(), jobs={"web.sync": (record, 1.0)}), (), LOCK)
    two = plan.host_plan(want.model_copy(update={"host": "n2"}), observed(seen()), (), LOCK)
    found = plan.assemble([one, two], [], {"web": 0}, frozenset({"web"}))
    assert [(c.host, c.kind, c.subject, c.witnesses) for c in found.changes] == [("n1", kind, "web.sync", ("n2",))]
