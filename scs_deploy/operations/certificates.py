# SPDX-License-Identifier: Apache-2.0
"""Every certificate of a region: its CAs, what certificates.yml holds, and what its servers really serve."""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from scs_deploy.base import tls
from scs_deploy.base.errors import ScsError
from scs_deploy.base.model import Model, at
from scs_deploy.base.plural import counted
from scs_deploy.desired import render
from scs_deploy.desired.endpoints import endpoints
from scs_deploy.desired.scope import template_scope
from scs_deploy.region.certificates import leaf_name, wanted_leaves
from scs_deploy.region.region import Region
from scs_deploy.secrets import pki
from scs_deploy.spec.certificate import Use
from scs_deploy.spec.container import Container

if TYPE_CHECKING:
    from cryptography import x509

REPLACE_CA = "scs certs rotate --ca"
"""Ends certificates of the region's CA that cannot be taken back."""

AT_ONCE = 32
"""Servers that are read at the same time."""


class Target(Model):
    """A server that shall serve one of the region's certificates."""

    name: str
    address: str
    port: int
    greeting: str = ""
    leaf: str = Field(description="name of its certificate in certificates.yml")

    @property
    def at(self) -> str:
        """`address:port`."""
        return at(self.address, self.port)


class Entry(Model):
    """A certificate, or a server whose certificate could not be read."""

    kind: Literal["ca", "issued", "served", "removed"]
    name: str
    where: str
    subject: str = ""
    fingerprint: str = Field(default="", description="SHA-256, hex")
    ends: datetime.datetime | None = None
    problem: str = Field(default="", description="what is wrong with it, apart from its expiry")

    def days(self, now: datetime.datetime) -> int | None:
        """Whole days until it expires, negative if it has expired; None: there is no certificate."""
        return None if self.ends is None else math.floor((self.ends - now).total_seconds() / 86400)


def known(region: Region) -> list[Entry]:
    """The certificates in certificates.yml: the CAs, the leaves by name, and what clients accept of removed hosts.

    :raises RefusedError: the file is missing or cannot be read
    """
    file = str(region.environment.certificates_file)
    authorities = pki.authorities(region.environment)
    entries = [_entry("ca", role, file, _parse(pem)) for role, pem in authorities]
    wanted = wanted_leaves(region.environment, region.catalog, region.inventory)
    for name, leaf in region.certificates.leaves.items():
        problem = "" if name in wanted else "nothing uses it: scs secrets init"
        entries.append(_entry("issued", name, file, _parse(leaf.cert), problem))
    for name, pem in pki.departed(region.environment):
        cert = _parse(pem)
        problem = f"its host was removed, clients accept it until {cert.not_valid_after_utc:%Y-%m-%d}: {REPLACE_CA}"
        entries.append(_entry("removed", name, file, cert, problem))
    missing = sorted(set(wanted) - set(region.certificates.leaves))
    return entries + [Entry(kind="issued", name=n, where=file, problem="is missing: scs secrets init") for n in missing]


def targets(region: Region) -> list[Target]:
    """Every server with a certificate, from the specs: API addresses, the services' own ports, the registry.

    :raises ScsError: `tls_ports` of a spec is not a port
    """
    settings = region.environment.settings
    sides = (("internal", settings.api.internal), ("external", settings.api.external))
    found = [
        Target(name=f"{e.name} {side}", address=str(api.address), port=e.port, leaf=f"api-{side}")
        for e in endpoints(region)
        for side, api in sides
        if e.protocol == "http" and (e.public or side == "internal")
    ]
    for service in region.catalog.services.values():
        for name, spec in service.containers.items():
            for host in region.hosts_of(service.name, name) if _ports(spec) else ():
                at = f"{service.directory / 'service.yml'}: containers.{name}.tls_ports"
                scope = template_scope(region).of(service, host, name)
                for use, written in _ports(spec):
                    if not (text := render.leaf(written, scope, at)):
                        continue
                    greeting, port = _port(text, at)
                    where = Target(
                        name=f"{name} {host.name}", address=host.management, port=port, greeting=greeting,
                        leaf=leaf_name(use.certificate, host),
                    )  # fmt: skip
                    found.append(where)
    registry = settings.registry
    if registry.managed:
        found.append(Target(name="registry", address=registry.address, port=registry.port, leaf="registry"))
    return found


def _ports(spec: Container) -> list[tuple[Use, str]]:
    """Every port at which a container serves TLS, with the certificate there."""
    first = [(spec.tls[0], p) for p in spec.tls_ports if spec.tls]
    return first + [(use, p) for use in spec.tls for p in use.ports]


def _port(text: str, at: str) -> tuple[str, int]:
    greeting, _, number = text.rpartition(":")
    if not number.isdecimal() or not 0 < int(number) < 65536 or greeting not in ("", tls.GREETING):
        raise ScsError(f"{at}: '{text}' is not a port", f"use a number, or {tls.GREETING}:number")
    return greeting, int(number)


def served(region: Region, wanted: Sequence[Target], timeout: float = 5) -> list[Entry]:
    """The certificates that servers present, read concurrently. One that cannot be read is an entry with a problem.

    :param timeout: seconds for each connection and each response
    """
    authorities = [_parse(pem) for _, pem in pki.authorities(region.environment)]
    issued = {n: _parse(leaf.cert) for n, leaf in region.certificates.leaves.items()}

    def read(target: Target) -> Entry:
        try:
            raw = tls.served(target.address, target.port, target.greeting, timeout=timeout)
        except OSError as error:
            said = f"cannot be read: {tls.say(error)}"
            return Entry(kind="served", name=target.name, where=target.at, problem=said)
        from cryptography import x509

        try:
            cert = x509.load_der_x509_certificate(raw)
        except ValueError:
            return Entry(kind="served", name=target.name, where=target.at, problem="presents a damaged certificate")
        return _entry("served", target.name, target.at, cert, compare(cert, issued.get(target.leaf), authorities))

    if not wanted:
        return []
    with ThreadPoolExecutor(min(AT_ONCE, len(wanted))) as pool:
        return list(pool.map(read, wanted))


def compare(found: x509.Certificate, wanted: x509.Certificate | None, authorities: Iterable[x509.Certificate]) -> str:
    """What is wrong with a presented certificate, apart from its expiry; '' if it is the expected one."""
    if wanted is not None and found == wanted:
        return ""
    if not any(_signed(found, a) for a in authorities):
        return "is not issued by a CA of the region"
    return "is not the one in certificates.yml: scs apply"


def problems(entries: Iterable[Entry], days: int, now: datetime.datetime) -> list[str]:
    """Problems that need attention, one line each: expired, expires within this many days, or wrong."""
    lines = []
    for e in entries:
        what = f"{e.kind} {e.name} ({e.where})"
        left = e.days(now)
        if left is not None and left < 0:
            lines.append(f"{what}: expired {counted(-left, 'day')} ago")
        elif left is not None and left < days and e.kind != "removed":
            lines.append(f"{what}: expires in {counted(left, 'day')}")
        if e.problem:
            lines.append(f"{what}: {e.problem}")
    return lines


def now() -> datetime.datetime:
    """The current time, to compare expiry dates with."""
    return datetime.datetime.now(datetime.UTC)


def _entry(
    kind: Literal["ca", "issued", "served", "removed"], name: str, where: str, cert: x509.Certificate, problem: str = ""
) -> Entry:
    from cryptography.hazmat.primitives import hashes

    return Entry(
        kind=kind,
        name=name,
        where=where,
        subject=cert.subject.rfc4514_string(),
        fingerprint=cert.fingerprint(hashes.SHA256()).hex(),
        ends=cert.not_valid_after_utc,
        problem=problem,
    )


def _parse(pem: str) -> x509.Certificate:
    from cryptography import x509

    return x509.load_pem_x509_certificate(pem.encode())


def _signed(cert: x509.Certificate, authority: x509.Certificate) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        cert.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
