# SPDX-License-Identifier: Apache-2.0
"""The region's certificate authority and the certificates it issues, in `certificates.yml` (ansible-vault).

EC P-256 throughout. Each certificate serves as a TLS server's and as a client's.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import yaml
from pydantic import Field

from scs_deploy import vault
from scs_deploy.environment import Environment
from scs_deploy.errors import RefusedError
from scs_deploy.inventory.model import Inventory
from scs_deploy.model import Model, parse_yaml, validate

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

CA_DAYS = 3653
LEAF_DAYS = 365
RENEW_DAYS = 30
"""A certificate with less left is issued anew."""


class Leaf(Model):
    """A certificate and its key, PEM."""

    cert: str
    key: str = Field(repr=False)


class Certificates(Model):
    """All certificates of a region."""

    ca_pem: str
    leaves: dict[str, Leaf]

    def leaf(self, name: str) -> Leaf:
        """A certificate by name: a host's, `api-internal`, `api-external` or `registry`.

        :raises RefusedError: there is none
        """
        if name not in self.leaves:
            raise RefusedError(f"certificates.yml: no certificate '{name}'", "scs secrets init")
        return self.leaves[name]


class _Store(Model):
    """What certificates.yml holds."""

    ca: Leaf
    leaves: dict[str, Leaf] = Field(default_factory=dict)


def load(environment: Environment) -> Certificates:
    """The CA's certificate and all leaves.

    :raises RefusedError: no certificates.yml, no or another vault password, or a wrong content
    """
    store = _load(environment)
    return Certificates(ca_pem=store.ca.cert, leaves=store.leaves)


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


def stale(environment: Environment, leaves: Mapping[str, Iterable[str]]) -> list[str]:
    """Names of the certificates that `ensure` would issue; changes nothing.

    :raises RefusedError: certificates.yml is missing or cannot be read
    """
    return _stale(_load(environment), leaves)


def ensure(environment: Environment, leaves: Mapping[str, Iterable[str]]) -> list[str]:
    """Issue every certificate that is missing, names other hosts, or ends within 30 days. Others stay.

    Makes the CA (10 years) when there is none, and writes its certificate to ca.crt.

    :param leaves: name -> DNS names and IP addresses; the first one becomes the common name
    :returns: names of the certificates issued, sorted
    :raises RefusedError: no vault password, or certificates.yml cannot be read
    """
    with vault.locked(environment):
        vault.password(environment)
        present = _load(environment) if environment.certificates_file.exists() else None
        ca = present.ca if present else _new_ca(environment.settings.region)
        kept = dict(present.leaves) if present else {}
        issued = _stale(_Store(ca=ca, leaves=kept), leaves)
        for name in issued:
            kept[name] = _issue(ca, list(leaves[name]))
        if issued or not present:
            plain = _Store(ca=ca, leaves=dict(sorted(kept.items()))).model_dump()
            vault.save(environment, environment.certificates_file, "---\n" + yaml.safe_dump(plain, default_style="|"))
        if not environment.ca_file.is_file() or environment.ca_file.read_text(encoding="utf-8") != ca.cert:
            vault.write(environment.ca_file, ca.cert, mode=0o644)
        return issued


def _load(environment: Environment) -> _Store:
    file = environment.certificates_file
    return validate(_Store, parse_yaml(vault.read(environment, file), file), file)


def _stale(store: _Store, leaves: Mapping[str, Iterable[str]]) -> list[str]:
    known = store.leaves
    return sorted(n for n, names in leaves.items() if n not in known or not _good(known[n], list(names), store.ca))


def _good(leaf: Leaf, names: list[str], ca: Leaf) -> bool:
    from cryptography import x509

    cert = x509.load_pem_x509_certificate(leaf.cert.encode())
    present = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    authority = x509.load_pem_x509_certificate(ca.cert.encode())
    lasts = cert.not_valid_after_utc - _now() >= datetime.timedelta(days=RENEW_DAYS)
    return (
        set(present) == set(_names(names))
        and cert.issuer == authority.subject
        # nothing outlives the CA: a new one would end at the same time
        and (lasts or cert.not_valid_after_utc >= authority.not_valid_after_utc)
    )


def _new_ca(region: str) -> Leaf:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    # the serial keeps two regions of one name apart in a client's trust store
    serial = x509.random_serial_number()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"SCS {region} CA {serial % 2**32:08x}"[:64])])
    now = _now()
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=CA_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(ca=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return _signed(builder, key, key)


def _issue(ca: Leaf, names: list[str]) -> Leaf:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    authority = x509.load_pem_x509_certificate(ca.cert.encode())
    signer = load_pem_private_key(ca.key.encode(), password=None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    now = _now()
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(max(now - datetime.timedelta(hours=1), authority.not_valid_before_utc))
        .not_valid_after(min(now + datetime.timedelta(days=LEAF_DAYS), authority.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(ca=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(x509.SubjectAlternativeName(_names(names)), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    return _signed(builder, key, signer)


def _signed(
    builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey, signer: ec.EllipticCurvePrivateKey
) -> Leaf:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    cert = builder.sign(signer, hashes.SHA256())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Leaf(cert=cert.public_bytes(Encoding.PEM).decode(), key=private.decode())


def _usage(ca: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _names(names: list[str]) -> list[x509.GeneralName]:
    from cryptography import x509

    found: list[x509.GeneralName] = []
    for name in names:
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            found.append(x509.DNSName(name))
    return found


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
