# SPDX-License-Identifier: Apache-2.0
"""The file that a sync of the recorded small NetBox site writes."""

from __future__ import annotations

import os
from pathlib import Path

from scs_deploy.inventory import synced
from tests.netbox.site import problems, read

GOLDEN = Path(__file__).parent / "netbox" / "small.yml"


def test_the_small_sites_inventory_is_the_golden_file(tmp_path: Path) -> None:
    """`make golden-update` records it anew."""
    found = read(tmp_path)
    assert problems(found) == []
    text = synced.dump(found.document.model_copy(update={"source": "netbox"}))
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(text, encoding="utf-8")
    assert text == GOLDEN.read_text(encoding="utf-8")
