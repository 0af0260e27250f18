# SPDX-License-Identifier: Apache-2.0
"""Loads and checks everything that describes a region, for the CLI and the Ansible plugins."""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NoReturn

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import where
from scs_deploy.base.plural import counted
from scs_deploy.environment import cloud, own, storage
from scs_deploy.environment import environment as environments
from scs_deploy.environment.cloud import Cloud
from scs_deploy.environment.environment import Environment
from scs_deploy.environment.overrides import Overrides, file_format
from scs_deploy.environment.release_lock import load_lock
from scs_deploy.environment.storage import Storage
from scs_deploy.inventory import source
from scs_deploy.inventory.checks import ProblemsError
from scs_deploy.inventory.model import Host, Inventory
from scs_deploy.inventory.placing import placed
from scs_deploy.region import ceph, ingress, pools, sources
from scs_deploy.region.certificates import load_certificates
from scs_deploy.secrets import credentials, store
from scs_deploy.secrets.generate import fits
from scs_deploy.secrets.pki import Certificates
from scs_deploy.spec import own as own_services
from scs_deploy.spec import users
from scs_deploy.spec.catalog import Catalog, LeftOut
from scs_deploy.spec.container import ALL, Repeated
from scs_deploy.spec.listener import ANYONE, MANAGER
from scs_deploy.spec.release import Lock, Release
from scs_deploy.spec.service import Service

INVENTORY = "SCS_INVENTORY"
"""Environment variable with the hash of the run's inventory."""

LEFT_OUT = "SCS_LEFT_OUT"
"""Environment variable with the names of services that the run leaves out because of their errors."""

INPUTS = "SCS_INPUTS"
"""Environment variable with the hash of all files that the run's plan was computed from."""

ROOT = ("root", "0")


@dataclass(frozen=True, eq=False)
class Region:
    """A region's inputs. Secrets, certificates and the release lock are loaded on first use."""

    environment: Environment
    catalog: Catalog
    inventory: Inventory
    release: Release
    load_secrets: Callable[[Environment], Mapping[str, str]] = store.load
    load_certificates: Callable[[Environment], Certificates] = load_certificates
    load_lock: Callable[[Environment], Lock] = load_lock
    own_users: Mapping[str, users.User] = field(default_factory=dict)
    images_left_out: tuple[LeftOut, ...] = ()
    inputs: dict[str, str] = field(default_factory=dict)
    """file: its digest before it was loaded; empty: they may change"""

    def __post_init__(self) -> None:
        """Fit the catalog to the inventory."""
        catalog = ingress.placed(placed(self.catalog, self.inventory), self.inventory)
        object.__setattr__(self, "catalog", catalog)

    @classmethod
    def load(cls, name: str | None = None, release: str | None = None, reading: bool = False) -> Region:
        """Load a region and check everything that needs no secrets.

        :param release: use this release instead of the one in environment.yml
        :param reading: the region will not be changed, so an error in one of the operator's own services or images
            only leaves it out; see `left_out`
        :raises RefusedError: names file and key of the first error
        """
        environment = environments.load(name, release)
        # before the files are read: what changes after this is noticed
        inputs = sources.digests(environment)
        catalog = own.load_catalog(environment)
        inventory = source.load(environment, source.variables(catalog))
        found, images = own.read_release(environment)
        own_users, wrong = own.read_users(environment)
        region = fitting(
            cls(
                environment, catalog, inventory, found, own_users=own_users, images_left_out=(*wrong, *images),
                inputs=inputs,
            )
        )  # fmt: skip
        if region.left_out and not reading:
            region.refuse()
        check(region)
        return region

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """The operator's own services and images that have an error."""
        return (*self.images_left_out, *self.catalog.left_out)

    @property
    def tolerated(self) -> dict[str, str]:
        """Environment variables of a run that leaves out the same."""
        return {LEFT_OUT: ",".join(e.name for e in self.left_out)} if self.left_out else {}

    def check_unchanged(self) -> None:
        """Check that all files are still as they were when the region was loaded.

        :raises ChangedError: names those that were changed, added or removed
        """
        if self.inputs:
            sources.refuse(sources.differences(self.inputs, sources.digests(self.environment)))

    def reload_certificates(self) -> None:
        """Take the certificates that this process has issued since."""
        self.__dict__.pop("certificates", None)
        if self.inputs:
            ours = (self.environment.certificates_file, self.environment.ca_file)
            self.inputs.update(sources.digests_of(ours))

    def refuse(self) -> NoReturn:
        """:raises RefusedError: the first of what is left out, and how many more there are"""
        first, *others = self.left_out
        more = f"{counted(len(others), 'more error')}: scs env check" if others else ""
        raise RefusedError(first.message, "; ".join(filter(None, (first.hint, more))))

    @cached_property
    def lock(self) -> Lock:
        """The release lock: the release's images in this region."""
        return self.load_lock(self.environment)

    @cached_property
    def secrets(self) -> Mapping[str, str]:
        """All secrets by name; refuses if one is missing, or cannot be what its service takes."""
        secrets = self.load_secrets(self.environment)
        unneeded = ceph.unneeded(self)
        missing = [n for n in self.catalog.secrets() if not secrets.get(n) and n not in unneeded]
        if missing:
            raise RefusedError(
                f"{self.environment.secrets_file}: missing secret: {', '.join(missing)}", "scs secrets init"
            )
        for name, kind in self.catalog.secret_formats.items():
            if name not in secrets:
                continue
            for key in (name, name + credentials.NEXT, name + credentials.PREVIOUS):
                if not fits(kind, secrets.get(key, secrets[name])):
                    raise RefusedError(
                        f"{self.environment.secrets_file}: {key}: not {kind.meaning}", "scs secrets edit: correct it"
                    )
        return secrets

    @cached_property
    def certificates(self) -> Certificates:
        """The region CA's certificate and all host and API certificates."""
        return self.load_certificates(self.environment)

    @cached_property
    def overrides(self) -> Overrides:
        """The operator's configuration overrides."""
        found = Overrides(self.environment.path / "config")
        containers = {
            c: {f.name: file_format(f.name, f.format) for f in spec.config}
            for s in self.catalog.services.values()
            for name, spec in s.containers.items()
            for c in (name, *((spec.origin,) if isinstance(spec, Repeated) else ()))
        }
        services = {
            s.name: {name: fmt for c in s.containers for name, fmt in containers[c].items()}
            for s in self.catalog.services.values()
        }
        found.check(services, containers, self.inventory.hosts, partly=bool(self.left_out))
        return found

    @cached_property
    def cloud(self) -> Cloud:
        """What users find in the cloud, cloud.yml."""
        return cloud.load(self.environment.path)

    @cached_property
    def storage(self) -> Storage:
        """How the region's Ceph keeps its pools."""
        return storage.load(self.environment.path)

    @cached_property
    def users(self) -> Mapping[str, users.User]:
        """Fixed user and group ids of all images."""
        return {**users.load(), **self.own_users}

    @cached_property
    def defaults(self) -> Mapping[str, object]:
        """The value of every setting that the inventory does not set."""
        return source.defaults(self.inventory, self.catalog)

    def select_hosts(self, names: Iterable[str]) -> frozenset[str]:
        """The named hosts; all if none is named.

        :raises RefusedError: a host is not in the inventory
        """
        chosen = frozenset(names)
        for name in sorted(chosen - self.inventory.hosts.keys()):
            close = difflib.get_close_matches(name, self.inventory.hosts, n=1)
            hint = f"did you mean {close[0]}?" if close else f"there are: {', '.join(self.inventory.hosts)}"
            raise RefusedError(f"no host '{name}' in the inventory", hint)
        return chosen or frozenset(self.inventory.hosts)

    def hosts_of(self, service: str, container: str | None = None) -> tuple[Host, ...]:
        """The hosts that run a container, or by default the service, sorted by name."""
        spec = self.catalog.services[service]
        return self.inventory.group(*(spec.groups(container) if container else spec.hosts))

    def members(self, service: str, container: str) -> int:
        """Number of hosts that run a container; 0 if the catalog does not have it."""
        spec = self.catalog.services.get(service)
        known = spec is not None and container in spec.containers
        return len(self.hosts_of(service, container)) if known else 0


def check(region: Region) -> None:
    """Check that specs, release and inventory are consistent.

    :raises RefusedError: the inventory lacks something that the catalog needs, or the release lacks an image
    """
    if problems := source.region_problems(region.inventory, region.environment, region.catalog):
        raise ProblemsError(str(region.environment.inventory), problems)
    for i, opening in enumerate(region.environment.settings.firewall.allow):
        for group in opening.hosts:
            if not region.inventory.group(group):
                at = where(region.environment.file, ("firewall", "allow", i, "hosts"))
                raise RefusedError(
                    f"{at}: no host is in group '{group}'", f"there are: {', '.join((ALL, *region.inventory.groups))}"
                )
    pools.declared(region, region.storage, region.environment.path)
    _check_cloud(region)
    for service in region.catalog.services.values():
        if not service.own and (problem := misfit(region, service)):
            raise problem


def _check_cloud(region: Region) -> None:
    """:raises RefusedError: cloud.yml wants what the region has no service for"""
    file, services = region.environment.path / cloud.FILE, region.catalog.services
    for name, wanted in region.cloud.volume_types.items():
        if "cinder" not in services:
            raise RefusedError(
                f"{where(file, ('volume_types',))}: this region has no volumes",
                "add hosts to the inventory's group storage",
            )
        if wanted.encrypted and "barbican" not in services:
            at = where(file, ("volume_types", name, "encrypted"))
            raise RefusedError(f"{at}: this region has no key manager for the volumes' keys", "remove the key")


def fitting(region: Region) -> Region:
    """The region without those of the operator's own services that do not fit release, images or inventory."""
    errors = {s.name: e for s in region.catalog.services.values() if s.own and (e := misfit(region, s))}
    return dataclasses.replace(region, catalog=own_services.leave_out(region.catalog, errors)) if errors else region


def misfit(region: Region, service: Service) -> RefusedError | None:
    """Why a service cannot run in this region: a container's image, user or hosts."""
    spec = service.directory / "service.yml"
    for name, container in service.containers.items():
        image = container.image or service.name
        if image not in region.release.images:
            return _without_image(region, service, name, image)
        user = container.user.partition(":")[0]
        if user not in ROOT and user not in region.users:
            return RefusedError(
                f"{where(spec, ('containers', name, 'user'))}: images have no user '{user}'",
                f"there are: root, {', '.join(sorted(region.users))}; others have fixed ids in "
                f"{region.environment.path / own.IMAGES / users.FILE}",
            )
    return _misplaced(region, service) if service.own else None


def _without_image(region: Region, service: Service, container: str, image: str) -> RefusedError:
    release = region.release.name
    if not service.own:
        return RefusedError(
            f"releases/{release}.yml: images: no '{image}'", f"container {container} of {service.name} needs it"
        )
    at = where(service.directory / "service.yml", ("containers", container, "image"))
    recipe = region.environment.path / own.IMAGES / f"{image}.yml"
    return RefusedError(
        f"{at}: release {release} has no image '{image}'",
        f"write {recipe}, or name another image; there are: {', '.join(region.release.images)}",
    )


def _misplaced(region: Region, service: Service) -> RefusedError | None:
    spec = service.directory / "service.yml"
    keys: dict[tuple[str | int, ...], tuple[str, ...]] = {("hosts",): service.hosts}
    keys |= {("containers", n, "hosts"): c.hosts for n, c in service.containers.items() if c.hosts}
    keys |= {
        ("containers", n, "listeners", i, "clients"): tuple(g for g in one.clients or () if g not in (MANAGER, ANYONE))
        for n, c in service.containers.items()
        for i, one in enumerate(c.listeners)
    }
    keys |= {
        ("endpoints", n, "clients"): tuple(g for g in e.clients if g not in (MANAGER, ANYONE))
        for n, e in service.endpoints.items()
    }
    for key, groups in keys.items():
        for group in groups:
            if not region.inventory.group(group):
                there = ", ".join((ALL, *region.inventory.groups))
                return RefusedError(f"{where(spec, key)}: no host is in group '{group}'", f"there are: {there}")
    alone = region.catalog.model_copy(update={"services": {service.name: service}})
    problems = source.region_problems(region.inventory, region.environment, alone)
    return RefusedError(f"{spec}: {problems[0]}") if problems else None


_shared: dict[str, Region] = {}


def shared_region(name: str) -> Region:
    """The region of an environment, loaded once per process and inherited by forked workers.

    :raises RefusedError: the description is invalid, or its inventory differs from the run's
    """
    if name not in _shared:
        region = Region.load(name, reading=True)
        if {e.name for e in region.left_out} - set(os.environ.get(LEFT_OUT, "").split(",")):
            # it was well when this run began
            region.refuse()
        expected = os.environ.get(INVENTORY, region.inventory.hash)
        if os.environ.get(INPUTS, sources.digest(region.inputs)) != sources.digest(region.inputs):
            raise sources.ChangedError("the region has changed since this plan was made", "repeat the command")
        if region.inventory.hash != expected:
            raise RefusedError(
                f"{region.environment.inventory}: changed during the run (planned with {expected[:23]}, "
                f"now {region.inventory.hash[:23]})",
                "run it again",
            )
        _shared[name] = region
    return _shared[name]
