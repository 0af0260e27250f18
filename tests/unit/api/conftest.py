# SPDX-License-Identifier: Apache-2.0
"""A region with secrets, and its page."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from scs_deploy.api import access
from scs_deploy.region.region import Region
from tests.support import page_region, page_site
from tests.support.page_region import PASSWORD
from tests.support.page_site import Running


@pytest.fixture(scope="session")
def region(tmp_path_factory: pytest.TempPathFactory, no_region_of_the_shell: None) -> Iterator[Region]:
    folder = tmp_path_factory.mktemp("environments")
    with page_region.environments(folder):
        made = page_region.make(folder)
        access.set_password(made.environment, PASSWORD)
        yield made


@pytest.fixture(scope="session")
def page(region: Region) -> Iterator[Running]:
    """The page when everything was looked for."""
    with page_site.serving(region, page_region.all_facts(region)) as running:
        yield running
