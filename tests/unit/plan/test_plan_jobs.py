# SPDX-License-Identifier: Apache-2.0
"""Jobs in a plan: which run, where, and which are recorded only."""

from __future__ import annotations

import json
from typing import Any

import pytest

from scs_deploy.desired.model import RunJob
from scs_deploy.plan.change import Change, Kind, Shared, SharedObject
from scs_deploy.plan.host import HostPlan, plan_host
from scs_deploy.plan.region import assemble
from scs_deploy.spec.container import Impact
from scs_deploy.spec.job import Phase
from tests.support.plan_parts import IMAGE, LOCK, desired, observed, seen


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
    one = plan_host(want, observed(seen(), **first), (), LOCK)
    two = plan_host(want.model_copy(update={"host": "n2"}), observed(seen(), **second), (), LOCK)
    found = assemble([one, two], [], {"web": 0}, frozenset({"web"}))
    assert [(c.host, c.reason) for c in found.changes] == expected


def test_a_job_that_creates_the_cluster_never_runs_in_one_that_some_host_knows() -> None:
    want = desired(jobs=(job(once=True),))

    def hosts(*records: dict[str, Any]) -> list[HostPlan]:
        wants = [want.model_copy(update={"host": f"n{i}"}) for i in range(1, len(records) + 1)]
        return [plan_host(w, observed(seen(), **r), (), LOCK) for w, r in zip(wants, records, strict=True)]

    def changes(*records: dict[str, Any]) -> list[tuple[str, tuple[str, ...]]]:
        found = assemble(hosts(*records), [], {"web": 0}, frozenset({"web"}))
        return [(c.host, c.witnesses) for c in found.changes]

    assert changes({}, {}, {}) == [("n1", ("n2", "n3"))]
    # the first host lost its disk, and the job is another one by now
    assert changes({}, done("h1"), done("h1")) == []


def test_a_new_schema_is_migrated_again() -> None:
    one = plan_host(desired(jobs=(job(),)), observed(seen(), **done("h2")), (), LOCK)
    schema = Change(
        kind=Kind.DATABASE,
        service="web",
        host="region",
        subject="mariadb schema web",
        reason="missing",
        creates=True,
        shared=SharedObject(server="mariadb", kind=Shared.SCHEMA, name="web"),
        phase=Phase.DATABASE,
        impact=Impact.CONTROL,
    )
    found = assemble([one], [schema], {"web": 0}, frozenset({"web"}))
    assert [(c.kind.value, c.reason) for c in found.changes] == [
        ("database", "missing"),
        ("job", "its database is new"),
    ]


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
    one = plan_host(want, observed(seen(), jobs={"web.sync": (record, 1.0)}), (), LOCK)
    two = plan_host(want.model_copy(update={"host": "n2"}), observed(seen()), (), LOCK)
    found = assemble([one, two], [], {"web": 0}, frozenset({"web"}))
    assert [(c.host, c.kind, c.subject, c.witnesses) for c in found.changes] == [("n1", kind, "web.sync", ("n2",))]
