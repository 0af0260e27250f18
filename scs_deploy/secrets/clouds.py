# SPDX-License-Identifier: Apache-2.0
"""The region's credentials for OpenStack clients: state/clouds.yaml, and the password separately in state/secure.yaml.

`scs openstack` reads state/client.yaml, the same cloud with its tokens kept (tokens.py). Other clients, and scs itself,
would look for a desktop's keyring.

All are for the operator on this manager (mode 0600, state/ is never in git). openstacksdk reads secure.yaml if
OS_CLIENT_SECURE_FILE names it or if it is in the search path of clouds.yaml.
https://docs.openstack.org/openstacksdk/latest/user/config/configuration.html
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from scs_deploy.base.errors import RefusedError
from scs_deploy.environment import sharing
from scs_deploy.environment.environment import Environment
from scs_deploy.secrets import client, vault
from scs_deploy.secrets import store as secrets

PASSWORD = "keystone_admin_password"  # noqa: S105 - a secret's name
IDENTITY_PORT = 5000


def name(environment: Environment) -> str:
    """The cloud's name in clouds.yaml: `<environment>-admin`."""
    return f"{environment.name}-admin"


def clouds_file(environment: Environment) -> Path:
    """clouds.yaml."""
    return environment.state / client.CLOUDS


def client_file(environment: Environment) -> Path:
    """client.yaml, the clouds.yaml of `scs openstack`."""
    return environment.state / client.CLIENT


def secure_file(environment: Environment) -> Path:
    """secure.yaml, with the password."""
    return environment.state / client.SECURE


def clouds(environment: Environment) -> dict[str, Any]:
    """The content of clouds.yaml."""
    settings = environment.settings
    cloud = {
        "auth": {
            "auth_url": f"https://{settings.api.external.name}:{IDENTITY_PORT}/v3",
            "username": "admin",
            "project_name": "admin",
            "user_domain_name": "Default",
            "project_domain_name": "Default",
        },
        "region_name": settings.region,
        "interface": "public",
        "identity_api_version": 3,
        "cacert": str(environment.ca_file.resolve()),
    }
    return {"clouds": {name(environment): cloud}}


def tokens_file(environment: Environment) -> Path:
    """Tokens of the OpenStack client, see tokens.py."""
    return environment.state / client.TOKENS


def write(environment: Environment) -> list[Path]:
    """Write each of the files if its content or mode differs. Returns the files written.

    The vault is opened only if it is another one than last time: its password may need a person.

    :raises RefusedError: secret keystone_admin_password is missing, or secrets.yml cannot be read
    """
    made_from = client.secrets_mark(environment.path)
    contents = {
        clouds_file(environment): _text(clouds(environment)),
        client_file(environment): (
            f"{client.settings_mark(environment.path)}\n{_text(clouds(environment) | {'cache': {'auth': True}})}"
        ),
    }
    secure_now = client.private(secure_file(environment)) or ""
    if not secure_now.startswith(made_from + "\n"):
        secure = {"clouds": {name(environment): {"auth": {"password": _password(environment)}}}}
        contents[secure_file(environment)] = f"{made_from}\n{_text(secure)}"
    written = []
    for file, text in contents.items():
        if client.private(file) != text:
            sharing.make_state(environment)
            vault.write(file, text)
            written.append(file)
    return written


def _text(content: dict[str, Any]) -> str:
    return "---\n" + yaml.safe_dump(content, sort_keys=False)


def variables(environment: Environment, base: Mapping[str, str] | None = None) -> dict[str, str]:
    """Environment variables for a client process: this region's cloud, without OS_ variables of other clouds.

    :param base: default: the variables of this process
    """
    return client.variables(environment.name, environment.state, base)


def _session(*arguments: Any, **options: Any) -> Any:
    """A keystoneauth1 session that takes neither proxies nor credentials from variables or ~/.netrc."""
    from keystoneauth1.session import Session

    made = Session(*arguments, **options)
    made.session.trust_env = False
    return made


def connect(environment: Environment, timeout: float = 60) -> Any:
    """An openstacksdk connection as the region's administrator.

    :param timeout: seconds for an answer
    :raises RefusedError: clouds.yaml or secure.yaml is missing
    """
    # imported here: it takes half a second, which `scs --help` does not need
    from openstack.config import OpenStackConfig
    from openstack.connection import Connection

    file, secure = clouds_file(environment), secure_file(environment)
    for needed in (file, secure):
        if not needed.is_file():
            raise RefusedError(f"{needed}: no such file", "scs secrets init")
    config = OpenStackConfig(
        config_files=[str(file)],
        vendor_files=[],
        secure_files=[str(secure)],
        load_envvars=False,
        load_yaml_config=True,
        session_constructor=_session,  # type: ignore[arg-type]
    )
    return Connection(config=config.get_one(cloud=name(environment), api_timeout=timeout))


def adapter(cloud: Any, service_type: str, user: str, password: str, project: str) -> Any:
    """A keystoneauth1 adapter for a service's public endpoint, which returns answers of any status.

    :param cloud: a connection, whose region it is
    :param user: id, like the project's
    """
    from keystoneauth1.adapter import Adapter
    from keystoneauth1.identity.v3 import Password

    config = cloud.config
    auth = Password(auth_url=config.config["auth"]["auth_url"], user_id=user, password=password, project_id=project)
    verify, _ = config.get_requests_verify_args()
    return Adapter(
        _session(auth=auth, verify=verify, timeout=60), service_type=service_type, interface="public",
        region_name=config.get_region_name(), raise_exc=False,
    )  # fmt: skip


def _password(environment: Environment) -> str:
    values = secrets.load(environment)
    if PASSWORD not in values:
        raise RefusedError(f"{environment.secrets_file}: missing secret: {PASSWORD}", "scs secrets init")
    return values[PASSWORD]
