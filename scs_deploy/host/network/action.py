# SPDX-License-Identifier: Apache-2.0
"""One host's network: observe, compare, try, confirm over a new connection. The effects are the caller's."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.base.paths import layer
from scs_deploy.host.network import expect, plan, render
from scs_deploy.host.network.plan import HostNetwork, Observed
from scs_deploy.inventory.links import Link
from scs_deploy.region.region import Region
from scs_deploy.spec.container import Impact

ALLOW = "SCS_ALLOW"
"""Environment variable of a run: impacts that its operator consented to, with commas."""
STATE = "SCS_HOST_NETWORK"
"""Environment variable of a run: `plan` lets the task change nothing."""
SHORTEST, LONGEST = 5, 900
"""Seconds that a host may wait for the confirmation: a connection takes some, and nobody waits for hours."""
PROGRAM = {
    "/usr/local/libexec/scs_network_links.py": "scs_network_links.py",
    "/usr/local/libexec/scs-network": "scs-network",
    "/etc/systemd/system/scs-network-restore.service": "scs-network-restore.service",
}

OnNode = Callable[[Mapping[str, Any]], dict[str, Any]]
"""Runs the module on the host; raises UnreachedError when the host does not answer, ScsError when the module failed."""


class UnreachedError(ScsError):
    """The host does not answer; later it may."""


def allowed(region: Region) -> bool:
    """Whether the network may change in this run."""
    given = {*os.environ.get(ALLOW, "").split(","), *(i.value for i in region.environment.settings.allow)}
    return Impact.NETWORK.value in given


def act(
    host: str, links: Mapping[str, Link], options: Mapping[str, Any], consent: bool, on_node: OnNode,
    reconnect: Callable[[], None],
) -> dict[str, Any]:  # fmt: skip
    """Bring a host's network to what `links` say; the task's result.

    :param options: renderer, seconds, replaces
    :param consent: change it; else only tell
    :param reconnect: ends the connection, so that the next call of `on_node` makes a new one
    :raises RefusedError: the host lacks a program, another try is under way, or the links do not fit the host
    :raises ScsError: the new network was taken back
    """
    if not links:
        return {"changed": False}
    renderer = str(options["renderer"])
    if not SHORTEST <= int(options["seconds"]) <= LONGEST:
        raise RefusedError(f"network_confirm_seconds: {options['seconds']} is not within {SHORTEST} to {LONGEST}")
    expected = {"links": expect.links(links), "network_files": expect.network_files(links, renderer)}
    asked = {**options, "step": "observe", "own": list(render.OWN), "expected": expected}
    answer = on_node(asked)
    observed = Observed.model_validate(answer["observed"])
    _check(observed, renderer)
    resolv_conf = None if observed.resolved else observed.files.get(render.RESOLV_CONF)
    wanted = render.files(links, renderer, resolv_conf)
    found = plan.compare(host, wanted, observed)
    result = _result(found, observed, wanted)
    if found.empty or not consent:
        return {**result, "changed": False, "held": not found.empty}
    token = secrets.token_hex(8)
    attempt = {
        **expected, "token": token, "seconds": options["seconds"], "renderer": renderer,
        "write": wanted, "remove": plan.unwanted(wanted, observed),
    }  # fmt: skip
    first = on_node({**options, "step": "try", "attempt": attempt, "program": _program()})
    status = _confirm(token, int(options["seconds"]), str(first.get("connection", "")), on_node, reconnect)
    return {**result, "changed": True, "held": False, "warnings_of_links": status["warnings"]}


def _check(observed: Observed, renderer: str) -> None:
    if observed.missing:
        raise RefusedError(
            f"network_renderer: {renderer}: not installed: {', '.join(observed.missing)}",
            "install them, or choose another renderer",
        )
    if observed.trying:
        raise RefusedError(
            "a change of its network waits for confirmation or is being taken back",
            "run this again in two minutes",
        )


def _result(found: HostNetwork, observed: Observed, wanted: Mapping[str, str]) -> dict[str, Any]:
    diff = [
        {
            "before": observed.files.get(c.path, ""), "after": wanted.get(c.path, ""),
            "before_header": c.path, "after_header": c.path,
        }
        for c in found.files
    ]  # fmt: skip
    return {"network": found.model_dump(mode="json"), "diff": diff}


def _program() -> dict[str, str]:
    folder = layer("host") / "roles" / "network" / "files"
    return {path: (folder / name).read_text(encoding="utf-8") for path, name in PROGRAM.items()}


def _confirm(token: str, seconds: int, first: str, on_node: OnNode, reconnect: Callable[[], None]) -> dict[str, Any]:
    """Wait over new connections until the host has taken the change in, or back.

    :param first: the connection that started the try, as sshd names it, which proves nothing about new ones; empty:
        sshd did not tell
    """
    # links settle, the host waits, takes it back, and its old links settle
    end = time.monotonic() + seconds + 3 * plan.SETTLE
    step, last = "status", ""
    while time.monotonic() < end:
        reconnect()
        try:
            status: dict[str, Any] = on_node({"step": step, "token": token, "not_over": first})["status"]
        except UnreachedError as error:
            last = str(error)
            time.sleep(1)
            continue
        said = "; ".join(status["problems"])
        if status["state"] == "refused":
            raise RefusedError(said, "correct its links; nothing was changed")
        if status["state"] == "rolled back":
            raise ScsError(f"its new network was taken back, the old one is in place: {said}")
        if status["state"] == "confirmed":
            return status
        # only a connection that is made when all links are up shows that they lead to the manager
        step = "confirm" if status["state"] == "ready" else "status"
        if step == "status":
            time.sleep(0.5)
    raise ScsError(f"not reached since its network changed: {last}", "use its console")
