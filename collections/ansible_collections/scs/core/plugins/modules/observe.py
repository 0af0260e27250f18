#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Observes a node. A single file without module_utils, because Ansible's packaging takes 200 ms per call.

Ansible replaces the marker below with the arguments (module style `jsonargs`).
"""

DOCUMENTATION = r"""
module: observe
short_description: Report what a node runs
description:
  - Returns hashes of all rendered files, the state of all containers, images, jobs, listening sockets and free space.
  - Changes nothing. Its action plugin renders the desired files first and compares.
options:
  files:
    description: Desired file paths and their SHA-256; the module returns the text of files that differ.
    type: dict
    required: false
  disks:
    description: Containers for disks, each with the paths of its disks and the volume of its data.
    type: dict
    required: false
  services:
    description: Services to compare; read by the action plugin. Default all.
    type: list
    elements: str
    required: false
  states:
    description: Also return the state of every container; read by the action plugin.
    type: bool
    default: false
author: SCS deploy contributors
"""
EXAMPLES = r"""
- name: Observe
  scs.core.observe:
"""
RETURN = r"""
changes:
  description: What must change on this host.
  type: list
  returned: always
"""

import calendar
import hashlib
import http.client
import json
import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterable
from typing import Any

ARGUMENTS = r"""<<INCLUDE_ANSIBLE_MODULE_JSON_ARGS>>"""
CONFIG, JOBS, RELOADS, STOPPED = "/etc/scs", "/var/lib/scs/jobs", "/var/lib/scs/reloads", "/var/lib/scs/stopped"
DRAINED = "/var/lib/scs/drained"
FIREWALL = "/etc/scs-firewall/rules.nft"
EXITS = "/var/lib/scs/exits"
KEYS = (".key", ".pem")
"""Names of files whose differences are not shown: what they hold stays on the node."""


class Connection(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect("/var/run/docker.sock")


def engine(connection: Connection, path: str) -> Any:
    connection.request("GET", "/v1.41" + path)
    answer = connection.getresponse()
    data = answer.read()
    if answer.status == 404:
        return None
    if answer.status >= 400:
        raise OSError("Docker engine: " + data.decode("utf-8", "replace")[:200])
    return json.loads(data)


def files(wanted: dict[str, str]) -> tuple[dict[str, list[Any]], dict[str, str]]:
    present: dict[str, list[Any]] = {}
    texts: dict[str, str] = {}
    for folder, _, names in os.walk(CONFIG):
        for name in names:
            path = os.path.join(folder, name)
            try:
                with open(path, "rb") as stream:
                    data, info = stream.read(), os.fstat(stream.fileno())
            except OSError:
                continue
            digest = hashlib.sha256(data).hexdigest()
            present[path] = [digest, "%04o" % (info.st_mode & 0o7777), info.st_uid, info.st_gid, info.st_mtime]
            if path in wanted and wanted[path] != digest and not name.endswith(KEYS):
                texts[path] = data.decode("utf-8", "replace")
    return present, texts


def containers(connection: Connection) -> dict[str, dict[str, Any]]:
    result = {}
    for entry in engine(connection, "/containers/json?all=1"):
        labels = entry.get("Labels") or {}
        full = engine(connection, "/containers/%s/json" % entry["Id"])
        if full is None:
            continue
        config, host, state = full["Config"], full["HostConfig"], full["State"]
        result[full["Name"].lstrip("/")] = {
            "managed": "scs.container" in labels,
            "job": labels.get("scs.job"),
            "image_id": full["Image"],
            "image": config.get("Image"),
            "Cmd": config.get("Cmd"),
            "User": config.get("User"),
            "Env": config.get("Env") or [],
            "Labels": labels,
            "StopSignal": config.get("StopSignal"),
            "StopTimeout": config.get("StopTimeout"),
            "Healthcheck": config.get("Healthcheck"),
            "HostConfig": {
                k: host.get(k)
                for k in (
                    "NetworkMode",
                    "Binds",
                    "Tmpfs",
                    "CapAdd",
                    "CapDrop",
                    "GroupAdd",
                    "SecurityOpt",
                    "PidMode",
                    "CgroupnsMode",
                    "Devices",
                    "RestartPolicy",
                    "CpuShares",
                    "Privileged",
                    "ReadonlyRootfs",
                )
            },
            "status": state["Status"],
            "exit_code": state.get("ExitCode"),
            "started": state.get("StartedAt"),
            "restarts": max(
                full.get("RestartCount", 0), unplanned(full["Name"].lstrip("/"), full.get("Created") or "")
            ),
            "health": (state.get("Health") or {}).get("Status"),
        }
    return result


def unplanned(name: str, created: str) -> int:
    """How often a container has ended without scs since it was created. The keeper records what the engine forgets."""
    try:
        since = calendar.timegm(time.strptime(created[:19], "%Y-%m-%dT%H:%M:%S"))
        with open(os.path.join(EXITS, name)) as stream:
            exits = [json.loads(line) for line in stream]
        return sum(1 for e in exits if e["time"] >= since and not e["scs"])
    except (OSError, ValueError, LookupError, TypeError):
        return 0


def listening() -> list[list[Any]]:
    result: list[list[Any]] = []
    for name, family in (("/proc/net/tcp", socket.AF_INET), ("/proc/net/tcp6", socket.AF_INET6)):
        try:
            with open(name) as stream:
                lines = stream.read().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            part = line.split()
            if part[3] != "0A":
                continue
            address, port = part[1].split(":")
            raw = bytes.fromhex(address)
            words = b"".join(raw[i : i + 4][::-1] for i in range(0, len(raw), 4))
            result.append([socket.inet_ntop(family, words), int(port, 16)])
    return result


def firewall() -> list[str] | None:
    """What the packet filter of scs lets in, a line each; None: the host has none."""
    try:
        with open(FIREWALL) as stream:
            return [line.strip() for line in stream if line.rstrip().endswith(" accept")]
    except OSError:
        return None


def balancer(text: str) -> str:
    """The response of this node's HAProxy over its admin socket; empty without one."""
    parts = []
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(5)
            connection.connect("/run/scs/haproxy/admin.sock")
            connection.sendall(text.encode() + b"\n")
            while True:
                part = connection.recv(65536)
                if not part:
                    break
                parts.append(part)
    except OSError:
        return ""
    return b"".join(parts).decode("utf-8", "replace")


def servers() -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """The servers of this node's HAProxy that an operator or a run took out of use, and those that are down.

    HAProxy management guide, `show servers state`: bits of srv_admin_state, srv_op_state 2 is running.
    """
    lines = [line for line in balancer("show servers state").splitlines() if line]
    forced: list[dict[str, str]] = []
    down: list[dict[str, str]] = []
    if len(lines) > 1:
        names = lines[1].lstrip("# ").split()
        for line in lines[2:]:
            row = dict(zip(names, line.split(), strict=False))
            name, bits = {"backend": row["be_name"], "server": row["srv_name"]}, int(row["srv_admin_state"])
            if bits & 9:
                forced.append(dict(name, state="maint" if bits & 1 else "drain"))
            if row["srv_op_state"] != "2":
                down.append(name)
    return forced, down


def used(tables: Iterable[str]) -> dict[str, str]:
    """{backend: server in its only stick table entry}."""
    result = {}
    for table in tables:
        entries = [w[11:] for w in balancer("show table " + table).split() if w.startswith("server_key=")]
        if entries:
            result[table] = entries[-1]
    return result


def here(addresses: Iterable[str]) -> list[str]:
    """The given addresses that this node has. Traffic to an own address has it as its source too; nothing is sent."""
    result = []
    for address in addresses:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((address, 9))
            except OSError:
                continue
            if probe.getsockname()[0] == address:
                result.append(address)
    return result


def records(folder: str) -> dict[str, list[Any]]:
    result: dict[str, list[Any]] = {}
    if os.path.isdir(folder):
        for name in os.listdir(folder):
            path = os.path.join(folder, name)
            try:
                with open(path) as stream:
                    result[name] = [stream.read(4096), os.stat(path).st_mtime]
            except OSError:
                continue
    return result


LABEL = b"bluestore block device"
HEAD = 1 << 20


def disks(wanted: dict[str, dict[str, Any]], volumes: list[str]) -> dict[str, dict[str, Any]]:
    """What is on disks whose containers have no data on this node yet, by path."""
    new = [w for w in wanted.values() if w["volume"] not in volumes]
    return {path: disk(path) for w in new for path in w["paths"]}


def disk(path: str) -> dict[str, Any]:
    """What a disk holds: signatures that util-linux knows, the cluster of a BlueStore, anything else."""
    try:
        mode = os.stat(path).st_mode
        with open(path, "rb") as stream:
            head = stream.read(HEAD)
    except FileNotFoundError:
        # a file is made when it is needed
        return {"missing": path.startswith("/dev/")}
    except OSError as error:
        return {"unreadable": str(error)}
    found = signatures(path)
    return {
        "signatures": found,
        "cluster": label(head, b"ceph_fsid"),
        "osd": label(head, b"whoami"),
        "other": not found and any(head),
        "in_use": stat.S_ISBLK(mode) and busy(path),
    }


def signatures(path: str) -> list[str]:
    answer = subprocess.run(["wipefs", "--no-act", "--json", path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    data = json.loads(answer.stdout or b"{}")
    return list(dict.fromkeys(str(s["type"]) for s in data.get("signatures", ())))


def label(head: bytes, key: bytes) -> str:
    """A value in the label of a BlueStore: keys and values with their lengths in four bytes before them; or empty.

    Source: bluestore_bdev_label_t in Ceph's src/os/bluestore/bluestore_types.h.
    """
    place = head.find(key, 0, 4096) if head.startswith(LABEL) else -1
    if place < 0:
        return ""
    start = place + len(key) + 4
    length = int.from_bytes(head[start - 4 : start], "little")
    return head[start : start + min(length, 64)].decode("ascii", "replace")


def busy(path: str) -> bool:
    """Whether the kernel has a block device open for something else: mounted, LVM, RAID."""
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_EXCL))
    except OSError:
        return True
    return False


def main() -> None:
    arguments = json.loads(ARGUMENTS)
    arguments = arguments.get("ANSIBLE_MODULE_ARGS", arguments)
    wanted = arguments.get("files") or {}
    try:
        connection = Connection("localhost")
        root = engine(connection, "/info")["DockerRootDir"]
        images = {}
        for image in engine(connection, "/images/json"):
            for digest in image.get("RepoDigests") or ():
                images[digest] = image["Id"]
        running = containers(connection)
        volumes = [v["Name"] for v in engine(connection, "/volumes")["Volumes"] or ()]
    except (OSError, http.client.HTTPException) as error:
        print(
            json.dumps(
                {
                    "failed": True,
                    "refused": True,
                    "msg": "no Docker engine answers on this host: %s (run `scs bootstrap`)" % error,
                }
            )
        )
        sys.exit(1)
    present, texts = files(wanted)
    forced, down = servers()
    space = os.statvfs(root)
    print(
        json.dumps(
            {
                "changed": False,
                "files": present,
                "texts": texts,
                "containers": running,
                "images": images,
                "volumes": volumes,
                "jobs": records(JOBS),
                "reloads": {k: v[1] for k, v in records(RELOADS).items()},
                "stopped": sorted(records(STOPPED)),
                "drained": os.path.exists(DRAINED),
                "forced": forced,
                "down": down,
                "used": used(arguments.get("tables") or ()),
                "addresses": here(arguments.get("addresses") or ()),
                "listening": listening(),
                "firewall": firewall(),
                "disks": disks(arguments.get("disks") or {}, volumes),
                "free": space.f_bavail * space.f_frsize,
            }
        )
    )


if __name__ == "__main__":
    main()
