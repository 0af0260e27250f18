# SPDX-License-Identifier: Apache-2.0
"""Copies of data: keeps them where they are while a host is away, moves them, and removes OSDs that have none.

noout is set for one host only, and noted as ours under a config-key before. So an operator's own noout stays what it
is, also after an interruption: without the note, nothing is set that `let_go` would have to find.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from scs_deploy.base.errors import ScsError
from scs_deploy.clusters.ceph import progress, view
from scs_deploy.clusters.ceph.commands import ceph
from scs_deploy.clusters.ceph.progress import Left
from scs_deploy.engine.access import Access
from scs_deploy.engine.remote import Command

DOWN, INTERVAL = 120, 5.0
"""Seconds for the others to notice that an OSD is gone, and between two attempts to remove it."""

OURS = "scs/noout/"
"""Begins the config-key of a host for which we set noout; ceph_ask.py has it, too."""


def held(access: Access, asked: str) -> tuple[frozenset[str], frozenset[str]]:
    """(hosts with noout, hosts for which it is ours).

    :param asked: host of the monitor that is asked
    :raises ScsError: the cluster does not answer
    """
    dump = _json(access.output(asked, ceph("osd", "dump", "--format=json")))
    keys = _json(access.output(asked, ceph("config-key", "ls", "--format=json")))
    flagged = frozenset(h for h, flags in dump["crush_node_flags"].items() if "noout" in flags)
    return flagged, frozenset(k.removeprefix(OURS) for k in keys if k.startswith(OURS))


def hold(access: Access, asked: str, host: str) -> None:
    """Set noout for a host, unless it has it.

    :raises ScsError: the cluster refuses
    """
    flagged, ours = held(access, asked)
    if host in flagged:
        if host not in ours:
            access.say("note", f"{host} has noout already, by someone else: it stays")
        return
    access.output(asked, ceph("config-key", "set", f"{OURS}{host}", "scs node drain"))
    access.output(asked, ceph("osd", "set-group", "noout", host))


def let_go(access: Access, asked: str, host: str) -> None:
    """Take noout of a host back, if it is ours.

    :raises ScsError: the cluster refuses
    """
    flagged, ours = held(access, asked)
    if host not in ours:
        return
    if host in flagged:
        access.output(asked, ceph("osd", "unset-group", "noout", host))
    access.output(asked, ceph("config-key", "rm", f"{OURS}{host}"))


def empty(access: Access, asked: str, osds: Sequence[int]) -> None:
    """Mark OSDs out, and wait until the cluster can do without what they hold.

    :raises ScsError: no progress; says what is stuck
    """
    names = [str(o) for o in osds]
    access.output(asked, ceph("osd", "out", *names))
    progress.wait(
        access, lambda: _left(access, asked, names), f"OSD {', '.join(names)} cannot be removed yet",
        "docker exec ceph_mon ceph health detail; then repeat the command: it goes on where it stopped",
    )  # fmt: skip


def _left(access: Access, asked: str, osds: Sequence[str]) -> Left:
    """What keeps OSDs from being removed.

    Where no other place is for a copy, Ceph deletes the one on an OSD that is out all the same, and calls that OSD safe
    to destroy then. So nothing may lack a copy, either.
    """
    answer = access.execute(asked, ceph("osd", "safe-to-destroy", *osds, "--format=json"))
    groups = view.groups(_json(access.output(asked, ceph("status", "--format=json")))["pgmap"])
    if answer.code == 0 and not groups.lacking:
        return Left((), "")
    reason = " ".join(answer.output.split())[-200:]
    return Left(
        (groups.inactive, groups.degraded + groups.misplaced, sum(groups.lacking.values())),
        groups.text or reason or "the cluster does not say what is left",
        moving=groups.rate > 0,
    )


def purge(access: Access, asked: str, osds: Sequence[int]) -> None:
    """Remove OSDs, their keys and their places in the CRUSH map.

    :raises ScsError: the cluster refuses, e.g. because one is up
    """
    for osd in osds:
        command = ceph("osd", "purge", str(osd), "--yes-i-really-mean-it")

        def refused(command: Command = command) -> str:
            answer = access.execute(asked, command)
            return " ".join(answer.output.split())[-200:] if answer.code else ""

        # one that vanished with its host counts as up for a while
        if left := access.wait(refused, DOWN, INTERVAL, show=False):
            raise ScsError(f"could not remove osd.{osd} from the cluster: {left}")
        access.say("note", f"removed osd.{osd} from the cluster")


def _json(text: str) -> Any:
    start = min((text.index(c) for c in "{[" if c in text), default=-1)
    if start < 0:
        raise ScsError(f"Ceph: unexpected answer {text[:100]!r}")
    return json.loads(text[start:])
