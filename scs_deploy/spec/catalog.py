# SPDX-License-Identifier: Apache-2.0
"""All services of the collections, found by their directories, in deployment order."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from functools import cached_property, lru_cache
from pathlib import Path

from pydantic import Field

from scs_deploy.base import paths
from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import Model, load_model, where
from scs_deploy.spec import drivers, storage_rules
from scs_deploy.spec.certificate import Certificate
from scs_deploy.spec.complete import complete
from scs_deploy.spec.container import ForEach
from scs_deploy.spec.secret import Format
from scs_deploy.spec.service import LAYERS, Service
from scs_deploy.spec.setting import Setting
from scs_deploy.spec.sources import source


class LeftOut(Model):
    """A part of the operator's own that has an error, so that the catalog is without it."""

    name: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class Series(Model):
    """A container with `for_each`, before it became one for each disk of the inventory."""

    service: str
    hosts: tuple[str, ...]
    each: ForEach


class Catalog(Model):
    """Services by name, each after what it requires."""

    services: dict[str, Service]
    waves: dict[str, int]
    """service: its distance from the services that require nothing; equal numbers may be deployed together"""
    series: dict[str, Series] = Field(default_factory=dict)
    """container with `for_each`: what it was in its spec; once the catalog fits an inventory"""
    absent: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """service: the groups without hosts, because of which this region is without it"""
    left_out: tuple[LeftOut, ...] = ()
    """the operator's own services with an error, see `spec.own`"""

    @cached_property
    def owner(self) -> dict[str, str]:
        """container: the service it belongs to."""
        return {c: s.name for s in self.services.values() for c in s.containers}

    @cached_property
    def address_holders(self) -> tuple[str, ...]:
        """Services one of whose hosts holds each API address."""
        return tuple(s.name for s in self.services.values() if s.api_addresses)

    @cached_property
    def load_balancers(self) -> tuple[str, ...]:
        """Services that pass requests to endpoints on."""
        return tuple(s.name for s in self.services.values() if s.load_balancer)

    @cached_property
    def settings(self) -> dict[str, object]:
        """Every operator variable with its default."""
        return {k: v.default for k, v in self.declared.items()}

    @cached_property
    def certificates(self) -> dict[str, Certificate]:
        """Every certificate that a service declares, by name."""
        return {n: c for s in self.services.values() for n, c in s.certificates.items()}

    @cached_property
    def declared(self) -> dict[str, Setting]:
        """Every operator variable."""
        return {k: v for s in self.services.values() for k, v in s.settings.items()}

    def secrets(self) -> list[str]:
        """Names of every secret that any service declares or derives, sorted."""
        return sorted({name for s in self.services.values() for name in s.all_secrets})

    @cached_property
    def secret_formats(self) -> dict[str, Format]:
        """Every secret that is no password: what it is."""
        return {n: f for s in self.services.values() for n, f in s.secret_formats.items()}

    def required(self, service: str) -> frozenset[str]:
        """Everything that `service` requires, directly or through others."""
        found: set[str] = set()
        todo = list(self.services[service].requires)
        while todo:
            name = todo.pop()
            if name not in found:
                found.add(name)
                todo.extend(self.services[name].requires)
        return frozenset(found)

    def refuse_left_out(self, name: str) -> None:
        """:raises RefusedError: it is the name of a service that was left out, with its error"""
        for service in self.left_out:
            if service.name == name:
                raise RefusedError(service.message, service.hint)

    def select(self, names: tuple[str, ...]) -> frozenset[str]:
        """Services named by service, layer or container; all when nothing is named.

        :raises RefusedError: a name that is none of them
        """
        if not names:
            return frozenset(self.services)
        chosen: set[str] = set()
        for name in names:
            if name in self.services:
                chosen.add(name)
            elif name in self.owner:
                chosen.add(self.owner[name])
            elif name in self.series:
                chosen.add(self.series[name].service)
            elif name in self.absent:
                groups = ", ".join(self.absent[name])
                raise RefusedError(
                    f"this region has no service '{name}': no host is in group {groups}",
                    f"add hosts to the inventory's group {groups}",
                )
            elif members := {s.name for s in self.services.values() if s.layer == name}:
                chosen |= members
            else:
                self.refuse_left_out(name)
                layers = {s.layer for s in self.services.values()}
                hint = close_matches(name, [*self.services, *self.owner, *sorted(layers)], self.services)
                raise RefusedError(f"no service, layer or container '{name}'", hint)
        return frozenset(chosen)


def close_matches(name: str, accepted: Iterable[str], shown: Iterable[str] = ()) -> str:
    """A hint with names that look like `name`, or all of them.

    :param accepted: what could have been given instead
    :param shown: the part of `accepted` to show if nothing looks like `name`; default: all
    """
    known = list(dict.fromkeys(accepted))
    close = difflib.get_close_matches(name, known, n=3)
    return f"did you mean {', '.join(close)}?" if close else f"there are: {', '.join(shown or known)}"


def load() -> Catalog:
    """Find, validate and order all services of all layers.

    :raises RefusedError: an error in a spec, an unknown or upward requirement, a cycle, a name or port used twice, or a
        file with no source or more than one
    """
    return load_from(tuple((layer, paths.layer(layer) / "services") for layer in LAYERS))


@lru_cache(maxsize=4)
def load_from(directories: tuple[tuple[str, Path], ...]) -> Catalog:
    """As `load`, from explicit (layer, services directory) pairs."""
    found: dict[str, Service] = {}
    for layer, directory in directories:
        for spec in sorted(directory.glob("*/service.yml")) if directory.is_dir() else ():
            name = spec.parent.name
            if name in found:
                raise RefusedError(f"{spec}:1: service '{name}' exists in layer {found[name].layer} too")
            found[name] = complete(
                load_model(Service, spec, {"name": name, "layer": layer, "directory": spec.parent, "own": False})
            )
    for service in found.values():
        check_requires(service, found)
        check_cluster(service)
        check_sources(service)
    Taken.of(found.values())
    waves = _waves(found)
    ordered = sorted(found, key=lambda n: (waves[n], LAYERS.index(found[n].layer), n))
    return Catalog(services={n: found[n] for n in ordered}, waves={n: waves[n] for n in ordered})


def check_sources(service: Service) -> None:
    """:raises RefusedError: a file has no source, or more than one"""
    for name, container in service.containers.items():
        for file in container.sourced:
            source(service, name, file.name)


def check_requires(service: Service, found: Mapping[str, Service]) -> None:
    """:raises RefusedError: it requires a service that does not exist, or of a layer above its own"""
    spec = service.directory / "service.yml"
    # `where` parses the file once more, slowly: only for an error
    for i, name in enumerate(service.requires):
        if name not in found:
            at = where(spec, ("requires", i))
            raise RefusedError(f"{at}: no service '{name}'", f"there are: {', '.join(sorted(found))}")
        if LAYERS.index(found[name].layer) > LAYERS.index(service.layer):
            at = where(spec, ("requires", i))
            raise RefusedError(f"{at}: '{name}' is in layer {found[name].layer}, above {service.layer}")
    check_certificates(service, found)
    storage_rules.check(service, found)


def check_certificates(service: Service, found: Mapping[str, Service]) -> None:
    """:raises RefusedError: a container uses or accepts a certificate that the service cannot have"""
    spec = service.directory / "service.yml"
    known = {n: c for s in (service, *(found[r] for r in service.requires)) for n, c in s.certificates.items()}
    groups = [n for n, c in known.items() if c.group]
    for name, container in service.containers.items():
        for use in container.tls:
            at = ("containers", name, "tls")
            if use.certificate not in known:
                raise RefusedError(f"{where(spec, at)}: no certificate '{use.certificate}'", _there_are(known))
            if wrong := [n for n in use.accepts if n not in groups]:
                raise RefusedError(f"{where(spec, at)}: accepts: no group '{wrong[0]}'", _there_are(groups))


def _there_are(names: Iterable[str]) -> str:
    shown = ", ".join(sorted(names)) or "none"
    return f"there are, in this service and those that it requires: {shown}"


def check_cluster(service: Service) -> None:
    """:raises RefusedError: no such cluster driver"""
    if service.cluster and drivers.find(service.cluster.driver) is None:
        at = where(service.directory / "service.yml", ("cluster",))
        raise RefusedError(
            f"{at}: no cluster driver '{service.cluster.driver}'", f"there are: {', '.join(drivers.known())}"
        )


class Taken:
    """The names and ports of services, which no other service may have."""

    KINDS = (
        "containers", "endpoints", "databases", "settings", "key_rotations", "backup", "certificates", "pools",
        "ceph_clients",
    )  # fmt: skip

    def __init__(self) -> None:
        self._names: dict[tuple[str, str], str] = {}
        self._ports: dict[int, str] = {}
        self._ingresses: dict[int, str] = {}
        self._metrics: dict[int, str] = {}

    @classmethod
    def of(cls, services: Iterable[Service]) -> Taken:
        """:raises RefusedError: two of the services have the same"""
        taken = cls()
        for service in services:
            taken.add(service)
        return taken

    def add(self, service: Service) -> None:
        """Add a service, all of it or nothing.

        :raises RefusedError: an earlier service has the same
        """
        spec = service.directory / "service.yml"
        names = [(kind, name) for kind in self.KINDS for name in getattr(service, kind)]
        for kind, name in names:
            if (kind, name) in self._names:
                at = where(spec, (kind, name) if kind != "databases" else (kind, service.databases.index(name)))
                what = kind.removesuffix("s").replace("_", " ")
                raise RefusedError(
                    f"{at}: service {self._names[kind, name]} has this {what} too", "choose another name"
                )
        ports: dict[int, str] = {}
        ingresses: dict[int, str] = {}
        for name, endpoint in service.endpoints.items():
            if owner := ports.get(endpoint.port) or self._ports.get(endpoint.port):
                at = where(spec, ("endpoints", name))
                raise RefusedError(f"{at}: port {endpoint.port} belongs to {owner}", "choose another port")
            ports[endpoint.port] = service.name
            for port, process in endpoint.ingresses.items():
                if owner := ingresses.get(port) or self._ingresses.get(port):
                    at = where(spec, ("endpoints", name))
                    raise RefusedError(
                        f"{at}: port {process} of its process gives it port {port} for TLS, which {owner} has",
                        "choose another backend_port",
                    )
            ingresses |= dict.fromkeys(endpoint.ingresses, service.name)
        metrics = _metrics_ports(service, self._metrics)
        self._metrics |= metrics
        self._names |= dict.fromkeys(names, service.name)
        self._ports |= ports
        self._ingresses |= ingresses


def _metrics_ports(service: Service, taken: Mapping[int, str]) -> dict[int, str]:
    """Ports on loopback of a service's metrics, and its name.

    :raises RefusedError: another one has the port
    """
    ports: dict[int, str] = {}
    for name, container in service.containers.items():
        if container.metrics:
            port = container.metrics.port
            if owner := ports.get(port) or taken.get(port):
                at = where(service.directory / "service.yml", ("containers", name, "metrics", "port"))
                raise RefusedError(f"{at}: port {port} belongs to metrics of {owner}", "choose another port")
            ports[port] = service.name
    return ports


def _waves(found: dict[str, Service]) -> dict[str, int]:
    waves: dict[str, int] = {}

    def visit(name: str, trail: tuple[str, ...]) -> int:
        if name in trail:
            cycle = " -> ".join((*trail[trail.index(name) :], name))
            raise RefusedError(f"{where(found[name].directory / 'service.yml', ('requires',))}: cycle: {cycle}")
        if name not in waves:
            waves[name] = max((visit(r, (*trail, name)) + 1 for r in found[name].requires), default=0)
        return waves[name]

    for name in sorted(found):
        visit(name, ())
    return waves
