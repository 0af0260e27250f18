# SPDX-License-Identifier: Apache-2.0
"""The region's certificate authority and the certificates it issues, in `certificates.yml` (ansible-vault).

EC P-256 throughout. Each certificate serves as a TLS server's and as a client's.
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
"""A certificate with less left is issued anew."""


class Leaf(Model):
    """A certificate and its key, PEM."""

    cert: str
    key: str = Field(repr=False)


class Certificates(Model):
    """All certificates of a region."""

    ca_pem: str
    """every CA that is trusted: one, or two while the CA is being exchanged; the one that issues comes first"""
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
    next_ca: Leaf | None = Field(default=None, description="trusted, issues nothing yet")
    previous_ca: str | None = Field(default=None, description="still trusted, issues nothing any more; no key is kept")

    @property
    def bundle(self) -> str:
        """What everybody trusts."""
        return "".join((self.ca.cert, self.next_ca.cert if self.next_ca else "", self.previous_ca or ""))


class Exchange(StrEnum):
    """How far an exchange of the CA is."""

    NONE = "none"
    TRUSTED = "both are trusted, the old one issues"
    ISSUED = "both are trusted, the new one issues"


def load(environment: Environment) -> Certificates:
    """The CA's certificate and all leaves.

    :raises RefusedError: no certificates.yml, no or another vault password, or a wrong content
    """
    store = _load(environment)
    return Certificates(ca_pem=store.bundle, leaves=store.leaves)


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
        store = (present or _Store(ca=ca)).model_copy(update={"leaves": dict(sorted(kept.items()))})
        if issued or not present:
            _save(environment, store)
        _publish(environment, store)
        return issued


def renew(environment: Environment, leaves: Mapping[str, Iterable[str]], names: Iterable[str]) -> list[str]:
    """Issue certificates anew, whatever is left of them; returns their names, sorted.

    :param leaves: as for `ensure`
    :param names: which
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
    """Whether all are certificates of the region.

    :raises RefusedError: the first one that is not
    """
    for name in names:
        if name not in leaves:
            raise RefusedError(f"no certificate '{name}' in this region", f"there are: {', '.join(sorted(leaves))}")


def exchange(environment: Environment) -> Exchange:
    """How far an exchange of the CA is.

    :raises RefusedError: certificates.yml is missing or cannot be read
    """
    return _exchange(_load(environment))


def trust_next(environment: Environment) -> None:
    """Make the CA that shall follow and have it trusted beside the one that issues; again: changes nothing.

    :raises RefusedError: the CA before the present one is still trusted, or certificates.yml cannot be read
    """
    with vault.locked(environment):
        store = _load(environment)
        if store.previous_ca:
            raise RefusedError(
                f"{environment.certificates_file}: an exchange of the CA is not finished", "scs certs rotate --ca"
            )
        if not store.next_ca:
            store = store.model_copy(update={"next_ca": _new_ca(environment.settings.region)})
            _save(environment, store)
        _publish(environment, store)


def issue_with_next(environment: Environment, leaves: Mapping[str, Iterable[str]]) -> list[str]:
    """Let the next CA issue every certificate, from now on; both stay trusted. The old one's key is forgotten.

    :returns: names of the certificates issued, sorted; empty when it does so already
    :raises RefusedError: there is no next CA
    """
    with vault.locked(environment):
        store = _load(environment)
        if store.previous_ca and not store.next_ca:
            return []
        if not store.next_ca:
            raise RefusedError(f"{environment.certificates_file}: there is no next CA", "scs certs rotate --ca")
        ca = store.next_ca
        fresh = {n: _issue(ca, list(names)) for n, names in sorted(leaves.items())}
        store = _Store(ca=ca, leaves=fresh, previous_ca=store.ca.cert)
        _save(environment, store)
        _publish(environment, store)
        return sorted(fresh)


def forget_previous(environment: Environment) -> bool:
    """Trust the CA that issues only; false: there was no other.

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
    found = [("issues", store.ca.cert), ("next", store.next_ca.cert if store.next_ca else "")]
    return [(role, pem) for role, pem in [*found, ("previous", store.previous_ca or "")] if pem]


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
