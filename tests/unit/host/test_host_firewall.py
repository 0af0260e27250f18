# SPDX-License-Identifier: Apache-2.0
"""Setting a host's packet filter: what is compared, tried and confirmed, and which managers a host remembers."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_network
from typing import Any

import pytest
import scs_firewall

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.host.firewall import action

RULES = "table inet scs {}\n"
TRUSTED = (ip_network("192.0.2.0/24"),)
WELL: dict[str, Any] = {
    "rules": RULES, "managers": None, "loaded": True, "intact": True, "enabled": True, "active": True, "program": True,
    "missing": [], "trying": False, "connection": "192.0.2.9 40000 192.0.2.11 22",
}  # fmt: skip


class Host:
    """A host that answers as told."""

    def __init__(self, states: list[str], **observed: Any) -> None:
        self.observed, self.states = {**WELL, **observed}, states
        self.attempt: dict[str, Any] = {}
        self.connections = 0

    def on_node(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        if arguments["step"] == "observe":
            return {"observed": self.observed}
        if arguments["step"] == "try":
            self.attempt = arguments["attempt"]
            return {"connection": self.observed["connection"]}
        assert arguments["not_over"] == self.observed["connection"]
        return {"status": {"state": self.states.pop(0), "problems": ["why"], "warnings": []}}

    def reconnect(self) -> None:
        self.connections += 1

    def act(self, wanted: str | None = RULES, check_mode: bool = False) -> dict[str, Any]:
        return action.act(wanted, TRUSTED, 22, 8, check_mode, self.on_node, self.reconnect)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scs_deploy.host.trial.time.sleep", lambda _seconds: None)


def test_a_host_with_these_rules_stays_as_it_is() -> None:
    host = Host([])
    assert host.act()["changed"] is False
    assert not host.attempt


@pytest.mark.parametrize(
    ("observed", "reason"),
    [
        ({"rules": None, "loaded": False, "intact": False}, "no rules yet"),
        ({"rules": "other"}, "other rules"),
        ({"loaded": False, "intact": False}, "the rules are not loaded"),
        ({"intact": False}, "the loaded rules were changed"),
        ({"enabled": False}, "the rules are not loaded at boot"),
        ({"program": False}, "another version of the program"),
        ({"connection": "203.0.113.5 1 192.0.2.11 22"}, "the manager connects from another address"),
    ],
)
def test_a_difference_is_named_tried_and_confirmed_over_new_connections(observed: dict[str, Any], reason: str) -> None:
    host = Host(["starting", "ready", "confirmed"], **observed)
    result = host.act()
    assert (result["changed"], result["reasons"]) == (True, [reason])
    assert host.attempt["rules"] == RULES
    assert host.connections == 3


def test_check_mode_tries_nothing() -> None:
    host = Host([], rules="other")
    result = host.act(check_mode=True)
    assert result["changed"] is True
    assert (result["diff"]["before"], result["diff"]["after"]) == ("other", RULES)
    assert not host.attempt


def test_a_host_that_went_back_fails_the_task() -> None:
    with pytest.raises(ScsError, match="rolled back to its old firewall rules: why"):
        Host(["ready", "rolled back"], rules="other").act()


@pytest.mark.parametrize("observed", [{"trying": True}, {"missing": ["nft"]}])
def test_a_host_that_cannot_try_is_refused(observed: dict[str, Any]) -> None:
    host = Host([], rules="other", **observed)
    with pytest.raises(RefusedError):
        host.act()
    assert not host.attempt


def test_a_region_that_wants_no_filter_has_it_removed_once() -> None:
    host = Host(["confirmed"])
    assert host.act(None)["changed"] is True
    assert host.attempt["rules"] is None
    assert Host([], rules=None, loaded=False).act(None)["changed"] is False


def remembered(known: str | None, connection: str) -> str | None:
    return action.remembered(known, connection, TRUSTED, 22)


def test_a_manager_that_the_rules_do_not_know_is_remembered() -> None:
    assert remembered(None, "192.0.2.9 1 192.0.2.11 22") is None
    assert remembered(None, "203.0.113.5 1 192.0.2.11 22") == "203.0.113.5 22\n"
    assert remembered("203.0.113.5 22\n", "203.0.113.5 7 192.0.2.11 22") == "203.0.113.5 22\n"
    # sshd's own port, which another one leads to
    assert remembered(None, "192.0.2.9 1 192.0.2.11 2222") == "192.0.2.9 2222\n"
    assert remembered(None, "::ffff:203.0.113.5 1 ::ffff:192.0.2.11 22") == "203.0.113.5 22\n"
    assert remembered("a\n", "") == "a\n"
    many = "".join(f"203.0.113.{i} 22\n" for i in range(action.KEPT))
    assert str(remembered(many, "203.0.113.99 1 192.0.2.11 22")).count("\n") == action.KEPT


def test_the_managers_that_were_seen_are_part_of_the_one_transaction() -> None:
    text = scs_firewall.whole(RULES, "203.0.113.5 2222\n2001:db8::5 22\n# no address\n203.0.113.6; flush 22\n")
    assert text.startswith(RULES)
    assert "add element inet scs manager4 { 203.0.113.5 }\n" in text
    assert "add element inet scs manager6 { 2001:db8::5 }\n" in text
    assert "add element inet scs ssh_ports { 2222 }\n" in text
    assert "flush" not in text
