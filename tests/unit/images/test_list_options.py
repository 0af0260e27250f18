# SPDX-License-Identifier: Apache-2.0
"""The program that lists the options of an image's services, run on the packages of this Python."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scs_deploy.environment import option_lists
from scs_deploy.images import options


def listed(python: str) -> subprocess.CompletedProcess[str]:
    script = options.LIST.replace("python3", python)
    return subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)


def test_it_lists_what_oslo_configs_generator_knows() -> None:
    found = options.parse(listed(sys.executable).stdout)
    assert found
    # oslo.log's, of the virtual environment
    assert {"debug", "log_dir", "use_syslog"} <= set(found.options["DEFAULT"])
    assert found.renamed["DEFAULT"]["logdir"] == "[DEFAULT] log_dir"


def test_an_image_without_openstack_or_without_python_has_none() -> None:
    assert options.parse(listed("/nonexistent/python").stdout) is None
    assert option_lists.NONE.images == {}


def test_it_lists_the_rules_that_packages_declare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "acme.py").write_text(
        "from types import SimpleNamespace as Rule\n"
        "def rules():\n"
        "    yield Rule(name='acme:list', deprecated_rule=Rule(name='acme:index'))\n"
        "    yield Rule(name='admin', deprecated_rule=None)\n",
        encoding="utf-8",
    )
    info = tmp_path / "acme-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(
        "[oslo.policy.policies]\nacme = acme:rules\nbroken = absent:rules\n", encoding="utf-8"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = options.parse(listed(sys.executable).stdout)
    assert found
    assert found.rules == ("acme:index", "acme:list", "admin")
