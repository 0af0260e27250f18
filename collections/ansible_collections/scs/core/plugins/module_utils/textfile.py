# SPDX-License-Identifier: Apache-2.0
"""Writes a file of metrics that node_exporter reads. Runs on a host, with the standard library only."""

from __future__ import annotations

import os


def answers(path: str, content: str) -> str:
    """Replace a file, which others read meanwhile; returns its path.

    :raises OSError: it cannot be written
    """
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    new = path + ".new"
    with open(new, "w", encoding="utf-8") as stream:
        stream.write(content)
    os.chmod(new, 0o644)
    os.replace(new, path)
    return path
