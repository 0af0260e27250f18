# SPDX-License-Identifier: Apache-2.0
"""What monitoring tells an operator of a deployed region: nothing while it is quiet, else what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.blackbox import RegionUnderTest, wait

pytestmark = pytest.mark.e2e


@pytest.fixture(autouse=True)
def no_silence(region: RegionUnderTest) -> Iterator[None]:
    yield
    for silence in region.scs("alerts", "silences", "--json").json():
        region.scs("alerts", "unsilence", silence["id"])


def alerts(region: RegionUnderTest, *options: str) -> list[dict[str, Any]]:
    """What `scs alerts list` tells; checks that its exit code tells the same."""
    finished = region.scs("alerts", "list", "--json", *options, expect=None)
    told = finished.json()
    assert told["arrive"], str(finished)
    calling = [a for a in told["alerts"] if not (a["silenced"] or a["inhibited"])]
    assert finished.code == (1 if calling else 0), str(finished)
    found: list[dict[str, Any]] = told["alerts"]
    return found


def test_monitoring_sees_the_whole_region(region: RegionUnderTest) -> None:
    results = {r["check"]: r["verdict"] for r in region.scs("validate", "monitoring", "--json").json()["results"]}
    assert results["monitoring"] == "passed"


def test_a_region_that_works_has_no_alert(region: RegionUnderTest) -> None:
    # those of a deployment, in which load balancers come before what is behind them, end soon after it
    wait(lambda: alerts(region) == [], 300, "the end of all alerts")
    assert region.scs("alerts", "list").out.startswith("no alert")


def test_silences_are_made_shown_and_ended(region: RegionUnderTest) -> None:
    made = region.scs("alerts", "silence", "TargetDown", "--for", "10m", "--comment", "a test", "--json").json()
    (shown,) = region.scs("alerts", "silences", "--json").json()
    assert [shown["id"]] == made["ids"]
    assert (shown["matchers"], shown["comment"]) == ({"alertname": "TargetDown"}, "a test")
    assert "a test" in region.scs("alerts", "silences").out
    region.scs("alerts", "unsilence", shown["id"])
    assert region.scs("alerts", "silences", "--json").json() == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("silence",), "nothing to silence"),
        (("silence", "TargetsDown"), "did you mean TargetDown?"),
        (("silence", "Watchdog"), "no alert 'Watchdog'"),
        (("silence", "--host", "nobody"), "no host 'nobody'"),
        (("silence", "TargetDown", "--for", "soon"), "--for soon: not a length of time"),
        (("unsilence", "1234"), "no silence '1234' is in force"),
    ],
)
def test_what_cannot_be_silenced_is_refused(region: RegionUnderTest, arguments: tuple[str, ...], said: str) -> None:
    finished = region.scs("alerts", *arguments, expect=2)
    assert said in finished.err, str(finished)
    assert region.scs("alerts", "silences", "--json").json() == []


@pytest.mark.long
def test_a_process_that_is_gone_is_told_until_it_is_back(region: RegionUnderTest) -> None:
    host = next(h for h, c in region.containers() if c == "mysqld_exporter")
    region.scs("stop", "mysqld_exporter", "--host", host, "--yes")
    try:
        wait(lambda: [(a["name"], a["host"]) for a in alerts(region)] == [("TargetDown", host)], 420, "the alert")
        region.scs("alerts", "silence", "TargetDown", "--host", host)
        wait(lambda: alerts(region) == [], 60, "the silence")
        assert [a["silenced"] for a in alerts(region, "--all")] == [True]
    finally:
        region.scs("start", "mysqld_exporter", "--host", host)
    wait(lambda: alerts(region, "--all") == [], 420, "the end of the alert")
