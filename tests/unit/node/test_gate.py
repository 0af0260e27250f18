# SPDX-License-Identifier: Apache-2.0
"""A run that is told to pause: Ansible itself, two plays and two hosts on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scs_deploy.engine import runner
from scs_deploy.secrets import vault
from tests.unit.secrets.test_secrets import region

PLAYS = ("first", "second")


def plays(folder: Path, pause_after: str) -> list[dict[str, Any]]:
    """A serial play of two hosts and one after it; each leaves a file, one of them asks for a pause too."""

    def task(name: str) -> dict[str, Any]:
        also = f"&& if [ {{{{ inventory_hostname }}}} = {pause_after} ]; then echo why > {folder}/pause; fi"
        return {"name": name, "ansible.builtin.shell": f"touch {folder}/{name}-{{{{ inventory_hostname }}}} {also}"}

    base = {"gather_facts": False, "connection": "local"}
    return [
        {**base, "name": "first", "hosts": "a,b", "serial": 1, "tasks": [task("first")]},
        {**base, "name": "second", "hosts": "c", "tasks": [task("second")]},
    ]


@pytest.mark.parametrize(
    ("pause_after", "done"),
    [("nobody", {"first-a", "first-b", "second-c"}), ("a", {"first-a"}), ("b", {"first-a", "first-b"})],
)
def test_nothing_begins_after_a_pause(tmp_path: Path, pause_after: str, done: set[str]) -> None:
    environment = region(tmp_path)
    vault.create_password(environment)
    (tmp_path / "inventory").write_text("a\nb\nc\n")
    marks = tmp_path / "marks"
    marks.mkdir()
    variables = {"SCS_RUN_PAUSE": str(marks / "pause"), "SCS_ENVIRONMENT": ""}
    result = runner.run_playbook(environment, plays(marks, pause_after), variables=variables)
    assert {p.name for p in marks.iterdir()} - {"pause"} == done
    assert result.ok is (pause_after == "nobody")
    assert not result.failures
