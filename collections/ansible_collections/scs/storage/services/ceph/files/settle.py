#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Does what follows from the release that all daemons run: modules of the manager, and the release that OSDs must have.

Safe to run again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable

from ceph_command import FailedError, ask
from ceph_settings import CONF

MODULES = {"prometheus": {"server_addr": "127.0.0.1"}}
"""What is on beside what the manager has on always, with its options. A manager does not take these from its file."""

EXPECTED = ("AUTH_INSECURE_KEYS_ALLOWED", "AUTH_INSECURE_KEYS_CREATABLE", "AUTH_INSECURE_CLIENT_KEY_TYPE")
"""Warnings about keys that clients of Ceph 18.2 need, the images' own Debian's. Those about daemons' keys are not here.

https://docs.ceph.com/en/latest/rados/operations/health-checks/"""

CLIENTS = "reef"
"""The oldest release of clients: that of Debian 13. With mimic or later, images that have clones can be deleted."""

RELEASES = {18: "reef", 19: "squid", 20: "tentacle"}

Ask = Callable[..., str]


def common_release(versions: Iterable[str]) -> str:
    """The name of the release that all OSDs run, e.g. of `ceph version 20.2.4 (...)`; empty: there is none."""
    majors = {int(text.split()[2].partition(".")[0]) for text in versions}
    return RELEASES.get(majors.pop(), "") if len(majors) == 1 else ""


def settle(ceph: Ask) -> list[str]:
    """Change what differs; the commands that did.

    :raises FailedError: no quorum answers, or it refuses
    """
    done = []
    enabled = json.loads(ceph("mgr", "module", "ls", "--format", "json"))
    on = {*enabled["enabled_modules"], *enabled["always_on_modules"]}
    dump = json.loads(ceph("config", "dump", "--format", "json"))
    known = {o["name"]: o["value"] for o in dump if o["section"] == "mgr"}
    for module, options in MODULES.items():
        wanted = {f"mgr/{module}/{name}": value for name, value in options.items()}
        changed = [name for name, value in wanted.items() if known.get(name) != value]
        for name in changed:
            ceph("config", "set", "mgr", name, wanted[name])
            done.append(f"config set mgr {name} {wanted[name]}")
        if module in on and changed:
            # it reads them when it starts
            ceph("mgr", "module", "disable", module)
        if module not in on or changed:
            ceph("mgr", "module", "enable", module)
            done.append(f"mgr module enable {module}")
    muted = {m["code"] for m in json.loads(ceph("status", "--format", "json"))["health"].get("mutes", ())}
    for code in (c for c in EXPECTED if c not in muted):
        ceph("health", "mute", code, "--sticky")
        done.append(f"health mute {code}")
    release = common_release(json.loads(ceph("versions", "--format", "json"))["osd"])
    osds = json.loads(ceph("osd", "dump", "--format", "json"))
    if osds["require_min_compat_client"] < CLIENTS:
        # releases are in the order of the alphabet
        ceph("osd", "set-require-min-compat-client", CLIENTS)
        done.append(f"osd set-require-min-compat-client {CLIENTS}")
    if release and release != osds["require_osd_release"]:
        ceph("osd", "require-osd-release", release)
        done.append(f"osd require-osd-release {release}")
    return done


if __name__ == "__main__":
    try:
        changed = settle(lambda *words: ask("client.admin", CONF / "ceph.client.admin.keyring", *words))
    except FailedError as error:
        sys.exit(str(error))
    print(", ".join(changed) or "nothing to settle")
