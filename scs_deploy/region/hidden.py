# SPDX-License-Identifier: Apache-2.0
"""A region for a user who may not read its secrets: placeholders take their place in everything that is rendered."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Iterable

from scs_deploy.environment import sharing
from scs_deploy.region.region import Region
from scs_deploy.secrets.issuing import Leaf
from scs_deploy.secrets.pki import Certificates
from scs_deploy.spec.secret import Format


def readable(region: Region) -> Region:
    """The region itself, or one with placeholders if its secrets are hidden from this user."""
    return without_secrets(region) if sharing.secrets_are_hidden(region.environment) else region


def without_secrets(region: Region) -> Region:
    """The region with placeholders in place of secrets and certificates, which need not exist."""
    formats = region.catalog.secret_formats
    secrets = {name: _placeholder(name, formats.get(name)) for name in region.catalog.secrets()}
    return dataclasses.replace(
        region,
        load_secrets=lambda _environment: secrets,
        load_certificates=lambda environment: _Hidden(
            ca_pem=environment.ca_file.read_text(encoding="utf-8") if environment.ca_file.is_file() else "", leaves={}
        ),
    )


def _placeholder(name: str, kind: Format | None) -> str:
    """What stands for a secret: of its format where that is looked at."""
    text = f"hidden-{name.replace('_', '-')}"
    return base64.urlsafe_b64encode(text.encode().ljust(32, b"-")[:32]).decode() if kind is Format.FERNET else text


class _Hidden(Certificates):
    """Certificates of any name, without keys."""

    def leaf(self, name: str) -> Leaf:
        """See Certificates.leaf."""
        return Leaf(cert=f"hidden certificate of {name}\n", key=f"hidden key of {name}\n")

    def accepted(self, names: Iterable[str]) -> str:
        """See Certificates.accepted."""
        return "".join(f"hidden CA of {name}\n" for name in names) or self.ca_pem
