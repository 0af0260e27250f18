#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Takes the servers of a host out of this node's HAProxy, or returns them."""

DOCUMENTATION = r"""
module: balancer
short_description: Drain, disable or enable the servers of a host
description:
  - Sets the state of servers in this node's HAProxy over its admin socket, and saves it. HAProxy restores it when
    it reloads or starts, even after a reboot of this node.
  - Waits until the sessions of drained servers have ended, up to a limit, and closes those of servers in maintenance.
  - Sets or removes the mark that makes keepalived give the region's addresses to another host.
options:
  server:
    description: Name of the servers, which is the name of their host.
    type: str
    required: true
  states:
    description: C(ready), C(drain) or C(maint) by backend. Backends unknown to HAProxy are skipped.
    type: dict
    default: {}
  wait:
    description: Seconds to wait for sessions of drained servers to end, and for servers to come up.
    type: int
    default: 0
  quiet:
    description:
      - Backends whose sessions to wait for; by default all drained ones.
      - If set, every drained backend must have another working server; the module waits for it.
    type: list
    elements: str
  move:
    description:
      - Backends that use one server at a time and must no longer use this one.
      - Open sessions continue; new ones go to another server.
    type: list
    elements: str
    default: []
  up:
    description: Backends that must have the server up at the end.
    type: list
    elements: str
    default: []
  outlast:
    description:
      - Whether the states survive a restart of this node.
      - False during a change; if the node dies meanwhile, it decides by health when it is back.
    type: bool
    default: true
  mark:
    description: Whether this node itself is drained. By default, the mark does not change.
    type: bool
author: SCS deploy contributors
"""
EXAMPLES = r"""
- name: Send no new request to control-2
  scs.core.balancer:
    server: control-2
    states: {identity: drain, database: maint}
    wait: 30
"""
RETURN = r"""
sessions:
  description: Sessions that were still open at the end, by backend.
  type: dict
  returned: always
"""

import os
import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.scs.core.plugins.module_utils import haproxy

SETTLED = 3
"""Number of checks, 0.2 s apart, in which a server must be out of use."""

MARK = "/run/scs/haproxy/drained"
TMPFILES = "/etc/tmpfiles.d/scs-drained.conf"
"""/run is empty after a reboot: systemd-tmpfiles restores what must survive it before the containers start."""


def sessions(server: str, backends: list[str]) -> dict[str, int]:
    """Open sessions of a server by backend, without backends that have none."""
    import csv

    text = haproxy.command("show stat -1 4 -1").lstrip("# ")
    rows = csv.DictReader(text.splitlines())
    return {
        row["pxname"]: int(row["scur"] or 0)
        for row in rows
        if row["svname"] == server and checked(row["pxname"]) in backends and int(row["scur"] or 0)
    }


def checked(backend: str) -> str:
    """The backend whose servers a backend has."""
    return backend.removesuffix(haproxy.UNCHECKED)


def alone(server: str, backends: list[str]) -> list[str]:
    """Backends in which this is the only working server, so that nothing would answer without it."""
    up: dict[str, set[str]] = {}
    for row in haproxy.servers():
        if row["srv_op_state"] == "2" and haproxy.forced(row) == "ready":
            # a host's process of an earlier scs goes with the host
            up.setdefault(row["be_name"], set()).add(row["srv_name"].removesuffix("_earlier"))
    return [backend for backend in backends if up.get(backend) == {server}]


def moved(server: str, backends: list[str]) -> list[str]:
    """Make HAProxy forget that a server is in use; returns the backends where it was.

    A stick table's entry overrides a drain. The other load balancers share their entries, so one call may not suffice.
    """
    left = []
    for backend in backends:
        if server in used(backend):
            haproxy.command(f"clear table {backend}")
            left.append(backend)
    return left


def used(backend: str) -> list[str]:
    """Servers in the entries of a backend's stick table."""
    words = haproxy.command(f"show table {backend}").split()
    return [word.partition("=")[2] for word in words if word.startswith("server_key=")]


def wait_gone(server: str, draining: list[str], moves: list[str], deadline: float) -> dict[str, int]:
    """Wait until no session is open and no backend has used the server for a while; returns the remaining sessions.

    The end of a request writes its server to the stick table again, and load balancers share their entries.
    """
    settled = 0
    while True:
        left = sessions(server, draining)
        settled = 0 if moved(server, moves) or left else settled + 1
        if settled > (SETTLED if moves else 0) or time.monotonic() > deadline:
            return left
        time.sleep(0.2)


def set_states(server: str, states: dict[str, str]) -> list[str]:
    """Set states; returns the backends whose server had another one.

    :raises ValueError: HAProxy rejects a state; with its message
    """
    changed = []
    for row in haproxy.servers():
        wanted = states.get(checked(row["be_name"]))
        if row["srv_name"] != server or wanted is None or haproxy.forced(row) == wanted:
            continue
        said = haproxy.command("set server {}/{} state {}".format(row["be_name"], server, wanted)).strip()
        if said:
            raise ValueError("{}/{}: {}".format(row["be_name"], server, said))
        if wanted == "maint":
            # clients with connection pools would keep using it
            haproxy.command("shutdown sessions server {}/{}".format(row["be_name"], server))
        changed.append(row["be_name"])
    return changed


def write(path: str, text: str) -> bool:
    """Write a file, or remove it if `text` is empty; returns whether it changed."""
    try:
        with open(path, encoding="ascii") as file:
            before = file.read()
    except OSError:
        before = None
    if before == (text or None):
        return False
    if not text:
        os.unlink(path)
        return True
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".new", "w", encoding="ascii") as file:
        file.write(text)
    os.replace(path + ".new", path)
    return True


def keep(mark: bool) -> bool:
    """Make the mark and the forced states survive a reboot; returns whether this changed a file."""
    some = any(haproxy.forced(row) != "ready" for row in haproxy.servers())
    lines = [f"d {os.path.dirname(MARK)} 0755 root root"] if mark or some else []
    if mark:
        lines.append(f"f {MARK} 0644 root root")
    if some:
        lines.append(f"C {haproxy.SERVERS} 0644 root root - {haproxy.KEPT}")
    return write(TMPFILES, "".join(line + "\n" for line in lines))


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        {
            "server": {"type": "str", "required": True},
            "states": {"type": "dict", "default": {}},
            "wait": {"type": "int", "default": 0},
            "quiet": {"type": "list", "elements": "str"},
            "move": {"type": "list", "elements": "str", "default": []},
            "up": {"type": "list", "elements": "str", "default": []},
            "outlast": {"type": "bool", "default": True},
            "mark": {"type": "bool"},
        },
        supports_check_mode=True,
    )
    server, states, mark = (module.params[key] for key in ("server", "states", "mark"))
    wrong = sorted(set(states.values()) - {"ready", "drain", "maint"})
    if wrong:
        module.fail_json(msg="states: {}: must be ready, drain or maint".format(", ".join(map(str, wrong))))
    if module.check_mode:
        differ = [r for r in haproxy.servers() if r["srv_name"] == server and states.get(checked(r["be_name"]))]
        module.exit_json(changed=any(haproxy.forced(r) != states[checked(r["be_name"])] for r in differ), sessions={})
    if states and not haproxy.servers():
        # it would use these servers once it starts
        module.fail_json(msg="HAProxy does not answer on this host, so its servers cannot be set; scs start haproxy")
    deadline = time.monotonic() + module.params["wait"]
    if module.params["quiet"] is not None:
        leaving = [backend for backend, state in states.items() if state == "drain"]
        while (unserved := alone(server, leaving)) and time.monotonic() < deadline:
            time.sleep(0.5)
        if unserved:
            module.fail_json(msg="{} is not drained: no other server of {} works".format(server, ", ".join(unserved)))
    changed = False
    marked = os.path.exists(MARK)
    if mark is not None and mark != marked:
        changed = write(MARK, "scs node drain\n" if mark else "") or changed
    try:
        changed = bool(set_states(server, states)) or changed
    except ValueError as error:
        module.fail_json(msg=f"HAProxy: {error}")
    if module.params["outlast"]:
        changed = haproxy.remember(haproxy.SERVERS, haproxy.KEPT) or changed
        changed = keep(marked if mark is None else mark) or changed
    else:
        changed = haproxy.remember() or changed
    deadline = time.monotonic() + module.params["wait"]
    down = haproxy.wait_up([(backend, server) for backend in module.params["up"]], deadline)
    if down:
        module.fail_json(msg="HAProxy does not send to {}".format(", ".join(map("/".join, down))))
    quiet = module.params["quiet"]
    draining = [b for b, state in states.items() if state == "drain" and (quiet is None or b in quiet)]
    left = wait_gone(server, draining, module.params["move"], deadline)
    if still := moved(server, module.params["move"]):
        module.fail_json(msg="HAProxy keeps using {} for {}".format(server, ", ".join(still)))
    module.exit_json(changed=changed, sessions=left)


if __name__ == "__main__":
    main()
