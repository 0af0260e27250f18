# SPDX-License-Identifier: Apache-2.0
"""The alerts of a region's services as Prometheus evaluates them: the cases of tests/alerts, with its own tool."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from scs_deploy.base import paths
from scs_deploy.desired import metrics
from tests.conftest import dummy_region
from tests.support.images import needs

IMAGE = "scs/prometheus:2025.1"
CASES = sorted((paths.root() / "tests" / "alerts").glob("*.yml"))

pytestmark = needs(IMAGE)


@pytest.fixture(scope="module")
def rules() -> str:
    return metrics.rules(dummy_region("testbed-ha"))


@pytest.fixture
def folder(rules: str, tmp_path: Path) -> Path:
    """A folder with the rules, which the container's user can read."""
    tmp_path.chmod(0o755)
    (tmp_path / "rules.yml").write_text(rules)
    return tmp_path


def promtool(folder: Path, *words: str) -> None:
    """Run it in a container that sees the folder only.

    :raises AssertionError: what it says is wrong
    """
    container = ["docker", "run", "--rm", "--network", "none", "--volume", f"{folder}:/rules:ro", "--workdir", "/rules"]
    done = subprocess.run(
        [*container, IMAGE, "promtool", *words], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_rules_are_valid(folder: Path) -> None:
    promtool(folder, "check", "rules", "rules.yml")


@pytest.mark.parametrize("file", CASES, ids=lambda file: file.stem)
def test_alerts_fire_when_they_should_and_only_then(file: Path, folder: Path) -> None:
    cases = yaml.safe_load(file.read_text())
    # the region's interval
    cases = {"rule_files": ["rules.yml"], "evaluation_interval": "30s", **cases}
    (folder / "cases.yml").write_text(yaml.safe_dump(cases))
    promtool(folder, "test", "rules", "cases.yml")
