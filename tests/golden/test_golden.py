# SPDX-License-Identifier: Apache-2.0
"""Rendered files and definitions of the shipped testbeds, byte for byte: a diff here is what operators will see.

Of the hosts after the first one, only what differs from the first is recorded. After a wanted change:
`make golden-update`, then read `git diff tests/golden`.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from scs_deploy.desired import ceph, resolve
from scs_deploy.desired.model import File
from scs_deploy.region.region import Region
from scs_deploy.spec.sources import source
from tests.conftest import dummy_region

GOLDEN = Path(__file__).parent


def rendered(region: Region, host: str) -> dict[str, str]:
    """path below the host's folder: text."""
    desired = resolve.resolve(region, host)
    own = [f for f in desired.files.values() if f.name != "ca.crt" and not f.name.startswith("tls/")]
    result = {f"{f.container}/{f.name}": f.content for f in own if _is_rendered(region, f)}
    for name, run in desired.containers.items():
        body = {k: v for k, v in run.body.items() if k != "Labels"}
        result[f"{name}/container.json"] = json.dumps(body, indent=2, sort_keys=True) + "\n"
    result["files.json"] = _json({f"{f.container}/{f.name}": f"{f.mode} {f.uid}:{f.gid}" for f in own})
    result["jobs.json"] = _json(
        {n: {"command": j.body["Cmd"], "phase": j.phase, "user": j.body["User"]} for n, j in desired.jobs.items()}
    )
    return result


def _is_rendered(region: Region, file: File) -> bool:
    """Whether it is made for this host: a program is the same on the host as in its files/ folder."""
    if file.name.startswith(f"{ceph.SUBFOLDER}/"):
        return True
    return source(region.catalog.services[file.service], file.container, file.name).suffix == ".j2"


def _json(value: object) -> str:
    return json.dumps(value, indent=2) + "\n"


@pytest.mark.parametrize("environment", ["testbed", "testbed-ha"])
def test_rendered_files_are_as_recorded(environment: str) -> None:
    region, folder = dummy_region(environment), GOLDEN / environment
    first, *others = region.inventory.hosts
    reference = rendered(region, first)
    now = {f"{first}/{path}": text for path, text in reference.items()}
    for host in others:
        texts = rendered(region, host)
        now |= {f"{host}/{path}": text for path, text in texts.items() if reference.get(path) != text}
    if os.environ.get("UPDATE_GOLDEN"):
        shutil.rmtree(folder, ignore_errors=True)
        for name, text in now.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    recorded = {str(p.relative_to(folder)): p.read_text(encoding="utf-8") for p in folder.rglob("*") if p.is_file()}
    assert sorted(now) == sorted(recorded), "other files than recorded: make golden-update"
    for name, text in now.items():
        assert text == recorded[name], f"{name} differs: make golden-update, then read git diff tests/golden"
