# SPDX-License-Identifier: Apache-2.0
"""Loads and checks everything that describes a region, for the CLI and the Ansible plugins."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from scs_deploy.base.errors import RefusedError
from scs_deploy.environment import environment as environments
from scs_deploy.environment.environment import Environment
from scs_deploy.environment.overrides import Overrides, file_format
from scs_deploy.environment.release_lock import load_lock
from scs_deploy.inventory import source
from scs_deploy.inventory.checks import ProblemsError
from scs_deploy.inventory.model import Inventory
from scs_deploy.region.certificates import load_certificates
from scs_deploy.secrets import store
from scs_deploy.secrets.pki import Certificates
from scs_deploy.spec import catalog as catalogs
from scs_deploy.spec import release as releases
from scs_deploy.spec import users
from scs_deploy.spec.catalog import Catalog
from scs_deploy.spec.release import Lock, Release

INVENTORY = "SCS_INVENTORY"
"""Environment variable with the hash of the run's inventory."""


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

    @classmethod
    def load(cls, name: str | None = None, release: str | None = None) -> Region:
        """Load a region and check everything that needs no secrets.

        :param release: use this release instead of the one in environment.yml
        :raises RefusedError: names file and key of the first error
        """
        environment = environments.load(name, release)
        catalog = catalogs.load()
        inventory = source.load(environment, source.variables(catalog))
        named = "" if environment.ahead else f"{environment.file}: release"
        region = cls(environment, catalog, inventory, releases.load_release(environment.settings.release, named))
        check(region)
        return region

    @cached_property
    def lock(self) -> Lock:
        """The release lock: the release's images in this region."""
        return self.load_lock(self.environment)

    @cached_property
    def secrets(self) -> Mapping[str, str]:
        """All secrets by name; refuses if one is missing."""
        secrets = self.load_secrets(self.environment)
        missing = [n for n in self.catalog.secrets() if not secrets.get(n)]
        if missing:
            raise RefusedError(
                f"{self.environment.secrets_file}: missing secret: {', '.join(missing)}", "scs secrets init"
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
            for c, spec in s.containers.items()
        }
        services = {
            s.name: {name: fmt for c in s.containers for name, fmt in containers[c].items()}
            for s in self.catalog.services.values()
        }
        found.check(services, containers, self.inventory.hosts)
        return found

    @cached_property
    def users(self) -> Mapping[str, users.User]:
        """Fixed user and group ids of all images."""
        return users.load()

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

    def group_of(self, service: str, container: str | None = None) -> str:
        """The inventory group that runs a container, or by default the service."""
        spec = self.catalog.services[service]
        return (container and spec.containers[container].hosts) or spec.hosts


def check(region: Region) -> None:
    """Check that specs, release and inventory are consistent.

    :raises RefusedError: the inventory lacks something that the catalog needs, or the release lacks an image
    """
    if problems := source.region_problems(region.inventory, region.environment, region.catalog):
        raise ProblemsError(str(region.environment.inventory), problems)
    for service in region.catalog.services.values():
        for name, container in service.containers.items():
            image = container.image or service.name
            if image not in region.release.images:
                raise RefusedError(
                    f"releases/{region.release.name}.yml: images: no '{image}'",
                    f"container {name} of {service.name} needs it",
                )


_shared: dict[str, Region] = {}


def shared_region(name: str) -> Region:
    """The region of an environment, loaded once per process and inherited by forked workers.

    :raises RefusedError: the description is invalid, or its inventory differs from the run's
    """
    if name not in _shared:
        region = Region.load(name)
        expected = os.environ.get(INVENTORY, region.inventory.hash)
        if region.inventory.hash != expected:
            raise RefusedError(
                f"{region.environment.inventory}: changed during the run (planned with {expected[:23]}, "
                f"now {region.inventory.hash[:23]})",
                "run it again",
            )
        _shared[name] = region
    return _shared[name]
