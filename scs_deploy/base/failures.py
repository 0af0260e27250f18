# SPDX-License-Identifier: Apache-2.0
"""What an exception that is not ours means to the operator: one line with place and remedy."""

from __future__ import annotations

import errno
import os
import traceback
from pathlib import Path

from scs_deploy.base.errors import RefusedError, ScsError

FULL = (errno.ENOSPC, errno.EDQUOT)


def explained(error: Exception) -> ScsError:
    """The same error, for the operator. One that comes of wrong input or missing rights is a RefusedError."""
    if isinstance(error, ScsError):
        return error
    if isinstance(error, UnicodeError):
        return _encoding(error)
    if isinstance(error, OSError):
        return _system(error)
    return ScsError(
        f"internal error: {type(error).__name__}: {' '.join(str(error).split())} at {_place(error)}",
        "repeat the command with `scs --debug` and report the traceback",
    )


def _system(error: OSError) -> ScsError:
    what = _words(error)
    file = error.filename2 or error.filename or _file_being_used(error)
    message = f"{os.fsdecode(file)}: {what}" if isinstance(file, str | bytes | Path) else what
    if isinstance(error, PermissionError):
        return RefusedError(message, _permission_hint())
    if isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError):
        return RefusedError(message)
    if error.errno in FULL:
        return ScsError(message, "free space, then run the same command again")
    return ScsError(message)


def _words(error: OSError) -> str:
    said = error.strerror or str(error) or type(error).__name__
    return f"{said[:1].lower()}{said[1:]}"


def _permission_hint() -> str:
    return "" if os.geteuid() == 0 else "run scs as the user that owns the region, or with sudo"


def _encoding(error: UnicodeError) -> ScsError:
    file = _file_being_used(error)
    place = f"{file}: " if file else ""
    if isinstance(error, UnicodeDecodeError):
        line = error.object[: error.start].count(b"\n") + 1
        return RefusedError(f"{place}line {line}: not UTF-8 text", "save the file as UTF-8")
    return RefusedError(f"{place}{' '.join(str(error).split())}")


def _file_being_used(error: Exception) -> Path | None:
    """The file of the `Path` method that failed: decoding errors, and errors of an open file, do not name it."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        owner = frame.f_locals.get("self")
        if isinstance(owner, Path) and frame.f_code.co_name in ("read_text", "write_text", "read_bytes", "write_bytes"):
            return owner
    return None


def _place(error: Exception) -> str:
    """The last line of ours that the error passed: `plan/change.py:12`."""
    ours = Path(__file__).parent.parent
    lines = [
        f"{Path(f.filename).relative_to(ours)}:{f.lineno}"
        for f in traceback.extract_tb(error.__traceback__)
        if Path(f.filename).is_relative_to(ours)
    ]
    return lines[-1] if lines else "an unknown place"
