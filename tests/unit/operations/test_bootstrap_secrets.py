# SPDX-License-Identifier: Apache-2.0
"""`scs bootstrap` generates the secrets and certificates that a new version of scs needs, and no others."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest
import typer
from typer.testing import CliRunner

from scs_deploy.cli import env
from scs_deploy.cli import secrets as secrets_cli
from scs_deploy.engine import runner
from scs_deploy.environment import environment as environments
from scs_deploy.environment.environment import Environment
from scs_deploy.operations.bootstrap import Bootstrap
from scs_deploy.region.certificates import wanted_leaves
from scs_deploy.region.region import Region
from scs_deploy.secrets import pki, store, vault

app = typer.Typer()
env.register(app)
secrets_cli.register(app)


class Played:
    """What Ansible answers."""

    unreachable: ClassVar[dict[str, str]] = {}

    def raise_for(self, *_: object, **__: object) -> None:
        """Nothing failed."""


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    monkeypatch.setenv("SCS_ENVIRONMENTS", str(tmp_path))
    monkeypatch.setenv("SCS_ENVIRONMENT", "berlin")
    monkeypatch.setattr(runner, "run_playbook", lambda *_: Played())
    for words in (("env", "init", "berlin", "--from", "testbed"), ("secrets", "init", "--create-vault-password")):
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, result.output
    return environments.load("berlin")


def test_what_is_missing_is_generated(environment: Environment) -> None:
    before = store.load(environment)
    new = ("keystone_cache_secret", "memcached_password")
    vault.save(environment, environment.secrets_file, store.dump({k: v for k, v in before.items() if k not in new}))
    assert Bootstrap(Region.load()).run().secrets == new
    after = store.load(environment)
    assert after.keys() == before.keys()
    assert {k: v for k, v in after.items() if k not in new} == {k: v for k, v in before.items() if k not in new}
    assert Bootstrap(Region.load()).run().secrets == ()


def test_missing_certificates_are_issued(environment: Environment) -> None:
    region = Region.load()
    before = region.certificates.leaves
    wanted = wanted_leaves(environment, region.catalog, region.inventory)
    # an earlier version knew fewer purposes
    pki.ensure(environment, {name: leaf for name, leaf in wanted.items() if not name.startswith("libvirt/")})
    issued = Bootstrap(Region.load()).run().certificates
    assert issued == tuple(sorted(n for n in wanted if n.startswith("libvirt/")))
    assert issued
    assert Region.load().certificates.leaves.keys() == before.keys()
    assert Bootstrap(Region.load()).run().certificates == ()


def test_a_region_without_secrets_gets_none(environment: Environment) -> None:
    environment.secrets_file.unlink()
    assert Bootstrap(Region.load()).run().secrets == ()
    assert not environment.secrets_file.exists()
