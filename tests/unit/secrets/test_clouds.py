# SPDX-License-Identifier: Apache-2.0
"""clouds.yaml for the operator, as openstacksdk reads it."""

from __future__ import annotations

from pathlib import Path

import pytest
from openstack.config import OpenStackConfig

from scs_deploy.base.errors import RefusedError
from scs_deploy.environment.environment import Environment
from scs_deploy.secrets import clouds, vault
from scs_deploy.secrets import store as secrets
from tests.unit.secrets.test_secrets import region


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    made = region(tmp_path)
    vault.create_password(made)
    secrets.ensure(made, [clouds.PASSWORD])
    return made


def test_openstacksdk_finds_the_region(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    clouds.write(environment)
    for name, value in clouds.variables(environment, {"PATH": "/bin", "OS_PASSWORD": "of another cloud"}).items():
        monkeypatch.setenv(name, value)
    cloud = OpenStackConfig().get_one()
    password = secrets.load(environment)[clouds.PASSWORD]
    assert cloud.name == "test-admin"
    assert cloud.auth == {
        "auth_url": "https://api.example:5000/v3",
        "username": "admin",
        "password": password,
        "project_name": "admin",
        "user_domain_name": "Default",
        "project_domain_name": "Default",
    }
    assert cloud.get_session_client("identity").interface == "public"
    assert cloud.get_requests_verify_args()[0] == str(environment.ca_file)


def test_the_password_is_in_the_secure_file_only(environment: Environment) -> None:
    written = [clouds.clouds_file(environment), clouds.client_file(environment), clouds.secure_file(environment)]
    assert clouds.write(environment) == written
    assert all(secrets.load(environment)[clouds.PASSWORD] not in f.read_text() for f in written[:2])
    assert all(f.stat().st_mode & 0o777 == 0o600 for f in environment.state.glob("*.yaml"))


def test_written_when_something_differs(environment: Environment) -> None:
    clouds.write(environment)
    assert clouds.write(environment) == []
    clouds.secure_file(environment).chmod(0o644)
    assert clouds.write(environment) == [clouds.secure_file(environment)]


def test_the_vault_is_opened_only_if_it_has_changed(environment: Environment) -> None:
    clouds.write(environment)
    password = vault.password_file(environment)
    assert password is not None
    kept = password.read_text()
    password.unlink()
    assert clouds.write(environment) == []
    password.write_text(kept)
    secrets.ensure(environment, ["another"])
    assert clouds.write(environment) == [clouds.secure_file(environment)]


def test_variables_of_other_clouds_are_dropped(environment: Environment) -> None:
    found = clouds.variables(environment, {"PATH": "/bin", "OS_PASSWORD": "x", "OS_CLOUD": "y"})
    ours = {"OS_CLIENT_CONFIG_FILE", "OS_CLIENT_SECURE_FILE", "OS_CLOUD", "PYTHON_KEYRING_BACKEND", "SCS_TOKENS_FILE"}
    assert set(found) == {"PATH", *ours}
    assert found["OS_CLOUD"] == "test-admin"


def test_a_missing_password_is_refused(tmp_path: Path) -> None:
    made = region(tmp_path)
    vault.create_password(made)
    secrets.ensure(made, ["other"])
    with pytest.raises(RefusedError, match=r"missing secret: keystone_admin_password \(scs secrets init\)"):
        clouds.write(made)


def test_the_region_is_never_asked_through_a_proxy(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    proxies = {"https_proxy": "http://proxy:3128", "ALL_PROXY": "http://proxy:3128"}
    assert not set(proxies) & set(clouds.variables(environment, proxies))
    for name, value in proxies.items():
        monkeypatch.setenv(name, value)
    clouds.write(environment)
    session = clouds.connect(environment).session.session
    assert session.merge_environment_settings("https://api.example/", {}, None, None, None)["proxies"] == {}
