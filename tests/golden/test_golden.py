# SPDX-License-Identifier: Apache-2.0
"""Rendered files and definitions of the shipped testbed, byte for byte: a diff here is what operators will see.

After a wanted change: `make golden-update`, then read `git diff tests/golden`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from scs_deploy.desired import resolve
from scs_deploy.region.region import Region

GOLDEN = Path(__file__).parent / "testbed"


def rendered(region: Region) -> dict[str, str]:
    """path below GOLDEN: text."""
    result = {}
    for host in region.inventory.hosts:
        desired = resolve.resolve(region, host)
        for file in desired.files.values():
            if file.name != "ca.crt" and not file.name.startswith("tls/"):
                result[f"{host}/{file.container}/{file.name}"] = file.content
        for name, run in desired.containers.items():
            body = {k: v for k, v in run.body.items() if k != "Labels"}
            result[f"{host}/{name}/container.json"] = json.dumps(body, indent=2, sort_keys=True) + "\n"
        jobs = {
            n: {"command": j.body["Cmd"], "phase": j.phase, "user": j.body["User"]} for n, j in desired.jobs.items()
        }
        result[f"{host}/jobs.json"] = json.dumps(jobs, indent=2) + "\n"
    return result


def test_rendered_files_are_as_recorded(testbed: Region) -> None:
    now = rendered(testbed)
    if os.environ.get("UPDATE_GOLDEN"):
        for old in GOLDEN.rglob("*"):
            if old.is_file():
                old.unlink()
        for name, text in now.items():
            path = GOLDEN / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    recorded = {str(p.relative_to(GOLDEN)): p.read_text(encoding="utf-8") for p in GOLDEN.rglob("*") if p.is_file()}
    assert sorted(now) == sorted(recorded), "other files than recorded: make golden-update"
    for name, text in now.items():
        assert text == recorded[name], f"{name} differs: make golden-update, then read git diff tests/golden"
