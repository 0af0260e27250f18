#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Whether the quorum can do without this monitor: prints why not, and exits 1.

The others are asked, not this one: one that hangs would not answer, and is none that they need. One that is in no
quorum serves nobody and may stop, or a cluster without a quorum could not be repaired.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ceph_ask import AskError, Ceph
from ceph_settings import SERVES, load
from ceph_socket import SilentError
from ceph_socket import ask as ask_daemon


def decide(own: Mapping[str, Any] | None, others: Sequence[str], silent: Sequence[str], refused: str | None) -> str:
    """Why the quorum cannot do without this monitor; empty if it can.

    :param own: its `mon_status`; None: it does not tell
    :param others: names of the other monitors
    :param silent: those that accept no connection, which a quorum notices only after a while
    :param refused: what the others said to its stop: empty if they agree, None if no quorum of theirs answers
    """
    if own is not None and (own["state"] not in SERVES or not others):
        return ""
    if refused is None:
        return f"no quorum answers at {', '.join(others) or 'any monitor'}"
    count = len(others) + 1
    needed = count // 2 + 1
    if silent and len(others) - len(silent) < needed:
        return f"no answer from {', '.join(silent)}: {needed} of {count} monitors must work without this one"
    return refused


def monitors(own: Mapping[str, Any] | None, name: str, configured: Mapping[str, str]) -> dict[str, str]:
    """The other monitors and their addresses: as this one knows them, else as its configuration does.

    :param configured: address of each monitor of the region
    """
    if own is None:
        return {n: f"[v2:{a}:3300]" for n, a in configured.items() if n != name}
    return {m["name"]: address(m) for m in own["monmap"]["mons"] if m["name"] != name}


def address(monitor: Mapping[str, Any]) -> str:
    """Of the second version of the protocol, e.g. `[v2:192.0.2.1:3300]`."""
    vector = monitor["public_addrs"]["addrvec"]
    return "[" + ",".join(f"{a['type']}:{a['addr']}" for a in vector if a["type"] == "v2") + "]"


def accepts(vector: str) -> bool:
    """Whether something listens at a monitor's address."""
    place, _, port = vector.strip("[]").removeprefix("v2:").rpartition(":")
    try:
        with socket.create_connection((place.strip("[]"), int(port)), timeout=3):
            return True
    except (OSError, ValueError):
        return False


def status(name: str) -> Mapping[str, Any] | None:
    """This monitor's own `mon_status`, over its socket; None: no answer."""
    try:
        found: Mapping[str, Any] = ask_daemon(f"mon.{name}", "mon_status")
    except SilentError:
        return None
    return found


def ask(name: str, addresses: Sequence[str]) -> str | None:
    """What a quorum says to this monitor's stop, asked at these addresses; None: no answer."""
    try:
        with Ceph("client.admin", monitors=addresses) as ceph:
            try:
                ceph.monitors("mon ok-to-stop", ids=[name])
            except AskError as error:
                return str(error)
    except AskError:
        return None
    return ""


def main() -> str:
    """Why not; empty if it can."""
    settings = load()
    own = status(settings.host)
    others = monitors(own, settings.host, settings.monitors)
    if not others:
        return decide(own, (), (), None)
    with ThreadPoolExecutor(len(others)) as pool:
        heard = dict(zip(others, pool.map(accepts, others.values()), strict=True))
    silent = sorted(name for name, heard_it in heard.items() if not heard_it)
    return decide(own, sorted(others), silent, ask(settings.host, list(others.values())))


if __name__ == "__main__":
    if reason := main():
        sys.exit(reason)
