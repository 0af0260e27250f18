# SPDX-License-Identifier: Apache-2.0
"""The scope of templates and of leaf strings in service specs: the only names that they may use."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from typing import Any
from urllib.parse import quote

from scs_deploy.base.model import Model
from scs_deploy.desired import metrics
from scs_deploy.desired.ceph import CephScope
from scs_deploy.desired.endpoints import endpoints, passages
from scs_deploy.environment.environment import ApiAddress
from scs_deploy.inventory.model import Host
from scs_deploy.inventory.placing import item_of
from scs_deploy.region import resolvers
from scs_deploy.region.region import ROOT, Region
from scs_deploy.secrets import credentials
from scs_deploy.spec.container import POLICY_FILE
from scs_deploy.spec.service import Service

CA_FILE = "/etc/scs/ca.crt"
"""The region CA inside every container."""

LOOPBACK_ADDRESS = "127.0.0.1"
"""Where processes listen that only their own host reaches."""

DATABASE_PORT, BROKER_PORT, CACHE_PORT = 3306, 5671, 11212


class TemplateScope:
    """The names available to templates in one region. Names that hosts or services share are computed once.

    A template can read only the secrets that its service, or a service that it requires, declares.
    """

    def __init__(self, region: Region) -> None:
        self._region = region
        self._services: dict[str, dict[str, Any]] = {}
        self._settings: dict[str, dict[str, Any]] = {}

    def of(self, service: Service, host: Host, container: str = "") -> dict[str, Any]:
        """Names for the templates and leaf strings of a service's container on a host."""
        if container:
            return self.of(service, host) | self.of_container(service, container, host)
        base = self._services.get(service.name)
        if base is None:
            base = self._services[service.name] = _ServiceScope(self._region, service).names()
        group = self._region.inventory.group(*service.hosts)
        return {
            **base,
            "host": host,
            "address": host.management,
            "loopback": LOOPBACK_ADDRESS,
            "passages": passages(self._region, host) if service.load_balancer else (),
            "settings": self._settings_of(host),
            "own_rank": [h.name for h in group].index(host.name) if host.runs(service.hosts) else 0,
        }

    def of_container(self, service: Service, name: str, host: Host) -> dict[str, Any]:
        """Names that differ between the containers of a service on a host."""
        spec = service.containers[name]
        uid, gid = self._ids(spec.user)
        port = next(iter(service.ports(name)), None)
        item = item_of(spec, host)
        each = {} if item is None else {"item": item}
        return each | {
            "container": name, "uid": uid, "gid": gid, "port": port, "wsgi": spec.wsgi,
            "policy_file": self._policy_file(service, name), "cache": spec.cache,
            "listen_address": LOOPBACK_ADDRESS if service.loopback(name) else host.management,
        }  # fmt: skip

    def _policy_file(self, service: Service, name: str) -> str:
        """Path of the policy inside the container, the service's or the operator's; empty: there is none."""
        file = POLICY_FILE.name
        spec = service.containers[name]
        own = any(f.name == file and not f.optional for f in spec.config)
        present = own or (
            spec.policy
            and self._region.overrides.layers(service.layer, service.name, name, "", file, POLICY_FILE.format)
        )
        return f"{service.config_dir(name)}/{file}" if present else ""

    def _ids(self, user: str) -> tuple[int, int]:
        if user.partition(":")[0] in ROOT:
            return (0, 0)
        account = self._region.users[user.partition(":")[0]]
        return (account.uid or 0, account.gid)

    def _settings_of(self, host: Host) -> dict[str, Any]:
        if host.name not in self._settings:
            self._settings[host.name] = {**self._region.defaults, **host.settings}
        return self._settings[host.name]


@lru_cache(maxsize=8)
def template_scope(region: Region) -> TemplateScope:
    """The scope of a region, one for each loaded `Region`."""
    return TemplateScope(region)


class SecretScope(Mapping[str, str]):
    """A service's view of the secrets. Reading another service's secret is an error that names both."""

    def __init__(self, secrets: Mapping[str, str], allowed: frozenset[str], service: str) -> None:
        self._secrets, self._allowed, self._service = secrets, allowed, service

    def __getitem__(self, key: str) -> str:
        if key not in self._allowed and credentials.base(key) not in self._allowed:
            raise KeyError(f"secret '{key}' is not declared by {self._service} or by a service that it requires")
        return self._secrets[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._allowed)

    def __len__(self) -> int:
        return len(self._allowed)


class _RegionNames(Model):
    name: str
    internal: ApiAddress
    external: ApiAddress
    networks: dict[str, Any]


class _ServiceScope:
    """The names of one service that are the same on every host."""

    def __init__(self, region: Region, service: Service) -> None:
        self.region = region
        self.service = service.name
        self.api = region.environment.settings.api
        self.by_name = {e.name: e for e in endpoints(region)}
        required = region.catalog.required(service.name)
        allowed = {n for r in required for n in region.catalog.services[r].all_secrets}
        self.secrets = SecretScope(region.secrets, frozenset(service.all_secrets) | allowed, service.name)

    def names(self) -> dict[str, Any]:
        settings = self.region.environment.settings
        functions: dict[str, Callable[..., Any]] = {
            "endpoint": self.endpoint,
            "endpoint_root": self.endpoint_root,
            "database_url": self.database_url,
            "transport_url": self.transport_url,
            "hosts": self.region.inventory.group,
            "user_of": self.user_of,
            "previous": self.previous,
            "upcoming": self.upcoming,
            "guest_dns_servers": partial(resolvers.for_guests, self.region),
            "metrics_of": partial(metrics.of_host, self.region),
            "metrics_by_container": partial(metrics.by_container, self.region),
            "alert_rules": lambda without, levels: metrics.rules(self.region, tuple(without), tuple(levels.items())),
        }
        return {
            **functions,
            "service": self.service,
            "region": _RegionNames(
                name=settings.region,
                internal=settings.api.internal,
                external=settings.api.external,
                networks=dict(settings.networks),
            ),
            "secrets": self.secrets,
            "endpoints": endpoints(self.region),
            "memcached_servers": self.memcached(),
            "ca_file": CA_FILE,
            "ceph": CephScope(self.region, self.service),
            "certificates": _ApiCertificates(self.region),
            "environment": self.region.environment.name,
            "cloud": self.region.cloud,
        }

    def endpoint_root(self, kind: str, interface: str = "internal") -> str:
        """`https://name:port` of an endpoint."""
        name = self.api.internal.name if interface == "internal" else self.api.external.name
        return f"https://{name}:{self.by_name[kind].port}"

    def endpoint(self, kind: str, interface: str = "internal") -> str:
        """An endpoint's URL as the Keystone catalogue has it."""
        return self.endpoint_root(kind, interface) + self.by_name[kind].path

    def database_url(self, name: str) -> str:
        """SQLAlchemy URL of one of the service's schemas."""
        password = quote(self.secrets[f"{self.service}_database_password"], safe="")
        server = f"{self.api.internal.name}:{DATABASE_PORT}"
        return f"mysql+pymysql://{self.service}:{password}@{server}/{name}?charset=utf8mb4&ssl_ca={CA_FILE}"

    def transport_url(self, of: str = "") -> str:
        """oslo.messaging URL of a service's vhost; default: this service's."""
        of = of or self.service
        password = quote(self.secrets[f"{of}_rabbitmq_password"], safe="")
        user = self.user_of(f"{of}_rabbitmq_password", of)
        brokers = self.region.hosts_of("rabbitmq")
        return "rabbit://" + ",".join(f"{user}:{password}@{h.management}:{BROKER_PORT}" for h in brokers) + f"/{of}"

    def user_of(self, secret: str, name: str = "") -> str:
        """The user of a secret, which changes during a rotation."""
        _ = self.secrets[secret]
        return credentials.user(self.region.secrets, secret, name or self.service)

    def previous(self, secret: str) -> str:
        """A secret's previous value; empty if it is not being rotated."""
        _ = self.secrets[secret]
        return credentials.previous(self.region.secrets, secret) or ""

    def upcoming(self, secret: str) -> str:
        """The value that a secret, which is being rotated in turn, will have; empty otherwise."""
        _ = self.secrets[secret]
        return credentials.upcoming(self.region.secrets, secret) or ""

    def memcached(self) -> list[str]:
        """`address:port` of each memcached."""
        if "memcached" not in self.region.catalog.services:
            return []
        servers = self.region.hosts_of("memcached")
        return [f"{h.management}:{CACHE_PORT}" for h in servers]


class _ApiCertificates:
    """`certificates.internal.cert`, `.key` and so on, loaded only for templates that use them."""

    def __init__(self, region: Region) -> None:
        self._region = region

    @property
    def internal(self) -> Any:
        return self._region.certificates.leaf("api-internal")

    @property
    def external(self) -> Any:
        return self._region.certificates.leaf("api-external")

    @property
    def ca(self) -> str:
        return self._region.certificates.ca_pem
