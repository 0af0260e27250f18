# SPDX-License-Identifier: Apache-2.0
"""Wrong PromQL in an alerts.yml is refused before a file is written, and what is refused is what Prometheus refuses."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from scs_deploy.base.errors import RefusedError
from scs_deploy.spec import metrics, promql
from tests.support.images import needs

IMAGE = "scs/prometheus:2025.1"

RIGHT = (
    "vector(1)",
    "up == 0",
    "(up)",
    'sum by (host) (rate(a_total{code=~"5..", b!="c"}[5m])) / on (host) group_left (name) d > bool 0.1',
    "max_over_time(rate(a_total[5m])[1h:1m]) and on () hour() > 7 unless absent(b)",
    "last_over_time(a:b:c[12h] offset 12h)",
    "predict_linear(a[6h], 86400) < 0",
    'label_replace(up, "a", "$1", "b", "(.*)")',
    "quantile_over_time(0.9, a[1h]) or histogram_quantile(0.9, sum by (le) (rate(b_bucket[5m])))",
    "-up ^ 2 % 3",
    "timestamp(up) - time() > -1e3",
    "a offset -5m",
    "1",
)
WRONG = (
    "up{",
    "sum(up",
    "rate(up)",
    "rate(up[5x])",
    "ratee(up[5m])",
    "up > ",
    "up and on host up",
    "up = 0",
    'up == "a"',
    'up{a=~"["}',
    "{}",
    "topk(up)",
    "histogram_quantile(0.9)",
    "1 and up",
    "sum(1)",
    "1 == 1",
    "up + on (a) group_left group_right b",
    "limitk(2, up)",
    "sum(mad_over_time(up[5m]))",
)
NO_VALUE = ("up[5m]", "(up[5m])", "rate(up[5m])[1h:1m]", '"up"')
"""Prometheus takes these for right, and fails when it evaluates them."""


@pytest.mark.parametrize("expression", RIGHT)
def test_what_is_right_passes(expression: str) -> None:
    promql.check(expression)


@pytest.mark.parametrize("expression", (*WRONG, *NO_VALUE))
def test_what_is_wrong_is_refused(expression: str) -> None:
    with pytest.raises(ValueError, match="wrong PromQL: "):
        promql.check(expression)


@needs(IMAGE)
def test_prometheus_itself_says_the_same(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for number, expression in enumerate((*RIGHT, *WRONG)):
        rule = {"groups": [{"name": "a", "rules": [{"alert": "A", "expr": expression}]}]}
        (tmp_path / f"{number}.yml").write_text(yaml.safe_dump(rule))
    each = "for f in $(seq 0 $1); do promtool check rules /test/$f.yml >/dev/null 2>&1; echo $?; done"
    last = len(RIGHT) + len(WRONG) - 1
    command = ["docker", "run", "--rm", "--network=none", f"--volume={tmp_path}:/test:ro", IMAGE]
    done = subprocess.run(
        [*command, "sh", "-c", each, "sh", str(last)], capture_output=True, text=True, timeout=120, check=True
    )
    accepted = [e for e, code in zip((*RIGHT, *WRONG), done.stdout.split(), strict=True) if code == "0"]
    assert accepted == list(RIGHT)


ALERTS = """
alerts:
  - alert: FirstThing
    expr: up == 0
    severity: warning
    summary: a
    impact: b
  - alert: SecondThing
    expr: rate(up) > 1
    severity: warning
    summary: a
    impact: b
"""
RECORDS = """
records:
  - record: a:b:c
    expr: up[5m]
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (ALERTS, "alerts.yml:9: alerts.1.expr: SecondThing: wrong PromQL: expected type matrix"),
        (RECORDS, "alerts.yml:4: records.0.expr: a:b:c: wrong PromQL: gives a range"),
    ],
)
def test_the_message_names_file_line_and_alert(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "alerts.yml").write_text(text)
    with pytest.raises(RefusedError) as refused:
        metrics.alerts(tmp_path)
    assert said in refused.value.message
