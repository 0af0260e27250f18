# SPDX-License-Identifier: Apache-2.0
"""One host's packet filter: observe, compare, try, confirm over a new connection. The caller supplies the effects."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

from pydantic import Field

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import Model
from scs_deploy.base.paths import layer
from scs_deploy.host.trial import OnNode, check_seconds, confirm

PROGRAM = {
    "/usr/local/libexec/scs-firewall": "scs_firewall.py",
    "/etc/systemd/system/scs-firewall.service": "scs-firewall.service",
}
RULES = "/etc/scs-firewall/rules.nft"
KEPT = 8
"""Managers that a host remembers; the program on the host has the same value."""


class Observed(Model):
    """The state of a host, as reported by the module."""

    rules: str | None = Field(description="text of the rules; None: no packet filter of scs")
    managers: str | None = Field(description="text of the list of managers that connected")
    loaded: bool = Field(description="whether the kernel has the table")
    intact: bool = Field(description="whether the table is as it was loaded")
    enabled: bool = Field(description="whether it is loaded at boot")
    active: bool = Field(description="whether the unit that loads it has run")
    program: bool = Field(description="whether the programs are up to date")
    missing: tuple[str, ...] = Field(description="programs that the host lacks")
    trying: bool = Field(description="whether new rules are waiting for confirmation")
    connection: str = Field(description="source address, source port, own address, own port of the manager's SSH")


def act(
    wanted: str | None, trusted: Sequence[IPv4Network | IPv6Network], port: int, seconds: int, check_mode: bool,
    on_node: OnNode, reconnect: Callable[[], None],
) -> dict[str, Any]:  # fmt: skip
    """Set a host's rules. Returns the task's result.

    :param wanted: text of the rules; None: scs leaves the host without any
    :param trusted: networks that the rules let in by SSH without the host having seen them
    :param port: of SSH, as the rules have it
    :param reconnect: closes the connection, so that the next call of `on_node` opens a new one
    :raises RefusedError: nft is missing or refuses the rules, or another change is in progress
    :raises ScsError: the host went back to its old rules
    """
    check_seconds("firewall_confirm_seconds", seconds)
    program = {path: _file(name) for path, name in PROGRAM.items()}
    observed = Observed.model_validate(on_node({"step": "observe", "program": program})["observed"])
    managers = remembered(observed.managers, observed.connection, trusted, port) if wanted is not None else None
    reasons = differences(wanted, managers, observed)
    diff = {
        "before": observed.rules or "", "after": wanted or "", "before_header": RULES, "after_header": RULES
    }  # fmt: skip
    result = {"changed": bool(reasons), "reasons": reasons, "diff": diff}
    if not reasons or check_mode:
        return result
    if observed.trying:
        raise RefusedError("other new rules are waiting for confirmation", "run this again in two minutes")
    if observed.missing and wanted is not None:
        raise RefusedError(f"not installed: {', '.join(observed.missing)}", "install nftables on the host")
    token = secrets.token_hex(8)
    attempt = {"token": token, "seconds": seconds, "rules": wanted, "managers": managers}
    first = on_node({"step": "try", "attempt": attempt, "program": program})
    confirm(
        token, seconds, str(first.get("connection", "")), on_node, reconnect,
        what="firewall rules", remedy="nothing was changed",
    )  # fmt: skip
    return result


def differences(wanted: str | None, managers: str | None, observed: Observed) -> list[str]:
    """Why the rules must be loaded; empty: they are as wanted."""
    if wanted is None:
        return ["scs sets no packet filter here any more"] if observed.rules is not None or observed.loaded else []
    found = (
        ("no rules yet", observed.rules is None),
        ("other rules", observed.rules is not None and observed.rules != wanted),
        ("the manager connects from another address", managers != observed.managers),
        ("the rules are not loaded", observed.rules is not None and not observed.loaded),
        ("the loaded rules were changed", observed.loaded and not observed.intact),
        ("the rules are not loaded at boot", observed.rules is not None and not (observed.enabled and observed.active)),
        ("another version of the program", observed.rules is not None and not observed.program),
    )
    return [reason for reason, holds in found if holds]


def remembered(
    known: str | None, connection: str, trusted: Sequence[IPv4Network | IPv6Network], port: int
) -> str | None:
    """The list of managers with this connection's, the latest first; unchanged if the rules let it in anyway.

    :param connection: of sshd: `192.0.2.1 51000 192.0.2.11 22`; empty: the manager is this host
    """
    words = connection.split()
    if len(words) != 4:
        return known
    address = ip_address(words[0].partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    line = f"{address} {words[3]}"
    lines = (known or "").splitlines()
    if line in lines or (words[3] == str(port) and any(address in n for n in trusted)):
        return known
    return "\n".join([line, *lines][:KEPT]) + "\n"


def _file(name: str) -> str:
    return (layer("host") / "roles" / "firewall" / "files" / name).read_text(encoding="utf-8")
