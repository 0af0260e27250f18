#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Whether the cluster can do without this broker: prints why not, and exits 1.

The others are asked: most of all members run without it and block nobody, and every quorum queue keeps its majority. A
broker that answers badly, e.g. because of a memory alarm, is a member until the others no longer count it.

Source: RabbitMQ HTTP API reference, GET /api/nodes and /api/health/checks/node-is-quorum-critical
"""

import http.client
import json
import ssl
import sys
from base64 import b64encode
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

PORT = 15671
TIMEOUT = 10
ALARMS = {"mem_alarm": "has a memory alarm", "disk_free_alarm": "has a disk alarm"}


@dataclass(frozen=True)
class View:
    """What a broker says."""

    running: frozenset[str] = frozenset()  # hosts whose brokers it counts as running
    known: frozenset[str] = frozenset()  # hosts of all members that it knows
    alarms: Mapping[str, str] = field(default_factory=dict)  # host: alarm in words
    critical: str = ""  # quorum queues that lose their majority without it
    refused: bool = False  # nothing listens: it does not run, or its application is stopped
    error: str = ""  # it does not answer

    @property
    def majority(self) -> bool:
        """Whether it works, together with most of the members."""
        return len(self.running) * 2 > len(self.known)


def decide(host: str, views: Mapping[str, View]) -> str:
    """Why the cluster cannot do without a host's broker; empty if it can.

    :param views: of every member, by host
    """
    own = views[host]
    others = {name: view for name, view in views.items() if name != host}
    if not others:
        return ""
    # who joins is a member when the cluster knows it
    known = frozenset[str]().union(*(v.known for v in views.values())) or frozenset(views)
    needed = len(known) // 2 + 1
    if known == {host}:
        return ""
    lacking = {
        name: _lacks(name, others.get(name, View(error="is in no inventory"))) for name in sorted(known - {host})
    }
    able = [name for name, why in lacking.items() if not why]
    why = "; ".join(f"{name} {what}" for name, what in lacking.items() if what)
    if len(able) >= needed:
        # a peer that is critical counts queues that this one may hold, too
        critical = [own.critical] if own.running else [v.critical for v in others.values() if host in v.running]
        return "; ".join(filter(None, critical))
    if any(host in view.running for view in others.values()):
        return f"{why}: {needed} of {len(known)} must work without it"
    told = all(view.refused or not view.error for view in others.values())
    if own.refused or (own.running and not own.majority):
        # it serves nobody
        return ""
    if not own.running and (told or any(view.majority for view in others.values())):
        # it is hung, and nobody works with it
        return ""
    return f"{why or own.error}: {needed} of {len(known)} must work without it"


def _lacks(name: str, view: View) -> str:
    if view.error:
        return view.error
    if not view.majority:
        return "does not work with a majority"
    return view.alarms.get(name, "")


def read(address: str, headers: Mapping[str, str], tls: ssl.SSLContext) -> View:
    """Ask a broker."""
    connection = http.client.HTTPSConnection(address, PORT, timeout=TIMEOUT, context=tls)

    def get(path: str) -> tuple[int, object]:
        connection.request("GET", path, headers=dict(headers))
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())

    try:
        status, nodes = get("/api/nodes?columns=name,running,mem_alarm,disk_free_alarm")
        if status != 200 or not isinstance(nodes, list):
            return View(error=f"answers {status}")
        by_host = {str(node["name"]).partition("@")[2]: node for node in nodes}
        status, critical = get("/api/health/checks/node-is-quorum-critical")
        reason = critical.get("reason", "") if isinstance(critical, dict) else ""
    except ConnectionRefusedError:
        return View(refused=True, error="does not run")
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
        return View(error=f"does not answer ({str(error) or type(error).__name__})")
    finally:
        connection.close()
    return View(
        running=frozenset(h for h, node in by_host.items() if node.get("running")),
        known=frozenset(by_host),
        alarms={h: words for h, node in by_host.items() for key, words in ALARMS.items() if node.get(key)},
        critical="" if status == 200 else f"{address}: {reason or f'answers {status}'}",
    )


def main(folder: Path) -> str:
    """Why not; empty if it can.

    :param folder: of the rendered settings
    """
    settings = json.loads((folder / "broker_gate.json").read_text(encoding="utf-8"))
    login = b64encode(f"{settings['user']}:{settings['password']}".encode()).decode()
    headers, tls = {"Authorization": f"Basic {login}"}, ssl.create_default_context(cafile=settings["ca"])
    members: dict[str, str] = settings["members"]
    with ThreadPoolExecutor(len(members)) as pool:
        views = dict(zip(members, pool.map(lambda a: read(a, headers, tls), members.values()), strict=True))
    return decide(settings["host"], views)


if __name__ == "__main__":
    if reason := main(Path(__file__).parent):
        sys.exit(reason)
