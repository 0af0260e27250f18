# SPDX-License-Identifier: Apache-2.0
"""What the module observe tells of a node's files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import node_modules


def test_keys_stay_on_the_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = node_modules.load(monkeypatch, "observe")
    monkeypatch.setattr(module, "CONFIG", str(tmp_path))
    for name in ("web.conf", "host.key", "internal.pem"):
        (tmp_path / name).write_text("now")
    wanted = {str(tmp_path / n): "of another content" for n in ("web.conf", "host.key", "internal.pem")}
    present, texts = module.files(wanted)
    assert set(present) == set(wanted)
    assert texts == {str(tmp_path / "web.conf"): "now"}
