# SPDX-License-Identifier: Apache-2.0
"""What counts as an input of a run: a change of any file that describes the region gives it another hash."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from scs_deploy.base import paths
from scs_deploy.base.errors import RefusedError
from scs_deploy.operations import saved_plan
from scs_deploy.plan.region import Plan
from scs_deploy.region import sources
from scs_deploy.region.inputs import inputs, specs
from scs_deploy.region.region import Region
from scs_deploy.region.selection import Selection
from tests.conftest import dummy_region

LAYERS = Path("collections/ansible_collections/scs")


@pytest.fixture(scope="module")
def region() -> Region:
    return dummy_region("testbed")


@pytest.fixture
def layers(region: Region, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copies of what the services of a layer share, which a test may change."""
    for layer in {"core", *(s.layer for s in region.catalog.services.values())}:
        for shared in ("templates", "files"):
            if (folder := paths.layer(layer) / shared).is_dir():
                shutil.copytree(folder, tmp_path / LAYERS / layer / shared)
    monkeypatch.setenv("SCS_ROOT", str(tmp_path))
    return tmp_path / LAYERS


def read_now(region: Region) -> Region:
    """The region as a command that starts now would read it."""
    return dataclasses.replace(region, inputs=sources.digests(region.environment))


@pytest.mark.parametrize(
    "name", ["openstack/templates/oslo.j2", "openstack/files/peers.py", "core/templates/uwsgi.ini.j2"]
)
def test_a_file_that_services_share_is_an_input(region: Region, layers: Path, tmp_path: Path, name: str) -> None:
    before = inputs(region), specs(region)
    plan = tmp_path / "monday.plan"
    saved_plan.save(plan, read_now(region), Selection(), Plan(changes=()))
    saved_plan.check_inputs(saved_plan.load(plan), read_now(region), plan)
    with (layers / name).open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    assert inputs(region) != before[0]
    assert specs(region) != before[1]
    with pytest.raises(RefusedError, match=f"{name} was changed"):
        saved_plan.check_inputs(saved_plan.load(plan), read_now(region), plan)


def test_a_file_that_moves_is_another_input(region: Region, layers: Path) -> None:
    before = specs(region)
    (layers / "openstack" / "files" / "alive.py").rename(layers / "openstack" / "templates" / "alive.py")
    assert specs(region) != before


def test_what_python_compiles_is_no_input(region: Region, layers: Path, tmp_path: Path) -> None:
    before = inputs(region), sources.digests(region.environment)
    cache = layers / "openstack" / "files" / "__pycache__"
    cache.mkdir(exist_ok=True)
    (cache / "another.pyc").write_bytes(b"x")
    assert (inputs(region), sources.digests(region.environment)) == before
