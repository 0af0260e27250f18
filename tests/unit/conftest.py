# SPDX-License-Identifier: Apache-2.0
"""Unit tests know nothing of the shell they are run from."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def no_region_of_the_shell() -> Iterator[None]:
    """A region chosen for the shell (or for the CI job) is none of a unit test's; whole session, as other fixtures."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [n for n in os.environ if n.startswith("SCS_")]:
            patch.delenv(name)
        yield


@pytest.fixture(autouse=True)
def nobody_is_told_of_runs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run would connect to the monitoring hosts of its region, which may exist; those of one test are folders."""
    if request.node.path.name != "test_manager_metrics.py":
        monkeypatch.setattr("scs_deploy.operations.manager_metrics.push", lambda *_: None)
