# SPDX-License-Identifier: Apache-2.0
"""Keys, certificates and CAs as PEM: how they are made and what they say. All keys are EC P-256."""

from __future__ import annotations

import datetime
import ipaddress
from typing import TYPE_CHECKING

from pydantic import Field

from scs_deploy.base.model import Model

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

CA_DAYS = 3653
LEAF_DAYS = 365
RENEW_DAYS = 30
"""A certificate that expires within this many days is issued again."""


class Leaf(Model):
    """A certificate and its key, PEM."""

    cert: str
    key: str = Field(repr=False)


class Wanted(Model):
    """What a certificate shall say."""

    names: tuple[str, ...] = Field(description="DNS names and addresses; the first one is the common name")
    group: str = Field(default="", description="the group whose CA issues it; empty: the region's CA")
    unit: str = Field(default="", description="its purpose, which is the organizational unit of its subject")
    server: bool = True
    client: bool = False


def now() -> datetime.datetime:
    """The current time."""
    return datetime.datetime.now(datetime.UTC)


def new_ca(name: str) -> Leaf:
    """A CA whose certificate is valid for ten years.

    :param name: the beginning of its common name; a number follows
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    # the serial distinguishes CAs of the same name in a trust store
    serial = x509.random_serial_number()
    text = f"{name[:52]} {serial % 2**32:08x}"
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
    begin = now()
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(begin - datetime.timedelta(hours=1))
        .not_valid_after(begin + datetime.timedelta(days=CA_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(ca=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return _signed(builder, key, key)


def issue(ca: Leaf, wanted: Wanted) -> Leaf:
    """A new key and its certificate, valid for a year, but never longer than the CA."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    authority = x509.load_pem_x509_certificate(ca.cert.encode())
    signer = load_pem_private_key(ca.key.encode(), password=None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    begin = now()
    builder = (
        x509.CertificateBuilder()
        .subject_name(_subject(wanted))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(max(begin - datetime.timedelta(hours=1), authority.not_valid_before_utc))
        .not_valid_after(min(begin + datetime.timedelta(days=LEAF_DAYS), authority.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(ca=False), critical=True)
        .add_extension(_purposes(wanted), critical=False)
        .add_extension(x509.SubjectAlternativeName(_names(wanted)), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    return _signed(builder, key, signer)


def good(leaf: Leaf, wanted: Wanted, ca: Leaf) -> bool:
    """Whether a certificate says what it shall, is issued by this CA, and lasts."""
    from cryptography import x509

    cert = x509.load_pem_x509_certificate(leaf.cert.encode())
    try:
        names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        purposes = cert.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return False
    authority = x509.load_pem_x509_certificate(ca.cert.encode())
    lasts = cert.not_valid_after_utc - now() >= datetime.timedelta(days=RENEW_DAYS)
    return (
        set(names) == set(_names(wanted))
        and set(purposes) == set(_purposes(wanted))
        and cert.issuer == authority.subject
        # no certificate outlives the CA: a new one would expire at the same time
        and (lasts or cert.not_valid_after_utc >= authority.not_valid_after_utc)
    )


def damage(leaf: Leaf) -> str:
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


def expired(leaf: Leaf) -> bool:
    """Whether nobody accepts a certificate any more."""
    from cryptography import x509

    return x509.load_pem_x509_certificate(leaf.cert.encode()).not_valid_after_utc < now()


def accepted(cert: str, ca: str) -> bool:
    """Whether whoever trusts this CA accepts a certificate today."""
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature

    found = x509.load_pem_x509_certificate(cert.encode())
    try:
        found.verify_directly_issued_by(x509.load_pem_x509_certificate(ca.encode()))
    except (ValueError, TypeError, InvalidSignature):
        return False
    return found.not_valid_after_utc >= now()


def _signed(
    builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey, signer: ec.EllipticCurvePrivateKey
) -> Leaf:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    cert = builder.sign(signer, hashes.SHA256())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Leaf(cert=cert.public_bytes(Encoding.PEM).decode(), key=private.decode())


def _subject(wanted: Wanted) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    unit = [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, wanted.unit)] if wanted.unit else []
    return x509.Name([*unit, x509.NameAttribute(NameOID.COMMON_NAME, wanted.names[0][:64])])


def _purposes(wanted: Wanted) -> x509.ExtendedKeyUsage:
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    both = ((wanted.server, ExtendedKeyUsageOID.SERVER_AUTH), (wanted.client, ExtendedKeyUsageOID.CLIENT_AUTH))
    return x509.ExtendedKeyUsage([oid for present, oid in both if present])


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


def _names(wanted: Wanted) -> list[x509.GeneralName]:
    from cryptography import x509

    general: list[x509.GeneralName] = []
    for name in wanted.names:
        try:
            general.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            general.append(x509.DNSName(name))
    return general
