# SPDX-License-Identifier: Apache-2.0
"""Shuts a host out of the cluster: every OSD refuses all clients with its addresses until the host is back.

A blocklist entry without port and nonce holds for every client of an address, also for one that starts later. An entry
ends after an hour unless told otherwise, which a host that is only cut off survives. What the entries are for is noted
as ours under a config-key before: without the note, nothing is set that `lift` would have to find.

Sources: https://docs.ceph.com/en/tentacle/rados/operations/control/#osd-subsystem (osd blocklist),
https://github.com/ceph/ceph-csi/blob/devel/docs/design/proposals/network-fencing.md (the same for Kubernetes)
"""

from __future__ import annotations

import json
from collections.abc import Collection
from ipaddress import ip_address
from typing import Any

from scs_deploy.base.errors import ScsError
from scs_deploy.clusters.ceph.commands import ceph
from scs_deploy.engine.access import Access
from scs_deploy.shared.ceph.observed import FENCED

SECONDS = 5 * 365 * 86400
"""Until an entry ends by itself. Ceph counts moments in 32 bits of seconds, so there is no `for ever`."""


def noted(access: Access, asked: str) -> dict[str, tuple[str, ...]]:
    """Hosts that are shut out, with the addresses that they had then.

    :param asked: host of the monitor that is asked
    :raises ScsError: the cluster does not answer
    """
    found = _json(access.output(asked, ceph("config-key", "dump", FENCED, "--format=json")))
    return {key.removeprefix(FENCED): tuple(json.loads(value)) for key, value in found.items()}


def listed(access: Access, asked: str) -> frozenset[str]:
    """Addresses all of whose clients are refused.

    :raises ScsError: the cluster does not answer
    """
    dump = _json(access.output(asked, ceph("osd", "dump", "--format=json")))
    return frozenset(e.removesuffix(":0/0").strip("[]") for e in dump["blocklist"] if e.endswith(":0/0"))


def impose(access: Access, asked: str, host: str, addresses: Collection[str]) -> None:
    """Shut a host out.

    :raises ScsError: the cluster refuses
    """
    everything = sorted({*addresses, *noted(access, asked).get(host, ())})
    access.output(asked, ceph("config-key", "set", f"{FENCED}{host}", json.dumps(everything)))
    for address in everything:
        # an entry that is there may end soon
        access.output(asked, ceph("osd", "blocklist", "add", _entry(address), str(SECONDS)))


def lift(access: Access, asked: str, host: str, addresses: Collection[str]) -> None:
    """Let a host in again, and whoever has one of its addresses now.

    :raises ScsError: the cluster refuses
    """
    for name, own in noted(access, asked).items():
        if name != host and not set(own) & set(addresses):
            continue
        for address in sorted(set(own) & listed(access, asked)):
            access.output(asked, ceph("osd", "blocklist", "rm", _entry(address)))
        access.output(asked, ceph("config-key", "rm", f"{FENCED}{name}"))


def _entry(address: str) -> str:
    return f"[{address}]:0/0" if ip_address(address).version == 6 else f"{address}:0/0"


def _json(text: str) -> Any:
    # `ceph` says other things beside its answer
    try:
        return json.JSONDecoder().raw_decode(text[text.index("{") :])[0]
    except ValueError:
        raise ScsError(f"Ceph: unexpected answer {text[:100]!r}") from None
