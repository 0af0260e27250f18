# SPDX-License-Identifier: Apache-2.0
"""What people write is taken as written: no number is an address, no text a number."""

from __future__ import annotations

from pathlib import Path

import pytest

from scs_deploy.base import paths
from scs_deploy.base.errors import RefusedError
from scs_deploy.environment import environment as environments


@pytest.mark.parametrize(
    ("right", "wrong", "key"),
    [
        ("{cidr: 10.10.0.0/24}", "{cidr: 10}", "networks.management.cidr"),
        ("{cidr: 10.10.0.0/24}", "{cidr: true}", "networks.management.cidr"),
        ("mtu: 9000", 'mtu: "1_500"', "networks.tunnel.mtu"),
        ("mtu: 9000", "mtu: true", "networks.tunnel.mtu"),
        ("mtu: 9000", "mtu: 9000.0", "networks.tunnel.mtu"),
        ("{address: 10.10.0.9,", "{address: 168427529,", "api.internal.address"),
        ("port: 5000", 'port: "5000"', "registry.port"),
        ("port: 5000", 'port: 5000, managed: "yes"', "registry.managed"),
        ("port: 5000", "port: 5000, managed: 1", "registry.managed"),
    ],
)
def test_a_value_of_another_type_is_refused_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, right: str, wrong: str, key: str
) -> None:
    text = (paths.root() / "environments" / "region" / "environment.yml").read_text(encoding="utf-8")
    assert right in text
    (tmp_path / "region").mkdir()
    file = tmp_path / "region" / "environment.yml"
    file.write_text(text.replace(right, wrong))
    monkeypatch.setenv("SCS_ENVIRONMENTS", str(tmp_path))
    line = next(n for n, line in enumerate(file.read_text().splitlines(), 1) if wrong in line)
    with pytest.raises(RefusedError) as error:
        environments.load("region")
    assert str(error.value).startswith(f"{file}:{line}: {key}"), str(error.value)
