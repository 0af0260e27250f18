# SPDX-License-Identifier: Apache-2.0
"""Rendering: plain Jinja2 with StrictUndefined, templates compiled once a process."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
from pydantic import Field

from scs_deploy.base import paths
from scs_deploy.base.errors import ScsError
from scs_deploy.base.model import Model
from scs_deploy.environment.environment import ApiAddress
from scs_deploy.inventory.model import Host
from scs_deploy.region.region import Context
from scs_deploy.secrets import credentials
from scs_deploy.spec.service import Endpoint, Service

CA_FILE = "/etc/scs/ca.crt"
"""The region CA inside every container."""


class Backend(Model):
    """A member behind HAProxy."""

    name: str
    address: str
    port: int


class ResolvedEndpoint(Model):
    """An endpoint with its members."""

    name: str
    service: str
    port: int
    path: str
    protocol: str
    public: bool
    catalogue: bool
    balance: str
    health_path: str | None
    health_port: int | None
    copies: bool
    container: str
    backends: tuple[Backend, ...] = Field(description="sorted by host name")


def endpoints(context: Context) -> tuple[ResolvedEndpoint, ...]:
    """Every endpoint of the catalog with the hosts that serve it, by service order and name."""
    found = context._cache.get("endpoints")
    if found is None:
        found = tuple(
            _endpoint(context, service, name, e)
            for service in context.catalog.services.values()
            for name, e in service.endpoints.items()
        )
        context._cache["endpoints"] = found
    return found  # type: ignore[return-value]


def _endpoint(context: Context, service: Service, name: str, e: Endpoint) -> ResolvedEndpoint:
    container = e.container or next(iter(service.containers))
    hosts = context.inventory.group(context.group_of(service.name, container))
    return ResolvedEndpoint(
        name=name,
        service=service.name,
        port=e.port,
        path=e.path,
        protocol=e.protocol,
        public=e.public,
        catalogue=e.catalogue,
        balance=e.balance,
        health_path=e.health_path,
        health_port=e.health_port,
        copies=e.copies,
        container=container,
        backends=tuple(Backend(name=h.name, address=h.management, port=e.backend_port or e.port) for h in hosts),
    )


def _compiled() -> jinja2.BytecodeCache | None:
    """What an earlier process compiled, in the user's cache folder: compiling all templates takes a tenth of a second.

    It is code that this process runs: a folder that somebody else could write to is not used.
    """
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scs" / "templates"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
    except (OSError, RuntimeError):
        return None
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        return None
    return jinja2.FileSystemBytecodeCache(str(folder))


@lru_cache(maxsize=64)
def _jinja(directories: tuple[str, ...]) -> jinja2.Environment:
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(directories),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - configuration files, not HTML
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        auto_reload=False,
        bytecode_cache=_compiled() if directories else None,
    )
    env.filters["to_json"] = json.dumps
    return env


def environment_for(service: Service) -> jinja2.Environment:
    """Jinja environment of a service: its directory, its layer's templates/, core's templates/."""
    return _jinja(_directories(service.directory, service.layer))


@lru_cache(maxsize=256)
def _directories(directory: Path, layer: str) -> tuple[str, ...]:
    # asked for once a file and host: finding the folders anew cost a third of the rendering of a large region
    return str(directory), str(paths.layer(layer) / "templates"), str(paths.layer("core") / "templates")


@lru_cache(maxsize=4096)
def _leaf(source: str) -> jinja2.Template:
    return _jinja(()).from_string(source)


def leaf(source: str, scope: Mapping[str, Any], where: str) -> str:
    """Render a string of a spec; strings without Jinja pass untouched.

    :param where: names the string in an error
    :raises ScsError: the string does not render
    """
    if "{" not in source or ("{{" not in source and "{%" not in source):
        return source
    try:
        return str(_leaf(source).render(scope))
    except jinja2.TemplateError as error:
        raise ScsError(f"{where}: {error}", "the template or a variable it uses is wrong") from None


def template(service: Service, name: str, scope: Mapping[str, Any]) -> str:
    """Render a template file of a service.

    :raises ScsError: the template is missing or does not render, naming file and line
    """
    env = environment_for(service)
    try:
        return env.get_template(name).render(scope)
    except jinja2.TemplateNotFound as error:
        raise ScsError(f"{service.directory / str(error.name)}: no such template") from None
    except jinja2.TemplateSyntaxError as error:
        raise ScsError(f"{error.filename}:{error.lineno}: {error.message}") from None
    except jinja2.TemplateError as error:
        raise ScsError(
            f"{service.directory / name}{_line(error, name)}: {error}", "a variable that the template uses is wrong"
        ) from None


def _line(error: BaseException, name: str) -> str:
    line = 0
    trace = error.__traceback__
    while trace:
        if trace.tb_frame.f_code.co_filename.endswith(name):
            line = trace.tb_lineno
        trace = trace.tb_next
    return f":{line}" if line else ""


class _Region(Model):
    name: str
    internal: ApiAddress
    external: ApiAddress
    networks: dict[str, Any]


class SecretScope(Mapping[str, str]):
    """A service's view of the secrets; asking for a foreign one is an error that names the spec to mend."""

    def __init__(self, secrets: Mapping[str, str], allowed: frozenset[str], service: str) -> None:
        self._secrets, self._allowed, self._service = secrets, allowed, service

    def __getitem__(self, key: str) -> str:
        if key not in self._allowed and credentials.base(key) not in self._allowed:
            raise KeyError(f"secret '{key}' is not declared by {self._service} or by what it requires")
        return self._secrets[key]

    def __iter__(self) -> Any:
        return iter(self._allowed)

    def __len__(self) -> int:
        return len(self._allowed)


def scope(context: Context, service: Service, host: Host, secrets: Mapping[str, str]) -> dict[str, Any]:
    """What templates and leaf strings of `service` see on `host`; `container` is added by the caller.

    :param secrets: all secrets by name
    """
    key = f"scope:{service.name}"
    base = context._cache.get(key)
    if not isinstance(base, dict):
        base = _service_scope(context, service, secrets)
        context._cache[key] = base
    settings = _settings(context, host)
    result = {**base, "host": host, "address": host.management, "settings": settings}
    result["own_rank"] = (
        [h.name for h in context.inventory.group(service.hosts)].index(host.name) if service.hosts in host.groups else 0
    )
    return result


def _settings(context: Context, host: Host) -> dict[str, Any]:
    key = f"settings:{host.name}"
    found = context._cache.get(key)
    if not isinstance(found, dict):
        found = {**context.catalog.settings, **host.settings}
        context._cache[key] = found
    return found


def _service_scope(context: Context, service: Service, secrets: Mapping[str, str]) -> dict[str, Any]:
    settings = context.environment.settings
    required = context.catalog.required(service.name)
    allowed = frozenset(service.all_secrets) | {n for r in required for n in context.catalog.services[r].all_secrets}
    view = SecretScope(secrets, allowed, service.name)
    inventory = context.inventory
    resolved = endpoints(context)
    by_name = {e.name: e for e in resolved}

    def root_url(kind: str, interface: str = "internal") -> str:
        endpoint = by_name[kind]
        name = settings.api.internal.name if interface == "internal" else settings.api.external.name
        return f"https://{name}:{endpoint.port}"

    def url(kind: str, interface: str = "internal") -> str:
        return root_url(kind, interface) + by_name[kind].path

    def database_url(name: str) -> str:
        password = quote(view[f"{service.name}_database_password"], safe="")
        return f"mysql+pymysql://{service.name}:{password}@{settings.api.internal.name}:3306/{name}?charset=utf8mb4&ssl_ca={CA_FILE}"

    def transport_url(of: str = service.name) -> str:
        password = quote(view[f"{of}_rabbitmq_password"], safe="")
        user = user_of(f"{of}_rabbitmq_password", of)
        group = context.group_of("rabbitmq")
        return (
            "rabbit://" + ",".join(f"{user}:{password}@{h.management}:5671" for h in inventory.group(group)) + f"/{of}"
        )

    def user_of(secret: str, name: str = service.name) -> str:
        _ = view[secret]
        return credentials.user(secrets, secret, name)

    def previous(secret: str) -> str:
        _ = view[secret]
        return credentials.previous(secrets, secret) or ""

    def memcached() -> list[str]:
        return [f"{h.management}:11211" for h in inventory.group(context.group_of("memcached"))]

    region = _Region(
        name=settings.region,
        internal=settings.api.internal,
        external=settings.api.external,
        networks=dict(settings.networks),
    )
    functions: dict[str, Callable[..., Any]] = {
        "endpoint": url,
        "endpoint_root": root_url,
        "database_url": database_url,
        "transport_url": transport_url,
        "hosts": inventory.group,
        "user_of": user_of,
        "previous": previous,
    }
    return {
        **functions,
        "service": service.name,
        "region": region,
        "secrets": view,
        "endpoints": resolved,
        "memcached_servers": memcached() if "memcached" in context.catalog.services else [],
        "ca_file": CA_FILE,
        "certificates": _ApiCertificates(context),
        "environment": context.environment.name,
    }


class _ApiCertificates:
    """`certificates.internal.cert`, `.key` and so on, read only by templates that ask."""

    def __init__(self, context: Context) -> None:
        self._context = context

    @property
    def internal(self) -> Any:
        return self._context.certificates.leaf("api-internal")

    @property
    def external(self) -> Any:
        return self._context.certificates.leaf("api-external")

    @property
    def ca(self) -> str:
        return self._context.certificates.ca_pem
