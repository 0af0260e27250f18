# SPDX-License-Identifier: Apache-2.0
"""`scs env` and `scs secrets` on an environment of their own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from scs_deploy.base.errors import RefusedError
from scs_deploy.cli import env
from scs_deploy.cli import secrets as secrets_cli
from scs_deploy.environment import environment as environments
from scs_deploy.secrets import store as secrets

app = typer.Typer()
env.register(app)
secrets_cli.register(app)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SCS_ENVIRONMENTS", str(tmp_path))
    monkeypatch.delenv("SCS_ENVIRONMENT", raising=False)
    return tmp_path


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, arguments)
    if isinstance(result.exception, RefusedError):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.stdout


@pytest.mark.parametrize(("example", "hosts"), [("testbed", 1), ("region", 9)])
def test_an_example_becomes_a_region_that_checks(example: str, hosts: int, folder: Path) -> None:
    run("env", "init", "berlin", "--from", example)
    file = folder / "berlin" / "environment.yml"
    file.write_text(file.read_text().replace("vault_password_command: pass show scs/region", "vault_password_file: pw"))
    before = json.loads(run("env", "check", "berlin", "--json", code=2))
    assert not before["ok"]
    assert {p["part"]: p["summary"] for p in before["parts"]}["inventory"] == f"{hosts} hosts"
    made = json.loads(run("secrets", "init", "--create-vault-password", "--json"))
    assert {"api-external", "api-internal", "registry"} <= set(made["certificates"])
    # each host has those of the purposes that its services have
    assert len({c.partition("/")[2] for c in made["certificates"]} - {""}) == hosts
    assert "keystone_admin_password" in made["secrets"]
    assert json.loads(run("env", "check", "--json"))["ok"]
    assert json.loads(run("secrets", "init", "--json")) == {"certificates": [], "files": [], "secrets": []}


def test_an_existing_environment_is_refused(folder: Path) -> None:
    run("env", "init", "berlin")
    with pytest.raises(RefusedError, match="already exists"):
        run("env", "init", "berlin")


@pytest.mark.parametrize("name", ["../x", "A", "a b", "-a", ""])
def test_a_bad_name_is_refused(name: str, folder: Path) -> None:
    with pytest.raises(RefusedError, match="is not a valid name for an environment"):
        run("env", "init", "--", name)
    assert not list(folder.iterdir())


def test_the_environment_in_use(folder: Path) -> None:
    run("env", "init", "berlin")
    run("env", "init", "munich")
    with pytest.raises(RefusedError, match="no environment selected"):
        environments.current()
    run("env", "use", "munich")
    assert environments.current() == "munich"
    assert [e["name"] for e in json.loads(run("env", "list", "--json")) if e["current"]] == ["munich"]
    with pytest.raises(RefusedError, match="environment 'rome' does not exist"):
        run("env", "use", "rome")


def test_list_tells_what_is_missing_and_shows_no_value(folder: Path) -> None:
    run("env", "init", "berlin", "--from", "testbed")
    run("secrets", "init", "--create-vault-password")
    region = environments.load("berlin")
    values = secrets.load(region)
    listed = run("secrets", "list")
    assert all(name in listed and value not in listed for name, value in values.items())
    assert run("secrets", "show", "keystone_admin_password").strip() == values["keystone_admin_password"]
    with pytest.raises(RefusedError, match="no secret 'x'"):
        run("secrets", "show", "x")
    from scs_deploy.secrets import vault

    del values["keystone_admin_password"]
    vault.save(region, region.secrets_file, secrets.dump(values))
    assert [r["name"] for r in json.loads(run("secrets", "list", "--json", code=1)) if not r["present"]] == [
        "keystone_admin_password"
    ]
    assert "missing secret: keystone_admin_password" in run("env", "check", "--json", code=2)


def test_rotation(folder: Path) -> None:
    run("env", "init", "berlin", "--from", "testbed")
    run("secrets", "init", "--create-vault-password")
    values = secrets.load(environments.load("berlin"))
    (folder / "new").write_text("the new password\n")
    run("secrets", "rotate-file-key", "--new-vault-password-file", str(folder / "new"))
    assert (folder / "berlin" / "vault_password").read_text() == "the new password\n"
    assert secrets.load(environments.load("berlin")) == values


def test_env_check_renders_every_file_and_asks_no_host(folder: Path) -> None:
    """An override with a mistake, and a secret that its file cannot hold, are found before a host is asked."""
    from scs_deploy.environment import release_lock
    from scs_deploy.region.region import Region
    from scs_deploy.secrets import vault
    from tests.conftest import with_dummies

    run("env", "init", "berlin", "--from", "testbed")
    run("secrets", "init", "--create-vault-password")
    region = Region.load("berlin")
    release_lock.save(with_dummies(region).lock, region.environment.lock_file)
    parts = {p["part"]: p for p in json.loads(run("env", "check", "--json"))["parts"]}
    assert "rendered for 1 host(s)" in parts["files"]["summary"]
    override = folder / "berlin" / "config" / "nova.conf"
    override.parent.mkdir()
    override.write_text("[DEFAULT]\ndebug\n")
    assert f"{override}:2: expected `key = value`" in run("env", "check", "--json", code=2)
    override.unlink()
    values = secrets.load(region.environment) | {"rabbitmq_admin_password": "it's"}
    vault.save(region.environment, region.environment.secrets_file, secrets.dump(values))
    assert "rabbitmq.conf cannot hold a value with '" in run("env", "check", "--json", code=2)
