# SPDX-License-Identifier: Apache-2.0
"""Records of runs for other tools: JSON lines, and traces in OpenTelemetry's JSON.

Source: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding,
https://github.com/open-telemetry/opentelemetry-proto/blob/main/opentelemetry/proto/trace/v1/trace.proto
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from scs_deploy.state.runs import Run, Status, Step

INTERNAL = 1
"""Kind of a span: no request between processes."""

UNSET, OK, ERROR = 0, 1, 2
CODES = {Status.DONE: OK, Status.FAILED: ERROR, Status.INTERRUPTED: ERROR, Status.REFUSED: ERROR}


def lines(runs: Iterable[tuple[Run, Sequence[Step]]]) -> Iterator[str]:
    """A JSON object for each run, `kind` run, followed by one for each of its steps, `kind` step."""
    for run, steps in runs:
        yield json.dumps({"kind": "run", **run.model_dump(mode="json")}, sort_keys=True)
        for step in steps:
            yield json.dumps({"kind": "step", **step.model_dump(mode="json")}, sort_keys=True)


def traces(region: str, runs: Iterable[tuple[Run, Sequence[Step]]]) -> dict[str, Any]:
    """What an OpenTelemetry collector takes at `/v1/traces`: each run is a trace, each of its steps a span.

    Exported again, a run has the same ids. Runs and steps without an end are left out.

    :param region: name of the environment
    """
    return {"resourceSpans": [_resource(region, run, steps) for run, steps in runs if run.finished]}


def _resource(region: str, run: Run, steps: Sequence[Step]) -> dict[str, Any]:
    resource = {
        "service.name": "scs", "service.version": run.scs, "host.name": run.host,
        "deployment.environment.name": region,
    }  # fmt: skip
    about: dict[str, str | int] = {
        "scs.run.id": run.id, "scs.command": run.command, "scs.operation": run.operation, "scs.owner": run.owner,
        "scs.status": run.status, "scs.changes.total": run.changes_total, "scs.changes.done": run.changes_done,
    }  # fmt: skip
    assert run.finished
    spans = [_span(run.id, "", run.command, run.started, run.finished, run.status, run.message, about)]
    spans += [
        _span(
            run.id, str(step.sequence), f"{step.phase}: {step.task}", step.started, step.finished, step.status,
            step.message, {"scs.host": step.host, "scs.subject": step.subject, "scs.status": step.status},
        )
        for step in steps
        if step.finished
    ]  # fmt: skip
    return {
        "resource": {"attributes": _attributes(resource)},
        "scopeSpans": [{"scope": {"name": "scs.runs"}, "spans": spans}],
    }


def _span(
    run: str, step: str, name: str, begin: datetime, end: datetime, status: Status, message: str,
    about: Mapping[str, str | int],
) -> dict[str, Any]:  # fmt: skip
    code = CODES.get(status, UNSET)
    return {
        "traceId": hashlib.sha256(run.encode()).hexdigest()[:32],
        "spanId": _span_id(run, step),
        **({"parentSpanId": _span_id(run, "")} if step else {}),
        "name": name,
        "kind": INTERNAL,
        "startTimeUnixNano": _nanoseconds(begin),
        "endTimeUnixNano": _nanoseconds(end),
        "attributes": _attributes(about),
        "status": {"code": code, **({"message": message} if code == ERROR and message else {})},
    }


def _span_id(run: str, step: str) -> str:
    return hashlib.sha256(f"{run}/{step}".encode()).hexdigest()[:16]


def _nanoseconds(time: datetime) -> str:
    # a 64-bit number is text in this encoding; not by way of a float, which has no room for it
    return f"{int(time.timestamp())}{time.microsecond:06}000"


def _attributes(values: Mapping[str, str | int]) -> list[dict[str, Any]]:
    return [
        {"key": key, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": str(value)}}
        for key, value in values.items()
        if value != ""
    ]
