# SPDX-License-Identifier: Apache-2.0
"""One host's network: observe, compare, try, confirm over a new connection. The caller supplies the effects."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.paths import layer
from scs_deploy.host.network import expect, plan, render
from scs_deploy.host.network.plan import HostNetwork, Observed
from scs_deploy.host.trial import OnNode, check_seconds, confirm
from scs_deploy.inventory.links import Link
from scs_deploy.region.region import Region
from scs_deploy.spec.container import Impact

ALLOW = "SCS_ALLOW"
"""Environment variable of a run: impacts that the operator allowed, separated by commas."""
STATE = "SCS_HOST_NETWORK"
"""Environment variable of a run: with `plan`, the task changes nothing."""
PROGRAM = {
    "/usr/local/libexec/scs_network_links.py": "scs_network_links.py",
    "/usr/local/libexec/scs-network": "scs_network.py",
    "/etc/systemd/system/scs-network-restore.service": "scs-network-restore.service",
}


def allowed(region: Region) -> bool:
    """Whether this run may change the network."""
    impacts = {*os.environ.get(ALLOW, "").split(","), *(i.value for i in region.environment.settings.allow)}
    return Impact.NETWORK.value in impacts


def act(
    host: str, links: Mapping[str, Link], options: Mapping[str, Any], consent: bool, on_node: OnNode,
    reconnect: Callable[[], None],
) -> dict[str, Any]:  # fmt: skip
    """Configure a host's network as described by `links`. Returns the task's result.

    :param options: renderer, seconds, replaces
    :param consent: true: apply the changes; false: only report them
    :param reconnect: closes the connection, so that the next call of `on_node` opens a new one
    :raises RefusedError: a program is missing, another change is in progress, or the links do not fit the host
    :raises ScsError: the host rolled back to its old network
    """
    if not links:
        return {"changed": False}
    renderer = str(options["renderer"])
    check_seconds("network_confirm_seconds", int(options["seconds"]))
    expected = {"links": expect.links(links), "network_files": expect.network_files(links, renderer)}
    asked = {**options, "step": "observe", "own": list(render.OWN), "expected": expected}
    answer = on_node(asked)
    observed = Observed.model_validate(answer["observed"])
    _check(observed, renderer)
    resolv_conf = None if observed.resolved else observed.files.get(render.RESOLV_CONF)
    wanted = render.files(links, renderer, resolv_conf)
    changes = plan.compare(host, wanted, observed)
    result = _result(changes, observed, wanted)
    if changes.empty or not consent:
        return {**result, "changed": False, "held": not changes.empty}
    token = secrets.token_hex(8)
    attempt = {
        **expected, "token": token, "seconds": options["seconds"], "renderer": renderer,
        "write": wanted, "remove": plan.unwanted(wanted, observed),
    }  # fmt: skip
    first = on_node({**options, "step": "try", "attempt": attempt, "program": _program()})
    status = confirm(
        token, int(options["seconds"]), str(first.get("connection", "")), on_node, reconnect,
        what="network", remedy="correct its links; nothing was changed",
    )  # fmt: skip
    return {**result, "changed": True, "held": False, "warnings_of_links": status["warnings"]}


def _check(observed: Observed, renderer: str) -> None:
    if observed.missing:
        raise RefusedError(
            f"network_renderer: {renderer}: not installed: {', '.join(observed.missing)}",
            "install the missing programs, or choose another renderer",
        )
    if observed.trying:
        raise RefusedError(
            "another change of its network is waiting for confirmation or is being rolled back",
            "run this again in two minutes",
        )


def _result(changes: HostNetwork, observed: Observed, wanted: Mapping[str, str]) -> dict[str, Any]:
    diff = [
        {
            "before": observed.files.get(c.path, ""), "after": wanted.get(c.path, ""),
            "before_header": c.path, "after_header": c.path,
        }
        for c in changes.files
    ]  # fmt: skip
    return {"network": changes.model_dump(mode="json"), "diff": diff}


def _program() -> dict[str, str]:
    folder = layer("host") / "roles" / "network" / "files"
    return {path: (folder / name).read_text(encoding="utf-8") for path, name in PROGRAM.items()}
