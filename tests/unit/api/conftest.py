# SPDX-License-Identifier: Apache-2.0
"""A region with secrets, made once, and its page. No other test sees its folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from scs_deploy.api import access
from scs_deploy.api.facts import Kind
from scs_deploy.base.model import Model
from scs_deploy.region.region import Region
from tests.support import page_region, page_site
from tests.support.page_region import PASSWORD
from tests.support.page_site import Running


@pytest.fixture(scope="session")
def made(
    tmp_path_factory: pytest.TempPathFactory, no_region_of_the_shell: None
) -> tuple[Path, Region, dict[Kind, Model]]:
    """Its folder, the region, and what looks would report of it."""
    folder = tmp_path_factory.mktemp("environments")
    with page_region.environments(folder):
        region = page_region.make(folder)
        access.set_password(region.environment, PASSWORD)
        return folder, region, page_region.all_facts(region)


@pytest.fixture(scope="module")
def region(made: tuple[Path, Region, dict[Kind, Model]]) -> Iterator[Region]:
    with page_region.environments(made[0]):
        yield made[1]


@pytest.fixture(scope="module")
def page(region: Region, made: tuple[Path, Region, dict[Kind, Model]]) -> Iterator[Running]:
    """The page when everything was looked for."""
    with page_site.serving(region, made[2]) as running:
        yield running
