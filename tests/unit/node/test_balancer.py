# SPDX-License-Identifier: Apache-2.0
"""A roll waits until HAProxy, asked over its socket, uses the container; one that copies its data may take longer."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.support import node_modules

STATES: dict[str, str] = {}


class Admin(socketserver.StreamRequestHandler):
    """HAProxy's admin socket."""

    def handle(self) -> None:
        assert self.rfile.readline() == b"show stat -1 4 -1\n"
        rows = [f"{name.replace('/', ',')},{state}" for name, state in STATES.items()]
        self.wfile.write("\n".join(["# pxname,svname,status", *rows, ""]).encode())


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    module = node_modules.load(monkeypatch, "containers")
    monkeypatch.setattr(module.haproxy, "SOCKET", str(tmp_path / "admin.sock"))
    monkeypatch.setattr(module, "BALANCER", 0.5)
    with socketserver.ThreadingUnixStreamServer(module.haproxy.SOCKET, Admin) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield module
        server.shutdown()


HEAD = (
    "# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight "
    "srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state "
    "bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr "
    "srv_agent_addr srv_agent_port"
)
LINE = "2 {} 1 {} 192.0.2.1 2 {} 1 1 9 6 3 4 6 0 0 0 - {} - {} 0 - - 0"


def test_a_server_that_stays_drained_moves_to_its_new_port_and_tls(
    module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HAProxy would take port and TLS from the file, not from its configuration."""
    rows = [
        LINE.format("identity", "ha-1", 8, 5000, 0),
        LINE.format("identity", "ha-2", 0, 5000, 0),
        LINE.format("database", "ha-1", 1, 3306, 0),
        LINE.format("gone", "ha-1", 8, 99, 0),
    ]
    monkeypatch.setattr(module.haproxy, "command", lambda _: "\n".join(["1", HEAD, *rows, ""]))
    monkeypatch.setattr(module.haproxy, "SERVERS", str(tmp_path / "servers"))
    monkeypatch.setattr(module.haproxy, "KEPT", str(tmp_path / "kept"))
    monkeypatch.setattr(module.haproxy, "CONFIG", str(tmp_path / "haproxy.cfg"))
    (tmp_path / "haproxy.cfg").write_text(
        "listen database\n  server ha-1 192.0.2.1:3306 check\n"
        "listen identity\n  server ha-1 192.0.2.1:25000 check ssl verify required\n"
    )
    module.haproxy.remember_for_reload()
    assert (tmp_path / "servers").read_text().splitlines() == [
        "1", HEAD, LINE.format("identity", "ha-1", 8, 25000, 1), LINE.format("database", "ha-1", 1, 3306, 0),
    ]  # fmt: skip
    assert not (tmp_path / "kept").exists(), "nothing was to survive a reboot"


@pytest.mark.parametrize(
    ("state", "copies", "fails"),
    [("UP", [], False), ("DOWN", [], True), ("DOWN", ["image"], False), ("DOWN", ["other"], True)],
)
def test_a_member_that_stays_down_fails_the_roll_unless_it_copies(
    state: str, copies: list[str], fails: bool, module: ModuleType
) -> None:
    STATES.clear()
    STATES.update({"image/ha-1": state, "image/ha-2": "DOWN"})
    roller = module.Roller.__new__(module.Roller)
    spec = module.Action("replace", "glance", members=[["image", "ha-1"]], copies=copies)
    if fails:
        with pytest.raises(module.EngineError, match="HAProxy does not send to image/ha-1"):
            roller.wait_for_balancer(spec)
    else:
        roller.wait_for_balancer(spec)
