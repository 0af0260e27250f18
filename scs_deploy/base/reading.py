# SPDX-License-Identifier: Apache-2.0
"""Reads the files that people write. A pipe would block, a device would never end, and neither describes a region."""

from __future__ import annotations

import stat
from pathlib import Path

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.failures import explained
from scs_deploy.base.shown import shown

LARGEST = 64 * 2**20
"""bytes"""


def check_name(path: Path) -> None:
    """Check that a path can be part of a message.

    :raises RefusedError: its name has control characters, or is not UTF-8
    """
    if not path.name.isprintable():
        raise RefusedError(f"{path.parent}: '{shown(path.name)}': the name has control characters", "rename it")


def read_bytes(path: Path) -> bytes:
    """The content of a regular file.

    :raises RefusedError: it is missing, cannot be read, is no regular file, or is too large
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, socket or device"
            raise RefusedError(f"{path}: is {kind}, not a file")
        if status.st_size > LARGEST:
            raise RefusedError(f"{path}: is larger than {LARGEST // 2**20} MiB")
        return path.read_bytes()
    except FileNotFoundError:
        raise RefusedError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        said = explained(error)
        raise RefusedError(f"{path}: cannot be read: {said.message.removeprefix(f'{path}: ')}", said.hint) from None


def read_text(path: Path) -> str:
    """The text of a regular file, with the lines of any system.

    :raises RefusedError: see `read_bytes`, or it is not UTF-8; names the line
    """
    content = read_bytes(path)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise RefusedError(f"{path}:{line}: not UTF-8 text", "save the file as UTF-8") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")
