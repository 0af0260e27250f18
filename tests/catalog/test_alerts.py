# SPDX-License-Identifier: Apache-2.0
"""Every alert has a name of its own, a runbook, and a case in which it fires and one in which it does not."""

from __future__ import annotations

import re
from collections import Counter

import pytest
import yaml

from scs_deploy.base import paths
from scs_deploy.spec import catalog
from scs_deploy.spec.metrics import alerts

ALERTS = {
    name: [a.alert for a in found]
    for name, service in catalog.load().services.items()
    if (found := alerts(service.directory))
}
RUNBOOKS = paths.root() / "docs" / "runbooks"
CASES = paths.root() / "tests" / "alerts"
HEADING = re.compile(r"^## (.+)$", re.MULTILINE)

each_service = pytest.mark.parametrize("service", ALERTS)


def test_names_are_unique() -> None:
    names = Counter(alert for found in ALERTS.values() for alert in found)
    assert [alert for alert, times in names.items() if times > 1] == []


def test_only_services_with_alerts_have_a_runbook_and_cases() -> None:
    assert {f.stem for f in RUNBOOKS.glob("*.md")} - {"README"} == set(ALERTS)
    assert {f.name.partition(".")[0] for f in CASES.glob("*.yml")} == set(ALERTS)


@each_service
def test_the_runbook_has_a_section_for_each_alert_and_no_other(service: str) -> None:
    text = (RUNBOOKS / f"{service}.md").read_text(encoding="utf-8")
    assert sorted(HEADING.findall(text)) == sorted(ALERTS[service])


@each_service
def test_each_alert_has_a_case_that_fires_it_and_one_that_does_not(service: str) -> None:
    files = [f for f in CASES.glob("*.yml") if f.name.partition(".")[0] == service]
    tests = [test for f in files for test in yaml.safe_load(f.read_text(encoding="utf-8"))["tests"]]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    fires = {case["alertname"] for case in cases if case["exp_alerts"]}
    stays_quiet = {case["alertname"] for case in cases if not case["exp_alerts"]}
    assert (fires, stays_quiet) == (set(ALERTS[service]), set(ALERTS[service]))
