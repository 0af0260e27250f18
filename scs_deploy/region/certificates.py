# SPDX-License-Identifier: Apache-2.0
"""The certificates that a region needs."""

from __future__ import annotations

from scs_deploy.base.errors import RefusedError
from scs_deploy.environment.environment import Environment
from scs_deploy.inventory.model import Inventory
from scs_deploy.secrets import pki
from scs_deploy.secrets.pki import Certificates


def wanted_leaves(environment: Environment, inventory: Inventory) -> dict[str, list[str]]:
    """Every certificate that a region needs: name -> DNS names and addresses, most specific first."""
    api, registry = environment.settings.api, environment.settings.registry
    internal = [api.internal.name, str(api.internal.address)]
    wanted = {
        "api-internal": internal,
        "api-external": [api.external.name, str(api.external.address)],
    }
    if registry.managed:
        wanted["registry"] = list(dict.fromkeys([registry.address, "127.0.0.1", "localhost"]))
    for host in inventory.hosts.values():
        own = [host.name, host.management, *(str(n.address) for n in host.networks.values() if n.address)]
        wanted[host.name] = list(dict.fromkeys([*own, *internal]))
    return wanted


def load_certificates(environment: Environment) -> Certificates:
    """The region CA's certificate and all host and API certificates.

    :raises RefusedError: certificates.yml or ca.crt is missing or invalid, or the vault password is wrong
    """
    certificates = pki.load(environment)
    if not environment.ca_file.is_file():
        raise RefusedError(f"{environment.ca_file}: no such file", "scs secrets init writes it again")
    return certificates
