#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Whether a raft cluster of OVN can do without this member: prints why not, and exits 1.

The others are asked: a majority of all servers is connected to a leader without this one. A member that answers badly
is one until no server has a majority that may need it.

Sources: ovsdb-server(1), "Cluster Commands"; ovsdb-server(5), table Database of _Server
"""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

TLS = ("--private-key=/etc/scs/tls/host.key", "--certificate=/etc/scs/tls/host.crt", "--ca-cert=/etc/scs/tls/ca.crt")
SERVER = re.compile(r"^\s+[0-9a-f]{4} \(\S+ at \w+:\[?(\S+?)\]?:\d+\)", re.MULTILINE)


@dataclass(frozen=True)
class Own:
    """What this member says of itself."""

    works: bool | None  # knows a leader; None: it does not tell
    servers: tuple[str, ...] = ()  # addresses of all members, this one included


def decide(own: Own, others: Mapping[str, bool | None]) -> str:
    """Why the cluster cannot do without this member; empty if it can.

    :param others: address: whether its server is connected to a leader, with a majority; None: no answer
    """
    # who has yet to join is no server
    members = [a for a in others if a in own.servers] if own.servers else list(others)
    count = len(own.servers) or len(others) + 1
    needed = count // 2 + 1
    able = [a for a in members if others[a]]
    if count == 1 or len(able) >= needed:
        return ""
    lacking = [f"{a} {'has no leader' if others[a] is False else 'does not answer'}" for a in members if not others[a]]
    reason = f"{', '.join(lacking)}: {needed} of {count} members must have a leader without this one"
    if own.works or able:
        # who is connected without a majority of others needs this one
        return reason
    if own.works is None and None in others.values():
        return reason
    return ""


def run(*command: str) -> str:
    """Output of a command; empty if it failed or took too long."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
    except (subprocess.SubprocessError, OSError):
        return ""


def read_own(text: str, process: bool) -> Own:
    """Parse cluster/status.

    :param text: empty: no answer
    :param process: whether there is a control socket, which a server that has not started lacks
    """
    if not text:
        return Own(works=None if process else False)
    member = re.search(r"^Status: cluster member$", text, re.MULTILINE)
    leader = re.search(r"^Leader: (?!unknown)", text, re.MULTILINE)
    return Own(works=bool(member and leader), servers=tuple(SERVER.findall(text)))


def ask(remote: str, schema: str) -> bool | None:
    """Whether the server there is connected; None: it does not answer."""
    select = {"op": "select", "table": "Database", "where": [["name", "==", schema]], "columns": ["connected"]}
    answer = run("ovsdb-client", "--timeout=6", *TLS, "query", remote, json.dumps(["_Server", select]))
    try:
        return bool(json.loads(answer)[0]["rows"][0]["connected"])
    except (ValueError, LookupError, TypeError):
        return None


def main(folder: Path) -> str:
    """Why not; empty if it can.

    :param folder: of the rendered settings
    """
    lines = (folder / "database.env").read_text(encoding="utf-8").splitlines()
    # the file is read by shells
    settings = dict(word.split("=", 1) for line in lines for word in shlex.split(line, comments=True) if "=" in word)
    status = run("ovs-appctl", "--timeout=6", f"--target={settings['CTL']}", "cluster/status", settings["SCHEMA"])
    peers = settings["PEERS"].split()
    remotes = [f"ssl:[{p}]:{settings['PORT']}" if ":" in p else f"ssl:{p}:{settings['PORT']}" for p in peers]
    with ThreadPoolExecutor(max(len(peers), 1)) as pool:
        answers = pool.map(lambda remote: ask(remote, settings["SCHEMA"]), remotes)
        others = dict(zip(peers, answers, strict=True))
    return decide(read_own(status, Path(settings["CTL"]).exists()), others)


if __name__ == "__main__":
    if reason := main(Path(__file__).parent):
        sys.exit(reason)
