# SPDX-License-Identifier: Apache-2.0
"""A region for a user who may not read its secrets: placeholders take their place in everything that is rendered."""

from __future__ import annotations

import dataclasses

from scs_deploy.environment import sharing
from scs_deploy.region.region import Region
from scs_deploy.secrets.pki import Certificates, Leaf


def readable(region: Region) -> Region:
    """The region itself, or one with placeholders if its secrets are hidden from this user."""
    return without_secrets(region) if sharing.secrets_are_hidden(region.environment) else region


def without_secrets(region: Region) -> Region:
    """The region with placeholders in place of secrets and certificates, which need not exist."""
    secrets = {name: f"hidden-{name.replace('_', '-')}" for name in region.catalog.secrets()}
    return dataclasses.replace(
        region,
        load_secrets=lambda _environment: secrets,
        load_certificates=lambda environment: _Hidden(
            ca_pem=environment.ca_file.read_text(encoding="utf-8") if environment.ca_file.is_file() else "", leaves={}
        ),
    )


class _Hidden(Certificates):
    """Certificates of any name, without keys."""

    def leaf(self, name: str) -> Leaf:
        """See Certificates.leaf."""
        return Leaf(cert=f"hidden certificate of {name}\n", key=f"hidden key of {name}\n")
