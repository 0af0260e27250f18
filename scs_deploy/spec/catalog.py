# SPDX-License-Identifier: Apache-2.0
"""All services of the collections, found by their directories, in deployment order."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from functools import cached_property, lru_cache
from pathlib import Path

from scs_deploy.base import paths
from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import Model, load_model, where
from scs_deploy.spec import drivers
from scs_deploy.spec.complete import complete
from scs_deploy.spec.service import LAYERS, Service
from scs_deploy.spec.setting import Setting
from scs_deploy.spec.sources import source


class Catalog(Model):
    """Services by name, each after what it requires."""

    services: dict[str, Service]
    waves: dict[str, int]
    """service: its distance from the services that require nothing; equal numbers may be deployed together"""

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
    def declared(self) -> dict[str, Setting]:
        """Every operator variable."""
        return {k: v for s in self.services.values() for k, v in s.settings.items()}

    def secrets(self) -> list[str]:
        """Names of every secret that any service declares or derives, sorted."""
        return sorted({name for s in self.services.values() for name in s.all_secrets})

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
            elif members := {s.name for s in self.services.values() if s.layer == name}:
                chosen |= members
            else:
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
            found[name] = complete(load_model(Service, spec, {"name": name, "layer": layer, "directory": spec.parent}))
    for service in found.values():
        _check_requires(service, found)
        _check_cluster(service)
        for name, container in service.containers.items():
            for file in container.config:
                source(service, name, file.name)
    _check_unique(found)
    waves = _waves(found)
    ordered = sorted(found, key=lambda n: (waves[n], LAYERS.index(found[n].layer), n))
    return Catalog(services={n: found[n] for n in ordered}, waves={n: waves[n] for n in ordered})


def _check_requires(service: Service, found: dict[str, Service]) -> None:
    spec = service.directory / "service.yml"
    # `where` parses the file once more, slowly: only for an error
    for i, name in enumerate(service.requires):
        if name not in found:
            at = where(spec, ("requires", i))
            raise RefusedError(f"{at}: no service '{name}'", f"there are: {', '.join(sorted(found))}")
        if LAYERS.index(found[name].layer) > LAYERS.index(service.layer):
            at = where(spec, ("requires", i))
            raise RefusedError(f"{at}: '{name}' is in layer {found[name].layer}, above {service.layer}")


def _check_cluster(service: Service) -> None:
    if service.cluster and drivers.find(service.cluster.driver) is None:
        at = where(service.directory / "service.yml", ("cluster",))
        raise RefusedError(
            f"{at}: no cluster driver '{service.cluster.driver}'", f"there are: {', '.join(drivers.known())}"
        )


def _check_unique(found: dict[str, Service]) -> None:
    containers: dict[str, str] = {}
    ports: dict[int, str] = {}
    types: dict[str, str] = {}
    for service in found.values():
        spec = service.directory / "service.yml"
        for name in service.containers:
            if name in containers:
                raise RefusedError(
                    f"{where(spec, ('containers', name))}: service {containers[name]} has this container too"
                )
            containers[name] = service.name
        for name, endpoint in service.endpoints.items():
            if name in types:
                at = where(spec, ("endpoints", name))
                raise RefusedError(f"{at}: service {types[name]} has this endpoint too")
            if endpoint.port in ports:
                at = where(spec, ("endpoints", name))
                raise RefusedError(f"{at}: port {endpoint.port} belongs to {ports[endpoint.port]}")
            types[name] = ports[endpoint.port] = service.name


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
