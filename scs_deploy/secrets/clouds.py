# SPDX-License-Identifier: Apache-2.0
"""The region's credentials for OpenStack clients: state/clouds.yaml, and the password separately in state/secure.yaml.

`scs openstack` reads state/client.yaml, the same cloud with its tokens kept (tokens.py). Other clients, and scs itself,
would look for a desktop's keyring.

All are for the operator on this manager (mode 0600, state/ is never in git). openstacksdk reads secure.yaml if
OS_CLIENT_SECURE_FILE names it or if it is in the search path of clouds.yaml.
https://docs.openstack.org/openstacksdk/latest/user/config/configuration.html
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.variables import without_proxies
from scs_deploy.environment import sharing
from scs_deploy.environment.environment import Environment
from scs_deploy.secrets import store as secrets
from scs_deploy.secrets import vault

PASSWORD = "keystone_admin_password"  # noqa: S105 - a secret's name
IDENTITY_PORT = 5000


def name(environment: Environment) -> str:
    """The cloud's name in clouds.yaml: `<environment>-admin`."""
    return f"{environment.name}-admin"


def clouds_file(environment: Environment) -> Path:
    """clouds.yaml."""
    return environment.state / "clouds.yaml"


def client_file(environment: Environment) -> Path:
    """client.yaml, the clouds.yaml of `scs openstack`."""
    return environment.state / "client.yaml"


def secure_file(environment: Environment) -> Path:
    """secure.yaml, with the password."""
    return environment.state / "secure.yaml"


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
    return environment.state / "tokens.json"


def write(environment: Environment) -> list[Path]:
    """Write each of the files if its content or mode differs. Returns the files written.

    The vault is opened only if it is another one than last time: its password may need a person.

    :raises RefusedError: secret keystone_admin_password is missing, or secrets.yml cannot be read
    """
    made_from = _MADE_FROM + _vault_state(environment)
    contents = {
        clouds_file(environment): _text(clouds(environment)),
        client_file(environment): _text(clouds(environment) | {"cache": {"auth": True}}),
    }
    secure_now = _private(secure_file(environment)) or ""
    if not secure_now.startswith(made_from + "\n"):
        secure = {"clouds": {name(environment): {"auth": {"password": _password(environment)}}}}
        contents[secure_file(environment)] = f"{made_from}\n{_text(secure)}"
    written = []
    for file, text in contents.items():
        if _private(file) != text:
            sharing.make_state(environment)
            vault.write(file, text)
            written.append(file)
    return written


_MADE_FROM = "# made from secrets.yml "


def _text(content: dict[str, Any]) -> str:
    return "---\n" + yaml.safe_dump(content, sort_keys=False)


def _vault_state(environment: Environment) -> str:
    """Which secrets.yml this is: as the file is replaced whenever it changes, without looking into it."""
    try:
        seen = environment.secrets_file.stat()
    except OSError:
        return "missing"
    return f"{seen.st_ino}.{seen.st_size}.{seen.st_mtime_ns}"


def _private(file: Path) -> str | None:
    """The content of a file that only its owner may read; None for any other."""
    try:
        return None if file.stat().st_mode & 0o077 else file.read_text(encoding="utf-8")
    except OSError:
        return None


def variables(environment: Environment, base: Mapping[str, str] | None = None) -> dict[str, str]:
    """Environment variables for a client process: this region's cloud, without OS_ variables of other clouds.

    :param base: default: the variables of this process
    """
    kept = {k: v for k, v in (os.environ if base is None else base).items() if not k.startswith("OS_")}
    return without_proxies(kept) | {
        "OS_CLOUD": name(environment),
        "OS_CLIENT_CONFIG_FILE": str(client_file(environment).resolve()),
        "OS_CLIENT_SECURE_FILE": str(secure_file(environment).resolve()),
        "PYTHON_KEYRING_BACKEND": "scs_deploy.secrets.tokens.TokenFile",
        "SCS_TOKENS_FILE": str(tokens_file(environment).resolve()),
    }


def _session(*arguments: Any, **options: Any) -> Any:
    """A keystoneauth1 session that takes neither proxies nor credentials from variables or ~/.netrc."""
    from keystoneauth1.session import Session

    made = Session(*arguments, **options)
    made.session.trust_env = False
    return made


def connect(environment: Environment) -> Any:
    """An openstacksdk connection as the region's administrator.

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
    return Connection(config=config.get_one(cloud=name(environment), api_timeout=60))


def _password(environment: Environment) -> str:
    values = secrets.load(environment)
    if PASSWORD not in values:
        raise RefusedError(f"{environment.secrets_file}: missing secret: {PASSWORD}", "scs secrets init")
    return values[PASSWORD]
