#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Copies a Docker volume's files into a folder of this node if there is enough space."""

DOCUMENTATION = r"""
module: volume_copy
short_description: Copy a Docker volume
description:
  - Copies a volume's files with ownership and modes to C(/var/lib/scs/recovery/<volume>/<name>).
  - Keeps the newest two copies; an interrupted copy leaves nothing behind.
options:
  volume:
    description: Name of the volume. Nothing may write to it during the copy.
    type: str
    required: true
  name:
    description: Name of the copy; copies are ordered by it. Without it, the module only returns C(size) and C(free).
    type: str
  exclude:
    description: Names in the volume's top folder that can be recreated.
    type: list
    elements: str
    default: []
author: SCS deploy contributors
"""
EXAMPLES = r"""
- name: Copy
  scs.core.volume_copy:
    volume: mariadb
    name: 20260101T120000
    exclude: [galera.cache]
"""
RETURN = r"""
size:
  description: Bytes that the copy needs; 0 without a volume.
  type: int
  returned: always
free:
  description: Bytes available for copies, minus a margin.
  type: int
  returned: always
path:
  description: The copy.
  type: str
  returned: with a name
"""

import fcntl
import os
import shutil

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.scs.core.plugins.module_utils.engine import Engine, EngineError

TARGET, LOCK = "/var/lib/scs/recovery", "/run/scs-engine.lock"

KEEP = 2
"""Number of copies of a volume to keep."""


def source(volume: str) -> str:
    """The folder of a volume's files; empty if the volume does not exist."""
    for one in Engine().volumes():
        if one["Name"] == volume:
            return str(one["Mountpoint"])
    return ""


def size(folder: str, exclude: list[str]) -> int:
    """Bytes on disk, counted as du does."""
    total = 0
    for base, folders, files in os.walk(folder):
        if base == folder:
            folders[:] = [f for f in folders if f not in exclude]
            files = [f for f in files if f not in exclude]
        for name in files:
            try:
                total += os.lstat(os.path.join(base, name)).st_blocks * 512
            except FileNotFoundError:
                continue
    return total


def free(folder: str) -> int:
    """Usable bytes below a folder: a tenth of the file system, at most 10 GiB, stays free."""
    while not os.path.exists(folder):
        folder = os.path.dirname(folder)
    state = os.statvfs(folder)
    margin = min(state.f_blocks * state.f_frsize // 10, 10 << 30)
    return max(state.f_bavail * state.f_frsize - margin, 0)


def copy(module: AnsibleModule, origin: str, target: str, exclude: list[str]) -> None:
    """Copy a folder completely or not at all."""
    part = target + ".part"
    shutil.rmtree(part, ignore_errors=True)
    os.makedirs(part, mode=0o700)
    entries = [os.path.join(origin, n) for n in sorted(os.listdir(origin)) if n not in exclude]
    try:
        if entries:
            module.run_command(["cp", "-a", "--reflink=auto", "-t", part, "--", *entries], check_rc=True)
        module.run_command(["sync", "-f", part], check_rc=True)
        os.rename(part, target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def forget(folder: str) -> None:
    """Remove old copies."""
    for name in sorted(os.listdir(folder))[:-KEEP]:
        shutil.rmtree(os.path.join(folder, name))


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        {
            "volume": {"type": "str", "required": True},
            "name": {"type": "str"},
            "exclude": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    volume, name, exclude = (module.params[k] for k in ("volume", "name", "exclude"))
    try:
        origin = source(volume)
    except EngineError as error:
        module.fail_json(msg=str(error))
    needs, room = size(origin, exclude) if origin else 0, free(TARGET)
    if not name:
        module.exit_json(changed=False, size=needs, free=room)
    folder = os.path.join(TARGET, volume)
    target = os.path.join(folder, name)
    if not origin:
        module.fail_json(msg=f"no volume {volume}")
    if needs > room:
        module.fail_json(msg=f"a copy of volume {volume} needs {needs >> 20} MiB, {TARGET} has {room >> 20} MiB")
    if not module.check_mode:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        with open(LOCK, "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            copy(module, origin, target, exclude)
            forget(folder)
    module.exit_json(changed=True, size=needs, free=room, path=target)


if __name__ == "__main__":
    main()
