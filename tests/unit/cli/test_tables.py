# SPDX-License-Identifier: Apache-2.0
"""Tables in terminals of any width: names stay whole, nothing is read as markup, and NO_COLOR is honoured."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.text import Text

from scs_deploy.cli import status
from scs_deploy.cli._tables import Cell, Column, fitted

STATES = [
    {
        "host": "compute-17.example.org", "service": "neutron", "container": "neutron_ovn_metadata_agent",
        "state": "running", "health": "healthy", "restarts": 0, "started": "2026-11-21T04:13:33Z",
        "image": "sha256:443c221bd0ba",
    },
    {
        "host": "testbed-1", "service": "keystone", "container": "keystone_fernet", "state": "exited",
        "health": "", "restarts": 12, "started": None, "image": "sha256:443c221bd0ba",
    },
]  # fmt: skip


def drawn(width: int, columns: tuple[Column, ...], rows: list[tuple[Cell, ...]], **console: object) -> str:
    out = io.StringIO()
    Console(file=out, width=width, **console).print(fitted(columns, rows, width))  # type: ignore[arg-type]
    return out.getvalue()


@pytest.mark.parametrize("width", [28, 40, 60, 80, 100, 200])
def test_names_and_states_are_never_cut(width: int) -> None:
    text = drawn(width, status.COLUMNS, [status._row(s) for s in STATES])
    assert "…" not in text
    for state in STATES:
        for key in ("host", "container", "state"):
            assert str(state[key]) in text
    assert max(map(len, text.splitlines())) <= width


def test_what_matters_least_leaves_first() -> None:
    rows = [status._row(s) for s in STATES]
    assert "sha256:443c221bd0ba" in drawn(130, status.COLUMNS, rows)
    at_100 = drawn(100, status.COLUMNS, rows)
    assert ("image" in at_100, "service" in at_100, "restarts" in at_100) == (False, True, True)
    heading = drawn(60, status.COLUMNS, rows).splitlines()[0].split()
    assert heading[:2] != ["host", "service"]


def test_a_row_without_room_becomes_a_paragraph() -> None:
    lines = drawn(30, status.COLUMNS, [status._row(STATES[0])]).splitlines()
    assert [line.strip() for line in lines] == [
        "compute-17.example.org", "neutron_ovn_metadata_agent", "running", "health: healthy",
    ]  # fmt: skip


def test_long_text_folds() -> None:
    columns = (Column("what", key=True), Column("why"))
    reason = "keystone.conf: [token] expiration 3600 -> 7200; and 12 more"
    text = drawn(40, columns, [("keystone", reason)])
    assert "".join(text.split()) == "whatwhykeystone" + "".join(reason.split())


def test_text_of_hosts_is_no_markup() -> None:
    assert "[/etc/x] [red]" in drawn(80, (Column("a", key=True),), [("[/etc/x] [red]",)])


def test_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[tuple[Cell, ...]] = [(Text("running", "green"),)]
    assert "\x1b[32m" in drawn(80, (Column("a"),), rows, force_terminal=True, color_system="standard")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[32m" not in drawn(80, (Column("a"),), rows, force_terminal=True)
