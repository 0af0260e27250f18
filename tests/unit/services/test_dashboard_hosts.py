# SPDX-License-Identifier: Apache-2.0
"""The dashboard answers the names by which it is asked: Django refuses any other Host header."""

from __future__ import annotations

import json
import re
from urllib.parse import urlsplit

import pytest

from scs_deploy.base import paths

GOLDEN = paths.root() / "tests" / "golden"


@pytest.mark.parametrize("host", ["testbed/testbed-1", "testbed-ha/ha-1"])
def test_it_answers_its_own_health_check(host: str) -> None:
    folder = GOLDEN / host / "horizon"
    settings = (folder / "local_settings.py").read_text(encoding="utf-8")
    allowed = json.loads(re.findall(r"^ALLOWED_HOSTS = (.*)$", settings, re.MULTILINE)[0])
    test = json.loads((folder / "container.json").read_text(encoding="utf-8"))["Healthcheck"]["Test"]
    assert urlsplit(next(word for word in test if word.startswith("http"))).hostname in allowed
