# SPDX-License-Identifier: Apache-2.0
"""Images of the region that tests run containers of."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache

import pytest


@cache
def available(image: str) -> bool:
    """Whether there is a Docker engine that has the image."""
    if not shutil.which("docker"):
        return False
    found = subprocess.run(["docker", "image", "inspect", image], capture_output=True, timeout=60, check=False)
    return found.returncode == 0


def needs(image: str) -> pytest.MarkDecorator:
    """Mark of a test that runs containers of an image: `make live` runs it (tests/conftest.py)."""
    return pytest.mark.images(image)
