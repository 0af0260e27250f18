#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Looks at a host for `scs doctor`. A single file without module_utils, as observe.

Ansible replaces the marker below with the arguments (module style `jsonargs`).
"""

DOCUMENTATION = r"""
module: doctor
short_description: Report what a host offers to scs
description:
  - Returns the host's time, free space, memory, Docker version, kernel, and hashes of scs's own programs.
  - Changes nothing.
options:
  programs:
    description: Paths of programs to hash.
    type: list
    elements: str
    required: false
  devices:
    description: Devices to look for.
    type: list
    elements: str
    required: false
  modules:
    description: Kernel modules to look for.
    type: list
    elements: str
    required: false
author: SCS deploy contributors
"""
EXAMPLES = r"""
- name: Look at the host
  scs.core.doctor:
    devices: [/dev/net/tun]
"""
RETURN = r"""
facts:
  description: What the host offers.
  type: dict
  returned: always
"""

import ctypes
import hashlib
import http.client
import json
import os
import re
import socket
import time
from collections.abc import Iterable
from typing import Any

ARGUMENTS = r"""<<INCLUDE_ANSIBLE_MODULE_JSON_ARGS>>"""
SOCKET = "/var/run/docker.sock"
FOLDERS = ("/", "/var/lib/scs", "/var/log/scs")
REBOOT = "/run/reboot-required"


class Connection(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(20)
        self.sock.connect(SOCKET)


def engine() -> dict[str, Any]:
    """What the Docker engine says of itself, or `error`."""
    connection = Connection("localhost")
    result = {}
    try:
        # without a version in the path: any engine answers, also one that no longer knows ours
        for name in ("version", "info"):
            connection.request("GET", "/" + name)
            said = json.loads(connection.getresponse().read())
            keys = ("Version", "ApiVersion", "MinAPIVersion", "DockerRootDir")
            result.update({k: said[k] for k in keys if k in said})
    except (OSError, http.client.HTTPException, ValueError) as error:
        return {"error": str(error)}
    return result


def disks(folders: Iterable[str]) -> dict[str, list[int]]:
    """{folder: [free bytes, all bytes]}, each file system once."""
    result: dict[str, list[int]] = {}
    devices = set()
    for folder in folders:
        try:
            device, space = os.stat(folder).st_dev, os.statvfs(folder)
        except OSError:
            continue
        if device not in devices:
            devices.add(device)
            result[folder] = [space.f_bavail * space.f_frsize, space.f_blocks * space.f_frsize]
    return result


def memory() -> list[int]:
    """[available bytes, all bytes]"""
    with open("/proc/meminfo") as stream:
        fields = dict(line.split(":", 1) for line in stream if ":" in line)
    return [int(fields[name].split()[0]) * 1024 for name in ("MemAvailable", "MemTotal")]


def clock_state() -> Any:
    """adjtimex(2): 5 is a clock that nothing synchronises; None where a container may not ask."""
    state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512))
    return None if state < 0 else state


def natural(text: str) -> list[Any]:
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.findall(r"\d+|[^\d]+", text)]


def newest_kernel(folder: str = "/boot") -> str:
    """The newest installed kernel of the running one's flavour; empty if none is installed, as in a container."""
    flavour = os.uname().release.rpartition("-")[2]
    try:
        names = [n[8:] for n in os.listdir(folder) if n.startswith("vmlinuz-") and n.endswith("-" + flavour)]
    except OSError:
        return ""
    return max(names, key=natural, default="")


def missing_modules(wanted: Iterable[str]) -> list[str]:
    """Modules that the running kernel neither has nor can load."""
    folder = "/lib/modules/" + os.uname().release
    known = set()
    for name in ("modules.dep", "modules.builtin"):
        try:
            with open(os.path.join(folder, name)) as stream:
                known |= {os.path.basename(line.split(":")[0].strip()).split(".")[0] for line in stream}
        except OSError:
            continue
    present = {name.replace("-", "_") for name in known}
    return [m for m in wanted if m.replace("-", "_") not in present and not os.path.isdir("/sys/module/" + m)]


def hashes(paths: Iterable[str]) -> dict[str, str]:
    result = {}
    for path in paths:
        try:
            with open(path, "rb") as stream:
                result[path] = hashlib.sha256(stream.read()).hexdigest()
        except OSError:
            continue
    return result


def facts(arguments: dict[str, Any]) -> dict[str, Any]:
    docker = engine()
    return {
        "time": time.time(),
        "clock_state": clock_state(),
        "container": os.path.exists("/run/systemd/container"),
        "engine": docker,
        "disks": disks([*FOLDERS, docker.get("DockerRootDir", "/var/lib/docker")]),
        "memory": memory(),
        "kernel": os.uname().release,
        "newest_kernel": newest_kernel(),
        "reboot": os.path.exists(REBOOT),
        "cgroup2": os.path.exists("/sys/fs/cgroup/cgroup.controllers"),
        "missing_devices": [d for d in arguments.get("devices") or () if not os.path.exists(d)],
        "missing_modules": missing_modules(arguments.get("modules") or ()),
        "programs": hashes(arguments.get("programs") or ()),
    }


def main() -> None:
    arguments = json.loads(ARGUMENTS)
    print(json.dumps({"changed": False, "facts": facts(arguments.get("ANSIBLE_MODULE_ARGS", arguments))}))


if __name__ == "__main__":
    main()
