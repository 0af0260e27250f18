# SPDX-License-Identifier: Apache-2.0
"""Files whose content this process and its forks read once: a run never uses one half of an edit."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_contents: dict[Path, bytes] = {}


def freeze(files: Iterable[Path]) -> None:
    """Read files now. From here on `read_text` returns what they contain now, whatever is written to them.

    A file that this user cannot read stays as it is.
    """
    for file in files:
        with suppress(OSError):
            _contents[file] = file.read_bytes()


def read_text(file: Path) -> str:
    """A file's content, as it was when it was frozen.

    :raises OSError: it is not frozen and cannot be read
    """
    content = _contents.get(file)
    return file.read_text(encoding="utf-8") if content is None else content.decode()


def is_frozen(file: Path) -> bool:
    """Whether the content is held by this process."""
    return file in _contents


def thaw() -> None:
    """Forget all contents, so that files are read again."""
    _contents.clear()
