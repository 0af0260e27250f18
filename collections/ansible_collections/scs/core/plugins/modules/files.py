#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Writes and removes rendered configuration files, each atomically."""

DOCUMENTATION = r"""
module: files
short_description: Write configuration files
description: Writes each file atomically, and removes files that no container reads any more.
options:
  write:
    description: Files with path, content (base64), mode, uid, gid. The action plugin renders them from names.
    type: list
    elements: dict
    default: []
  remove:
    description: Paths below /etc/scs.
    type: list
    elements: path
    default: []
author: SCS deploy contributors
"""
EXAMPLES = r"""
- name: Write
  scs.core.files:
    write: [keystone/keystone.conf]
"""
RETURN = r"""
paths:
  description: Files that were written or removed.
  type: list
  returned: always
"""

import base64
import fcntl
import os
import tempfile
from typing import Any

from ansible.module_utils.basic import AnsibleModule

ROOT, LOCK = "/etc/scs", "/run/scs-engine.lock"


def write(entry: dict[str, Any], check: bool) -> bool:
    """Write a file; returns False if it is already correct."""
    path, content, mode = entry["path"], base64.b64decode(entry["content"]), int(entry["mode"], 8)
    try:
        info = os.stat(path)
        with open(path, "rb") as stream:
            same = stream.read() == content
        if same and (info.st_mode & 0o7777, info.st_uid, info.st_gid) == (mode, entry["uid"], entry["gid"]):
            return False
    except (FileNotFoundError, IsADirectoryError):
        pass
    if check:
        return True
    if os.path.isdir(path):
        # Docker creates a directory in place of a missing file to mount
        os.rmdir(path)
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".scs-")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            os.fchmod(stream.fileno(), mode)
            os.fchown(stream.fileno(), entry["uid"], entry["gid"])
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return True


def remove(path: str, check: bool) -> bool:
    """Remove a file, and its folder if it becomes empty; returns False if the file does not exist."""
    if not os.path.realpath(path).startswith(ROOT + "/"):
        raise ValueError(f"{path} is outside {ROOT}")
    if not os.path.lexists(path):
        return False
    if not check:
        os.unlink(path)
        folder = os.path.dirname(path)
        if folder != ROOT and not os.listdir(folder):
            os.rmdir(folder)
    return True


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        {
            "write": {"type": "list", "elements": "dict", "default": [], "no_log": True},
            "remove": {"type": "list", "elements": "path", "default": []},
        },
        supports_check_mode=True,
    )
    done = []
    try:
        # a module of an interrupted run may be starting a container, which must not get only some of the new files
        lock = open(LOCK, "w")  # noqa: SIM115 - held until the process ends
        fcntl.flock(lock, fcntl.LOCK_EX)
        done += [e["path"] for e in module.params["write"] if write(e, module.check_mode)]
        done += [p for p in module.params["remove"] if remove(p, module.check_mode)]
    except (OSError, ValueError) as error:
        module.fail_json(msg=f"configuration files: {error}", paths=done)
    module.exit_json(changed=bool(done), paths=done)


if __name__ == "__main__":
    main()
