#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""cinder-backup with copies of encrypted volumes that are whole.

In Ceph an encrypted volume of 1 GiB is 1 GiB that its guest sees, and a LUKS header before it. Cinder's driver copies
1 GiB: a restored volume lacks the end, as large as the header, and reads as noise there. Nothing tells of it.

Nor does a copy to a volume that a restore makes keep its place, if the default type is encrypted: Cinder before 29
passes over 128 MiB that are all zeros, and writes what follows there (https://bugs.launchpad.net/cinder/+bug/2155612).
"""

import inspect
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

# Imported first: it applies eventlet's patches.
from cinder.cmd import backup  # isort: skip

from cinder.backup.drivers import ceph  # isort: skip


def whole(copy: Callable[..., Any], volume: str) -> Callable[..., Any]:
    """Wrap a method that copies the first `length` bytes from or to a volume: it copies all of it.

    :param volume: the argument that is the volume's file; one that is not in Ceph is left as it is
    """
    signature = inspect.signature(copy)

    @wraps(copy)
    def copy_whole(*args: Any, **kwargs: Any) -> Any:
        call = signature.bind(*args, **kwargs)
        if image := getattr(call.arguments[volume], "rbd_image", None):
            call.arguments["length"] = max(call.arguments["length"], image.size())
        return copy(*call.args, **call.kwargs)

    return copy_whole


class InStep:
    """A volume that is written where its source was read."""

    def __init__(self, target: Any, source: Any) -> None:
        self._target, self._source = target, source

    def write(self, data: bytes) -> Any:
        """Write what the source gave last."""
        self._target.seek(self._source.tell() - len(data))
        return self._target.write(data)

    def tell(self) -> int:
        """Where the copy is; nothing was written at its end if that is all zeros."""
        return int(self._source.tell())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)


def in_step(copy: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a method that copies from `src` to `dest` and may pass over what is all zeros: the rest keeps its place."""
    signature = inspect.signature(copy)

    @wraps(copy)
    def copy_in_step(*args: Any, **kwargs: Any) -> Any:
        call = signature.bind(*args, **kwargs)
        if call.arguments.get("discard_zeros"):
            call.arguments["dest"] = InStep(call.arguments["dest"], call.arguments["src"])
        return copy(*call.args, **call.kwargs)

    return copy_in_step


if __name__ == "__main__":
    driver = ceph.CephBackupDriver
    driver._full_restore = whole(driver._full_restore, "dest_file")
    driver._full_backup = whole(driver._full_backup, "src_volume")
    driver._transfer_data = in_step(driver._transfer_data)
    sys.argv[0] = "cinder-backup"
    sys.exit(backup.main())
