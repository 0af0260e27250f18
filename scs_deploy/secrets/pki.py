# SPDX-License-Identifier: Apache-2.0
"""The region's certificate authority and the certificates it issues, in `certificates.yml` (ansible-vault).

All keys are EC P-256. Each certificate is valid for TLS servers and clients.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING

import yaml
from pydantic import Field

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import Model, parse_yaml, validate
from scs_deploy.environment.environment import Environment
from scs_deploy.secrets import vault

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

CA_DAYS = 3653
LEAF_DAYS = 365
RENEW_DAYS = 30
"""`ensure` reissues certificates that expire within this many days."""


class Leaf(Model):
    """A certificate and its key, PEM."""

    cert: str
    key: str = Field(repr=False)


class Certificates(Model):
    """All certificates of a region."""

    ca_pem: str
    """every trusted CA: one, or two while the CA is being exchanged. The CA that issues certificates comes first."""
    leaves: dict[str, Leaf]

    def leaf(self, name: str) -> Leaf:
        """A certificate by name: a host's, `api-internal`, `api-external` or `registry`.

        :raises RefusedError: no such certificate
        """
        if name not in self.leaves:
            raise RefusedError(f"certificates.yml: no certificate '{name}'", "scs secrets init")
        return self.leaves[name]


class _Store(Model):
    """The content of certificates.yml."""

    ca: Leaf
    leaves: dict[str, Leaf] = Field(default_factory=dict)
    next_ca: Leaf | None = Field(default=None, description="trusted, but does not issue certificates yet")
    previous_ca: str | None = Field(
        default=None, description="still trusted, but no longer issues certificates; its key is deleted"
    )

    @property
    def bundle(self) -> str:
        """All trusted CA certificates, PEM."""
        return "".join((self.ca.cert, self.next_ca.cert if self.next_ca else "", self.previous_ca or ""))


class Exchange(StrEnum):
    """The state of a CA exchange."""

    NONE = "none"
    TRUSTED = "both CAs are trusted, the old one issues certificates"
    ISSUED = "both CAs are trusted, the new one issues certificates"


def load(environment: Environment) -> Certificates:
    """The CA certificates and all leaf certificates.

    :raises RefusedError: certificates.yml is missing or invalid, or the vault password is missing or wrong
    """
    store = _read(environment)
    return Certificates(ca_pem=store.bundle, leaves=store.leaves)


def stale(environment: Environment, leaves: Mapping[str, Iterable[str]]) -> list[str]:
    """Names of the certificates that `ensure` would issue. Changes nothing.

    :raises RefusedError: certificates.yml is missing or cannot be read
    """
    return _stale(_load(environment), leaves)


def ensure(environment: Environment, leaves: Mapping[str, Iterable[str]]) -> list[str]:
    """Issue every certificate that is missing, has other names than wanted, or expires within 30 days.

    Creates the CA (valid for 10 years) if it is missing, and writes its certificate to ca.crt.

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
        store = (present or _Store(ca=ca)).model_copy(update={"leaves": dict(sorted(kept.items()))})
        if issued or not present:
            _save(environment, store)
        _publish(environment, store)
        return issued


def renew(environment: Environment, leaves: Mapping[str, Iterable[str]], names: Iterable[str]) -> list[str]:
    """Reissue certificates regardless of their expiry. Returns their names, sorted.

    :param leaves: as for `ensure`
    :param names: names of the certificates to reissue
    :raises RefusedError: no such certificate in this region, or certificates.yml cannot be read
    """
    chosen = sorted(set(names))
    check_names(chosen, leaves)
    with vault.locked(environment):
        store = _load(environment)
        fresh = {n: _issue(store.ca, list(leaves[n])) for n in chosen}
        _save(environment, store.model_copy(update={"leaves": dict(sorted((store.leaves | fresh).items()))}))
    return chosen


def check_names(names: Iterable[str], leaves: Mapping[str, Iterable[str]]) -> None:
    """Check that all names are certificates of the region.

    :raises RefusedError: names the first unknown certificate
    """
    for name in names:
        if name not in leaves:
            raise RefusedError(f"no certificate '{name}' in this region", f"available: {', '.join(sorted(leaves))}")


def exchange(environment: Environment) -> Exchange:
    """The state of the CA exchange.

    :raises RefusedError: certificates.yml is missing or cannot be read
    """
    return _exchange(_load(environment))


def trust_next(environment: Environment) -> None:
    """Create the next CA and trust it in addition to the current one. Idempotent.

    :raises RefusedError: the previous CA is still trusted, or certificates.yml cannot be read
    """
    with vault.locked(environment):
        store = _load(environment)
        if store.previous_ca:
            raise RefusedError(
                f"{environment.certificates_file}: the last CA exchange is not finished", "scs certs rotate --ca"
            )
        if not store.next_ca:
            store = store.model_copy(update={"next_ca": _new_ca(environment.settings.region)})
            _save(environment, store)
        _publish(environment, store)


def issue_with_next(environment: Environment, leaves: Mapping[str, Iterable[str]]) -> list[str]:
    """Reissue every certificate with the next CA. Both CAs stay trusted; the old CA's key is deleted.

    :returns: names of the certificates issued, sorted; empty if this was done before
    :raises RefusedError: no next CA exists
    """
    with vault.locked(environment):
        store = _load(environment)
        if store.previous_ca and not store.next_ca:
            return []
        if not store.next_ca:
            raise RefusedError(f"{environment.certificates_file}: no next CA", "scs certs rotate --ca")
        ca = store.next_ca
        fresh = {n: _issue(ca, list(names)) for n, names in sorted(leaves.items())}
        store = _Store(ca=ca, leaves=fresh, previous_ca=store.ca.cert)
        _save(environment, store)
        _publish(environment, store)
        return sorted(fresh)


def forget_previous(environment: Environment) -> bool:
    """Trust only the CA that issues certificates. Returns false if no previous CA was trusted.

    :raises RefusedError: certificates.yml is missing or cannot be read
    """
    with vault.locked(environment):
        store = _load(environment)
        present = store.previous_ca is not None
        store = store.model_copy(update={"previous_ca": None})
        if present:
            _save(environment, store)
        _publish(environment, store)
        return present


def authorities(environment: Environment) -> list[tuple[str, str]]:
    """(role, PEM) of every trusted CA; the role is `issues`, `next` or `previous`.

    :raises RefusedError: certificates.yml is missing or cannot be read
    """
    store = _load(environment)
    roles = {
        "issues": store.ca.cert,
        "next": store.next_ca.cert if store.next_ca else "",
        "previous": store.previous_ca or "",
    }
    return [(role, pem) for role, pem in roles.items() if pem]


def _exchange(store: _Store) -> Exchange:
    if store.next_ca:
        return Exchange.TRUSTED
    return Exchange.ISSUED if store.previous_ca else Exchange.NONE


def _save(environment: Environment, store: _Store) -> None:
    plain = yaml.safe_dump(store.model_dump(exclude_none=True), default_style="|")
    vault.save(environment, environment.certificates_file, "---\n" + plain)


def _publish(environment: Environment, store: _Store) -> None:
    file = environment.ca_file
    if not file.is_file() or file.read_text(encoding="utf-8") != store.bundle:
        vault.write(file, store.bundle, mode=0o644)


def _read(environment: Environment) -> _Store:
    file = environment.certificates_file
    return validate(_Store, parse_yaml(vault.read(environment, file), file), file)


def _load(environment: Environment) -> _Store:
    """As `_read`, and check that every certificate can be read and has its key."""
    store = _read(environment)
    parts = {"ca": store.ca, **{f"leaves.{n}": leaf for n, leaf in store.leaves.items()}}
    if store.next_ca:
        parts["next_ca"] = store.next_ca
    for key, leaf in parts.items():
        if wrong := _damage(leaf):
            raise RefusedError(f"{environment.certificates_file}: {key}.{wrong}", "restore the file from a backup")
    return store


def _damage(leaf: Leaf) -> str:
    """What of a certificate and its key cannot be used; empty if nothing."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        cert = x509.load_pem_x509_certificate(leaf.cert.encode())
        public = cert.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return "cert: is not a PEM certificate"
    try:
        key = load_pem_private_key(leaf.key.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return "key: is not a PEM key without a password"
    return "" if key.public_key() == public else "key: is not the key of the certificate"


def _stale(store: _Store, leaves: Mapping[str, Iterable[str]]) -> list[str]:
    known = store.leaves
    return sorted(n for n, names in leaves.items() if n not in known or not _good(known[n], list(names), store.ca))


def _good(leaf: Leaf, names: list[str], ca: Leaf) -> bool:
    from cryptography import x509

    cert = x509.load_pem_x509_certificate(leaf.cert.encode())
    try:
        present = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    authority = x509.load_pem_x509_certificate(ca.cert.encode())
    lasts = cert.not_valid_after_utc - _now() >= datetime.timedelta(days=RENEW_DAYS)
    return (
        set(present) == set(_names(names))
        and cert.issuer == authority.subject
        # no certificate outlives the CA: a new one would expire at the same time
        and (lasts or cert.not_valid_after_utc >= authority.not_valid_after_utc)
    )


def _new_ca(region: str) -> Leaf:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    # the serial distinguishes regions of the same name in a client's trust store
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

    general: list[x509.GeneralName] = []
    for name in names:
        try:
            general.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            general.append(x509.DNSName(name))
    return general


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
