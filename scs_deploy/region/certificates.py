# SPDX-License-Identifier: Apache-2.0
"""The certificates that a region needs."""

from __future__ import annotations

from collections.abc import Iterable

from scs_deploy.base.errors import RefusedError
from scs_deploy.environment.environment import Environment
from scs_deploy.inventory.model import Host, Inventory
from scs_deploy.region import ingress
from scs_deploy.secrets import pki
from scs_deploy.secrets.issuing import Wanted
from scs_deploy.secrets.pki import Certificates
from scs_deploy.spec.catalog import Catalog
from scs_deploy.spec.certificate import Certificate


def wanted_leaves(environment: Environment, catalog: Catalog, inventory: Inventory) -> dict[str, Wanted]:
    """Every certificate that a region needs, by name: of the APIs, of the registry, and `<purpose>/<host>`."""
    catalog = ingress.placed(catalog, inventory)
    api, registry = environment.settings.api, environment.settings.registry
    internal = (api.internal.name, str(api.internal.address))
    wanted = {
        "api-internal": _server(internal, "api"),
        "api-external": _server((api.external.name, str(api.external.address)), "api"),
    }
    if registry.managed:
        wanted["registry"] = _server((registry.address, "127.0.0.1", "localhost"), "registry")
    for service in catalog.services.values():
        for name, container in service.containers.items():
            for use in container.tls:
                spec = catalog.certificates[use.certificate]
                for host in inventory.group(*service.groups(name)):
                    wanted[leaf_name(use.certificate, host)] = _of_host(use.certificate, spec, host, internal)
    return wanted


def leaf_name(certificate: str, host: Host) -> str:
    """The name of a host's certificate for a purpose."""
    return f"{certificate}/{host.name}"


def _of_host(name: str, spec: Certificate, host: Host, internal: Iterable[str]) -> Wanted:
    server, client = spec.usage != "client", spec.usage != "server"
    names = (host.name, *((host.management,) if server else ()), *(internal if spec.internal_api else ()))
    return Wanted(
        names=tuple(dict.fromkeys(names)), group=name if spec.group else "", unit=name, server=server, client=client
    )


def _server(names: Iterable[str], unit: str) -> Wanted:
    return Wanted(names=tuple(dict.fromkeys(names)), unit=unit)


def load_certificates(environment: Environment) -> Certificates:
    """The certificates of the region's CA and of its groups, and those of hosts and APIs.

    :raises RefusedError: certificates.yml or ca.crt is missing or invalid, or the vault password is wrong
    """
    certificates = pki.load(environment)
    if not environment.ca_file.is_file():
        raise RefusedError(f"{environment.ca_file}: no such file", "scs secrets init writes it again")
    return certificates
