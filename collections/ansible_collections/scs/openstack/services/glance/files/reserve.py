# SPDX-License-Identifier: Apache-2.0
"""Stops uploads before they fill a disk that other services use too.

Every way in ends in a store's `add`: uploads, staged ones, downloads and copies, whether their size is known or not.
"""

import os
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any


def free(path: str) -> int:
    """Bytes that a file system has left."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


class _Reader:
    """Data that is read only while there is room for it."""

    def __init__(self, data: Any, check: Callable[[], None]) -> None:
        self.data, self.check = data, check

    def read(self, size: int | None = None) -> bytes:
        self.check()
        chunk: bytes = self.data.read(size)
        return chunk


def _chunks(data: Any, check: Callable[[], None]) -> Iterator[bytes]:
    for chunk in data:
        check()
        yield chunk


def reserving(add: Callable[..., Any], full: Callable[..., Exception], path: str, reserve: int) -> Callable[..., Any]:
    """A store's `add` that refuses what would leave less than the reserve.

    :param full: what stores raise, with a `message`; users get status 413
    :param reserve: bytes
    """

    @wraps(add)
    def reserved(store: Any, image_id: str, image_file: Any, image_size: int | None, *args: Any, **kwargs: Any) -> Any:
        def check(more: int = 0) -> None:
            if free(path) - more < reserve:
                raise full(message=f"the reserve of {reserve >> 20} MiB on disk is for other services")

        check(image_size or 0)
        data = _Reader(image_file, check) if hasattr(image_file, "read") else _chunks(image_file, check)
        return add(store, image_id, data, image_size, *args, **kwargs)

    return reserved
