# SPDX-License-Identifier: Apache-2.0
"""Asks hosts what happened to a container. One SSH connection per host; changes nothing."""

from __future__ import annotations

import subprocess
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from scs_deploy.base import paths
from scs_deploy.base.errors import ScsError
from scs_deploy.environment.environment import Environment
from scs_deploy.inventory.model import Host
from scs_deploy.inventory.ssh import ssh_command
from scs_deploy.observed.history import Answer, History, Period, history
from scs_deploy.state.runs import recorded

PROGRAM = paths.layer("core") / "files" / "container_state.py"
"""Answers on the host."""

AT_ONCE = 20
"""SSH connections."""

RUNS = 100
"""Latest runs that an exit may belong to."""


def ask(environment: Environment, container: str, hosts: Sequence[Host]) -> tuple[History, ...]:
    """What happened to a container on these hosts.

    :raises ScsError: a host is unreachable, or its container engine does not answer
    """
    steps = periods(environment, {h.name for h in hosts})
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(lambda host: _ask(environment, container, host), hosts))
    return tuple(
        history(host.name, container, answer, [p for h, p in steps if h == host.name])
        for host, answer in zip(hosts, answers, strict=True)
    )


def periods(environment: Environment, hosts: Collection[str]) -> list[tuple[str, Period]]:
    """When runs of this manager were at work on hosts, oldest first."""
    found = []
    now = datetime.now(UTC)
    with recorded(environment) as store:
        for run in reversed(store.list(RUNS)):
            found += [
                (step.host, Period(run=run.id, begin=step.started, end=step.finished or now))
                for step in store.steps(run.id)
                if step.host in hosts
            ]
    return found


def _ask(environment: Environment, container: str, host: Host) -> Answer:
    command = ["python3", "-c", PROGRAM.read_text(encoding="utf-8"), container]
    ssh, *arguments = ssh_command(environment, host, command, terminal=False)
    done = subprocess.run(
        [ssh, "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", *arguments],
        check=False, capture_output=True, stdin=subprocess.DEVNULL, text=True, encoding="utf-8", errors="replace",
    )  # fmt: skip
    if done.returncode == 255:
        raise ScsError(f"{host.name} ({host.address}): unreachable over SSH: {' '.join(done.stderr.split())}")
    if done.returncode:
        raise ScsError(f"{host.name}: {' '.join(done.stderr.split())[-300:]}", f"scs console {host.name}")
    return Answer.model_validate_json(done.stdout)
