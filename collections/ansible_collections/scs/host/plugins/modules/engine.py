#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Configures the Docker engine and keeps it running with that configuration."""

DOCUMENTATION = r"""
module: engine
short_description: Configure and start the Docker engine
description:
  - Writes /etc/docker/daemon.json and the CA of each registry below /etc/docker/certs.d.
  - Restarts the engine if it started before daemon.json was written, even if an earlier run was interrupted in between.
    Containers keep running during a restart once live-restore is active.
  - Waits until the engine answers.
options:
  settings:
    description: All keys of /etc/docker/daemon.json.
    type: dict
    required: true
  settings_in_container:
    description: Additional keys for a host that is a container.
    type: dict
    default: {}
  registries:
    description: Maps a registry (host and port) to the PEM text of the CA that signed its certificate.
    type: dict
    default: {}
author: SCS deploy contributors
"""
EXAMPLES = r"""
- name: Configure and start the engine
  scs.host.engine:
    settings:
      live-restore: true
"""
RETURN = r"""
actions:
  description: What was done, in order.
  type: list
  returned: always
version:
  description: The engine's version.
  type: str
  returned: success, not in check mode
"""

import http.client
import json
import os
import socket
import time

from ansible.module_utils.basic import AnsibleModule

FOLDER = "/etc/docker"
SOCKET = "/run/docker.sock"
CONTAINER = "/run/systemd/container"
DEADLINE = 90


def read(path: str) -> str:
    """A file's text; empty if it does not exist."""
    try:
        with open(path) as stream:
            return stream.read()
    except FileNotFoundError:
        return ""


def write(module: AnsibleModule, path: str, text: str) -> bool:
    """Write a world-readable file; returns False if it is already correct."""
    if read(path) == text:
        return False
    if not module.check_mode:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        temporary = os.path.join(module.tmpdir, "engine-file")
        with open(temporary, "w") as stream:
            stream.write(text)
        os.chmod(temporary, 0o644)
        module.atomic_move(temporary, path)
    return True


def prune_registries(module: AnsibleModule, wanted: "set[str]") -> "list[str]":
    """Remove the CA files that scs wrote for registries that the region no longer uses."""
    folder, removed = os.path.join(FOLDER, "certs.d"), []
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        path = os.path.join(folder, name, "scs-ca.crt")
        if name not in wanted and os.path.exists(path):
            removed.append(f"stopped trusting {name}")
            if not module.check_mode:
                os.unlink(path)
    return removed


def started_at() -> "float | None":
    """Start time of the engine's process, seconds since the epoch; None if it is not running."""
    try:
        with open("/run/docker.pid") as stream:
            pid = int(stream.read())
        with open(f"/proc/{pid}/comm") as stream:
            if stream.read().strip() != "dockerd":
                return None
        with open(f"/proc/{pid}/stat") as stream:
            ticks = int(stream.read().rpartition(")")[2].split()[19])
        with open("/proc/uptime") as stream:
            uptime = float(stream.read().split()[0])
    except (OSError, ValueError):
        return None
    return time.time() - uptime + ticks / os.sysconf("SC_CLK_TCK")


def version() -> "str | None":
    """The engine's version; None if it does not answer."""
    connection = http.client.HTTPConnection("localhost")
    try:
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.settimeout(5)
        connection.sock.connect(SOCKET)
        connection.request("GET", "/version")
        answer: str | None = json.loads(connection.getresponse().read()).get("Version")
        return answer
    except (OSError, ValueError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def systemctl(module: AnsibleModule, *arguments: str, check: bool = True) -> int:
    """Run systemctl. If it fails, the task fails with its output."""
    code, out, err = module.run_command(["systemctl", *arguments])
    if check and code:
        journal = module.run_command(
            ["journalctl", "--unit", "docker", "--no-pager", "--lines", "5", "--output", "cat"]
        )[1]
        words = " ".join(f"{out} {err} {journal}".split())
        module.fail_json(msg=f"systemctl {' '.join(arguments)}: {words}")
    return int(code)


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        {
            "settings": {"type": "dict", "required": True},
            "settings_in_container": {"type": "dict", "default": {}},
            "registries": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    settings = dict(module.params["settings"])
    if os.path.exists(CONTAINER):
        settings.update(module.params["settings_in_container"])
    text = json.dumps(settings, indent=2, sort_keys=True) + "\n"
    path, actions = os.path.join(FOLDER, "daemon.json"), []
    before = read(path)
    if write(module, path, text):
        actions.append(f"wrote {path}")
    for registry, authority in sorted(module.params["registries"].items()):
        # the engine reads it at every pull, so this needs no restart
        if write(module, os.path.join(FOLDER, "certs.d", registry, "scs-ca.crt"), authority):
            actions.append(f"trusted {registry}")
    actions += prune_registries(module, set(module.params["registries"]))

    if systemctl(module, "is-enabled", "--quiet", "docker.service", check=False):
        actions.append("enabled docker.service")
        if not module.check_mode:
            systemctl(module, "enable", "--quiet", "docker.service")
    start = started_at()
    # not running, or started before the file was written
    stale = start is not None and (f"wrote {path}" in actions or os.path.getmtime(path) > start + 1)
    if start is None or stale:
        actions.append("restarted the engine" if stale else "started the engine")
        if not module.check_mode:
            systemctl(module, "restart" if stale else "start", "docker.service")
    answer = version()
    if not module.check_mode:
        end = time.monotonic() + DEADLINE
        while answer is None:
            if time.monotonic() > end:
                module.fail_json(
                    msg=f"the Docker engine does not answer on {SOCKET} within {DEADLINE} s: journalctl -u docker"
                )
            time.sleep(0.2)
            answer = version()
    module.exit_json(
        changed=bool(actions),
        actions=actions,
        version=answer,
        diff={"before": before, "after": text, "before_header": path, "after_header": path},
    )


if __name__ == "__main__":
    main()
