# SPDX-License-Identifier: Apache-2.0
"""The tables of all commands in narrow terminals: names, run ids and hosts are never cut."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from scs_deploy.cli import _measured, _plans, backup, certs, node, plan, runs
from scs_deploy.cli._tables import Cell, Column, fitted
from scs_deploy.environment import environment as environments
from scs_deploy.operations.backup.volumes import VolumeBackups
from scs_deploy.operations.certificates import Entry
from scs_deploy.plan.change import Change, Kind
from scs_deploy.plan.region import Plan
from scs_deploy.spec.container import Impact
from scs_deploy.spec.job import Phase
from scs_deploy.state.measurement import Gap, Summary
from scs_deploy.state.runs import run_store

CLI = Path(_plans.__file__).parent
HOST = "compute-17.example.org"
CHANGE = Change(
    kind=Kind.RESTART, service="neutron", host=HOST, subject="neutron_ovn_metadata_agent", phase=Phase.ROLL,
    impact=Impact.DATA_PLANE, reason="neutron_ovn_metadata_agent.ini: [ovn] ovn_sb_connection changed",
)  # fmt: skip
SUMMARY = Summary(
    kind="neutron network write", requests=1234, failed=2, p50=0.0123, p99=1.5,
    per_second=0.1, gap=Gap(kind="write", seconds=1.2, begin=0.0), errors={"503 Service Unavailable": 2},
)  # fmt: skip
ENTRY = Entry(
    kind="served", name=f"nova_novncproxy {HOST}", where="192.0.2.117:6080", problem="expired on 2026-11-01",
    ends=datetime(2026, 11, 1, tzinfo=UTC),
)  # fmt: skip
NODE = {
    "host": HOST, "state": "partly drained", "groups": ["control", "network", "compute"], "guests": 12,
    "addresses": ["192.0.2.250", "198.51.100.250"], "gateway": True, "gateways": ["a", "b"],
    "members": {"Galera": True, "RabbitMQ": False, "OVN ovn_nb": True},
}  # fmt: skip
TABLES: dict[str, tuple[tuple[Column, ...], tuple[Cell, ...], list[str]]] = {
    "plan": (_plans.COLUMNS, _plans._cells(CHANGE), [HOST, CHANGE.subject, "restart", "data-plane"]),
    "plan --offline": (
        plan.OFFLINE_COLUMNS, (HOST, "61", "204", "12", "1834", "sha256:443c221bd0ba1f2e"), [HOST, "204"],
    ),
    "measured": (_measured.COLUMNS, _measured.row(SUMMARY), [SUMMARY.kind]),
    "runs list": (
        runs.RUN_COLUMNS,
        ("06afj0awy", "2026-11-21 04:13:33", "12 min 05 s", "interrupted", "104/207", "operator@manager.example.org",
         "scs upgrade run --images --max-failed-requests 20"),
        ["06afj0awy", "interrupted"],
    ),
    "runs show": (
        runs.STEP_COLUMNS,
        ("104", "04:13:33", "roll", "Restart neutron_ovn_metadata_agent", HOST, "neutron_ovn_metadata_agent", "12.5 s",
         "failed", "did not become healthy within 120 s"),
        [HOST, "failed", "104"],
    ),
    "certs list": (certs.COLUMNS, certs._cells(ENTRY, -20), [ENTRY.name, "-20"]),
    "backup list, volumes": (
        backup.VOLUME_COLUMNS,
        backup._volume_cells(VolumeBackups(
            count=1234, failed=2, volumes=321, gib=98765, newest=datetime(2026, 11, 30, 4, 30, tzinfo=UTC),
        )),
        ["1234", "2", "2026-11-30 04:30 UTC"],
    ),
    "backup list": (
        backup.COLUMNS,
        ("20260131T023000Z", "2025.1", "incremental", "20260130T023000Z", "1834.5 MiB", "94",
         "mariadb, keystone_keys, environment", "yes"),
        ["20260131T023000Z", "incremental", "1834.5 MiB"],
    ),
    "node list": (node.COLUMNS, node._cells(NODE), [HOST, "partly drained"]),
}  # fmt: skip


@pytest.mark.parametrize("width", [60, 80, 120, 200])
@pytest.mark.parametrize("name", TABLES)
def test_names_are_never_cut(name: str, width: int) -> None:
    columns, cells, whole = TABLES[name]
    out = io.StringIO()
    Console(file=out, width=width).print(fitted(columns, [cells], width))
    text = out.getvalue()
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    for name_of_thing in whole:
        assert any(name_of_thing in line for line in text.splitlines()), text


def test_a_plan_without_room_takes_few_lines() -> None:
    out = io.StringIO()
    Console(file=out, width=80).print(fitted(_plans.COLUMNS, [_plans._cells(CHANGE)], 80))
    assert out.getvalue().splitlines()[0].split() == [HOST, "restart", CHANGE.subject, "data-plane"]


@pytest.mark.parametrize(
    ("changes", "hosts", "text"), [(1, 1, "1 change on 1 host: 1 restart"), (2, 2, "2 changes on 2 hosts: 2 restart")]
)
def test_a_plan_counts_in_correct_english(changes: int, hosts: int, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(_plans, "console", Console(file=out, width=120))
    made = [CHANGE.model_copy(update={"host": f"{HOST}-{n % hosts}"}) for n in range(changes)]
    _plans.print_plan(Plan(changes=tuple(made)))
    assert out.getvalue().splitlines()[-1] == text


def test_a_plan_says_what_nobody_else_provides(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(_plans, "console", Console(file=out, width=120))
    _plans.print_plan(Plan(changes=(CHANGE,), unavailable=("keystone", "placement")))
    assert out.getvalue().splitlines()[-1] == "unavailable meanwhile: keystone, placement have no other member"


def test_one_table_style() -> None:
    """No command draws tables of its own."""
    own = [f.name for f in CLI.glob("*.py") if f.name != "_tables.py" and "rich.table" in f.read_text(encoding="utf-8")]
    assert own == []


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A region with a run whose command is longer than any terminal is wide; returns the run's id."""
    monkeypatch.setenv("SCS_ENVIRONMENTS", str(tmp_path))
    subprocess.run([*SCS, "env", "init", "berlin"], check=True, capture_output=True)
    with run_store(environments.load("berlin")) as store, store.start(LONG, operation="apply").recording() as run:
        pass
    return run.id


LONG = "scs apply " + " ".join(f"--host compute-{number}.example.org" for number in range(20))
SCS = [sys.executable, "-c", "from scs_deploy.cli.main import main; main()"]


def test_a_row_is_one_line_in_a_pipe(recorded: str) -> None:
    said = subprocess.run([*SCS, "runs", "list"], check=True, capture_output=True, text=True).stdout
    (line,) = [line for line in said.splitlines() if recorded in line]
    assert LONG in line


def test_a_terminal_of_sixty_columns_shows_ids_and_states_whole(recorded: str) -> None:
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    environ = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    done = subprocess.run([*SCS, "runs", "list"], stdin=follower, stdout=follower, env=environ, check=True)
    os.close(follower)
    text = re.sub(r"\x1b\[[0-9;]*m", "", os.read(leader, 65536).decode())
    os.close(leader)
    assert done.returncode == 0
    lines = text.splitlines()
    assert max(map(len, lines)) <= 60
    assert "…" not in text
    assert any(recorded in line and "done" in line for line in lines)
