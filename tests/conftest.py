# SPDX-License-Identifier: Apache-2.0
"""A shipped environment with dummy secrets, certificates and locked images: enough to resolve and render everything."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, cast

import pytest

from scs_deploy.region.region import Region
from scs_deploy.spec.release import Lock, LockedImage
from scs_deploy.spec.secret import Format
from tests.support.images import available


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose image is missing; fail it when the tests that need images were asked for."""
    for mark in item.iter_markers("images"):
        if not available(mark.args[0]):
            reason = f"no Docker engine with {mark.args[0]}: scs images build"
            if item.config.option.markexpr == "images":
                pytest.fail(reason, pytrace=False)
            pytest.skip(reason)


class Secrets(Mapping[str, str]):
    """Every declared secret, recognisable by its name; remembers which were asked for."""

    def __init__(self, names: list[str], formats: Mapping[str, Format] = MappingProxyType({})) -> None:
        self.names, self.formats = names, formats
        self.used: set[str] = set()

    def __getitem__(self, key: str) -> str:
        if key not in self.names:
            raise KeyError(key)
        self.used.add(key)
        dummy = f"dummy-{key.replace('_', '-')}"
        if self.formats.get(key) is Format.FERNET:
            return base64.urlsafe_b64encode(dummy.encode().ljust(32, b"-")[:32]).decode()
        return dummy

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class Leaf:
    """A certificate that is none."""

    cert: str
    key: str


class Certificates:
    """Dummy certificates for any name."""

    ca_pem = "dummy region CA\n"

    def leaf(self, name: str) -> Leaf:
        return Leaf(f"dummy certificate of {name}\n", f"dummy key of {name}\n")

    def accepted(self, names: Iterable[str]) -> str:
        return "".join(f"dummy CA of {name}\n" for name in names) or self.ca_pem


def dummy_region(name: str) -> Region:
    """The region of a shipped environment, with dummies for all that is generated per region."""
    return with_dummies(Region.load(name))


def _digest(image: str) -> str:
    """One that begins with 0, unlike those that tests put in its place."""
    return "0" + hashlib.sha256(image.encode()).hexdigest()[1:]


def with_dummies(region: Region) -> Region:
    """A region with dummies for all that is generated per region."""
    images = {
        image: LockedImage(reference=f"scs/{image}", digest=f"sha256:{_digest(image)}", size=1)
        for image in region.release.images
    }
    secrets, certificates = Secrets(region.catalog.secrets(), region.catalog.secret_formats), cast(Any, Certificates())
    dummies = dataclasses.replace(
        region,
        load_secrets=lambda _environment: secrets,
        load_certificates=lambda _environment: certificates,
        load_lock=lambda _environment: Lock(release=region.release.name, images=images),
    )
    assert dummies.secrets is secrets
    # loading them is no use
    secrets.used.clear()
    return dummies


@pytest.fixture(scope="session")
def testbed() -> Region:
    """The shipped one-node environment."""
    return dummy_region("testbed")
