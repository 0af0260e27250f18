# SPDX-License-Identifier: Apache-2.0
"""Which runs of Ansible count as successful; Ansible itself runs, on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from scs_deploy.base.errors import ScsError
from scs_deploy.engine import runner
from scs_deploy.environment.environment import Environment
from scs_deploy.secrets import vault
from tests.unit.secrets.test_secrets import region

TASK = {"name": "Say", "ansible.builtin.debug": {"msg": "hello"}}


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    made = region(tmp_path)
    vault.create_password(made)
    (tmp_path / "inventory").write_text("a\nb\n[empty]\n")
    return made


def run(environment: Environment, hosts: str, limit: tuple[str, ...] = (), file: bool = False) -> runner.RunResult:
    play = {"name": "Look", "hosts": hosts, "gather_facts": False, "connection": "local", "tasks": [TASK]}
    variables = {"SCS_ENVIRONMENT": ""}
    if not file:
        return runner.run_playbook(environment, [play], limit, variables=variables)
    path = environment.path / "playbook.yml"
    path.write_text(
        f"- hosts: {hosts}\n  gather_facts: false\n  connection: local\n  tasks: [{{ansible.builtin.debug: {{}}}}]\n"
    )
    return runner.run_playbook(environment, path, limit, variables=variables)


@pytest.mark.parametrize(("hosts", "file"), [("a,b", False), ("all:empty", True)])
def test_every_host_that_is_known_does_its_tasks(environment: Environment, hosts: str, file: bool) -> None:
    done = run(environment, hosts, file=file)
    done.raise_for("looking")
    assert done.ok


@pytest.mark.parametrize(
    ("hosts", "file", "said"),
    [
        ("gone", False, "looking failed: no task ran on gone: "),
        ("a,gone,lost", False, "looking failed: no task ran on gone, lost: "),
        ("empty", True, "looking failed: no task ran on all hosts: "),
    ],
)
def test_a_run_without_its_hosts_is_no_success(environment: Environment, hosts: str, file: bool, said: str) -> None:
    done = run(environment, hosts, file=file)
    assert not done.ok
    with pytest.raises(ScsError, match=said):
        done.raise_for("looking")
