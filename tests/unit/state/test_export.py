# SPDX-License-Identifier: Apache-2.0
"""Records of runs for other tools: every line is JSON; a run is a trace with the same ids each time."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from scs_deploy.base.errors import ScsError
from scs_deploy.state import export
from scs_deploy.state.runs import Run, RunStore, Step


@pytest.fixture
def records(tmp_path: Path) -> list[tuple[Run, list[Step]]]:
    with RunStore(tmp_path / "runs.sqlite3") as store:
        with store.start("scs apply nova", changes_total=2).recording() as record:
            record.step_finished(
                record.step_started("Create nova_api", phase="roll", host="control-1", subject="nova_api"), "done"
            )
        with pytest.raises(ScsError), store.start("scs apply glance").recording() as record:
            record.step_started("Create glance_api", phase="roll", host="control-2")
            raise ScsError("glance_api is not healthy")
        store.start("scs apply keystone")
        return [(run, store.steps(run.id)) for run in store.list()[::-1]]


def test_lines(records: list[tuple[Run, list[Step]]]) -> None:
    rows = [json.loads(line) for line in export.lines(records)]
    assert [(r["kind"], r.get("command") or r["task"]) for r in rows] == [
        ("run", "scs apply nova"), ("step", "Create nova_api"), ("run", "scs apply glance"),
        ("step", "Create glance_api"), ("run", "scs apply keystone"),
    ]  # fmt: skip
    assert rows[1]["run"] == rows[0]["id"]


def values(attributes: list[dict[str, Any]]) -> dict[str, Any]:
    return {a["key"]: next(iter(a["value"].values())) for a in attributes}


def test_traces(records: list[tuple[Run, list[Step]]]) -> None:
    found = export.traces("region-one", records)
    # the run that goes on has no end yet
    nova, glance = found["resourceSpans"]
    assert values(nova["resource"]["attributes"])["deployment.environment.name"] == "region-one"
    root, step = nova["scopeSpans"][0]["spans"]
    assert (root["name"], step["name"]) == ("scs apply nova", "roll: Create nova_api")
    assert (step["traceId"], step["parentSpanId"]) == (root["traceId"], root["spanId"])
    assert "parentSpanId" not in root
    for span in (root, step):
        assert re.fullmatch("[0-9a-f]{32}", span["traceId"])
        assert re.fullmatch("[0-9a-f]{16}", span["spanId"])
    assert root["startTimeUnixNano"] <= step["startTimeUnixNano"] <= step["endTimeUnixNano"] <= root["endTimeUnixNano"]
    assert int(root["startTimeUnixNano"]) == round(records[0][0].started.timestamp() * 1e6) * 1000
    assert (values(root["attributes"])["scs.changes.total"], root["status"]) == ("2", {"code": 1})
    (failed,) = (s for s in glance["scopeSpans"][0]["spans"] if "parentSpanId" not in s)
    assert failed["status"] == {"code": 2, "message": "glance_api is not healthy"}
    # once more, they have the same ids
    assert export.traces("region-one", records) == found
