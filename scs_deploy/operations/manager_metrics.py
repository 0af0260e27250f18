# SPDX-License-Identifier: Apache-2.0
"""What only the manager knows, as metrics on the monitoring hosts: runs, backups, certificate authorities.

After each run, the manager writes them to a file that node_exporter reads there. Times are absolute, so that alerts
notice what has not happened since, such as a night without a backup.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime

from cryptography import x509

from scs_deploy.base.errors import ScsError
from scs_deploy.engine import connection, programs
from scs_deploy.engine.transport import Hosts
from scs_deploy.environment.environment import Environment
from scs_deploy.operations.backup import proofs
from scs_deploy.region.region import Region
from scs_deploy.secrets import pki
from scs_deploy.state.runs import Run, Status, recorded

FILE = "/var/lib/scs/metrics/manager.prom"
"""On monitoring hosts, beside that of scs-metrics."""

READER = "node_exporter"

BACKUP, UNATTENDED, ONLY = "backup create", "--unattended", "--only"

LOOKED_AT = 1000
"""Runs."""

HELP = {
    "scs_manager_run_finished_timestamp_seconds": "end of the latest run of an operation",
    "scs_manager_run_succeeded": "1 if the latest run of an operation succeeded",
    "scs_manager_run_unfinished": "1 if the latest run that changes the region failed, or was paused or interrupted",
    "scs_manager_upgrade_timestamp_seconds": "end of the latest unattended upgrade that succeeded",
    "scs_manager_backup_timestamp_seconds": "end of the latest backup of everything; of the first run if there is none",
    "scs_manager_backup_verified_timestamp_seconds": "time of the newest backup that was verified; as above",
    "scs_manager_authority_not_after_timestamp_seconds": "end of a certificate authority's validity",
}

Sample = tuple[str, dict[str, str], float]
"""Name, labels, value."""


def of_runs(runs: Sequence[Run]) -> Iterator[Sample]:
    """The samples of runs that have ended.

    :param runs: the latest first
    """
    ended = [r for r in runs if r.status is not Status.RUNNING]
    latest: dict[str, Run] = {}
    for run in ended:
        latest.setdefault(run.operation, run)
    for operation, run in sorted(latest.items()):
        labels = {"operation": operation}
        yield "scs_manager_run_finished_timestamp_seconds", labels, (run.finished or run.started).timestamp()
        yield "scs_manager_run_succeeded", labels, run.status is Status.DONE
    changing = next((r for r in ended if r.changing), None)
    if changing:
        unfinished = changing.status in (Status.FAILED, Status.INTERRUPTED, Status.PAUSED)
        yield "scs_manager_run_unfinished", {}, unfinished
    upgrade = next((r for r in ended if r.status is Status.DONE and UNATTENDED in r.command.split()), None)
    if upgrade and upgrade.finished:
        yield "scs_manager_upgrade_timestamp_seconds", {}, upgrade.finished.timestamp()


def of_backups(runs: Sequence[Run], verified: Iterable[str]) -> Iterator[Sample]:
    """The samples of backups; nothing before the first run.

    :param runs: the latest first
    :param verified: ids of backups, which are times
    """
    if not runs:
        return
    first = runs[-1].started.timestamp()
    done = (
        r.finished.timestamp()
        for r in runs
        if r.operation == BACKUP and r.status is Status.DONE and r.finished and ONLY not in r.command.split()
    )
    yield "scs_manager_backup_timestamp_seconds", {}, next(done, first)
    times = [t for backup in verified if (t := _time(backup))]
    yield "scs_manager_backup_verified_timestamp_seconds", {}, max(times, default=first)


def _time(backup: str) -> float:
    """When a backup was made, which is its id; 0: it is none."""
    try:
        return datetime.strptime(backup, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return 0


def of_authorities(authorities: Iterable[tuple[str, str]]) -> Iterator[Sample]:
    """The ends of certificate authorities.

    :param authorities: role, PEM
    """
    for role, pem in authorities:
        end = x509.load_pem_x509_certificate(pem.encode()).not_valid_after_utc
        yield "scs_manager_authority_not_after_timestamp_seconds", {"authority": role}, end.timestamp()


def text(samples: Iterable[Sample]) -> str:
    """The samples in Prometheus's text format. Labels hold names of scs only, in which nothing needs an escape."""
    by_name: dict[str, list[str]] = {}
    for name, labels, value in samples:
        shown = ",".join(f'{key}="{label}"' for key, label in labels.items())
        by_name.setdefault(name, []).append(f"{name}{{{shown}}} {float(value):.15g}")
    lines: list[str] = []
    for name, own in by_name.items():
        lines += [f"# HELP {name} {HELP[name]}", f"# TYPE {name} gauge", *own]
    return "".join(f"{line}\n" for line in lines)


def collected(environment: Environment) -> str:
    """The content of the file.

    :raises ScsError: run records or certificates cannot be read
    """
    with recorded(environment) as store:
        runs = store.list(LOOKED_AT)
    return text(
        [
            *of_runs([r for r in runs if r.operation]),
            *of_backups(runs, proofs.read(environment)),
            *of_authorities(pki.authorities(environment)),
        ]
    )


def push(region: Region, say: Callable[[str], None]) -> None:
    """Write the file on all monitoring hosts. A run never fails for this.

    :param say: takes the reason, in a line, if a host did not get it
    """
    if READER not in region.catalog.services:
        return
    try:
        _push(region, say)
    except (ScsError, OSError, ValueError) as error:
        say(f"monitoring was not told of this run: {error}")
    except Exception:
        logging.getLogger("scs").exception("the metrics of the manager were not written")
        say("monitoring was not told of this run: internal error, see the region's log")


def _push(region: Region, say: Callable[[str], None]) -> None:
    program = programs.textfile(FILE, collected(region.environment))
    missed: list[str] = []
    with Hosts() as asked:
        for host in region.hosts_of("prometheus"):
            way = connection.of(region.environment, host)
            if way is None:
                missed.append(f"{host.name}: only Ansible can reach it")
            else:
                asked.ask(way, program)
        missed += [f"{r.host}: {r.unreachable or r.failed}" for r in asked.replies() if r.unreachable or r.failed]
    if missed:
        say(f"monitoring was not told of this run: {'; '.join(sorted(missed))}")
