# SPDX-License-Identifier: Apache-2.0
"""Serves the page: the address, TLS, and a clean end."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import uvicorn

from scs_deploy.api.access import load_password
from scs_deploy.api.app import Access, Site
from scs_deploy.api.facts import Kind, Own
from scs_deploy.api.hub import Hub
from scs_deploy.api.knowledge import INTERVALS, Knowledge, Looker
from scs_deploy.api.watched import Watched
from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.base.model import at
from scs_deploy.environment import sharing
from scs_deploy.environment.environment import Environment
from scs_deploy.inventory.netbox.mapping import FILE as NETBOX
from scs_deploy.region.region import Region
from scs_deploy.secrets.issuing import Leaf
from scs_deploy.shared.monitoring import ALERTS
from scs_deploy.state.journal import logging_to

DEFAULT = "127.0.0.1:8443"

RENEWAL = 24 * 3600.0
"""Seconds between two certificates of the region's CA: a CA that was replaced has no successor for longer."""

CONNECTIONS = 500
GRACE = 3
"""Seconds for requests that go on when the page ends."""


@dataclass(frozen=True)
class Serving:
    """What is asked of `scs serve`."""

    listen: str = DEFAULT
    names: tuple[str, ...] = ()
    """further names and addresses in the certificate"""
    certificate: Path | None = None
    key: Path | None = None
    public_only: bool = False


def address(text: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`.

    :raises RefusedError: it is not that
    """
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not (port.isascii() and port.isdecimal()) or not 0 < int(port) < 65536:
        raise RefusedError(f"--listen {text}: not HOST:PORT", f"e.g. {DEFAULT}, or [::1]:8443")
    return host, int(port)


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens.

    :raises RefusedError: the port is in use, or the address is not of this machine
    """
    where = f"--listen {at(host, port)}"
    try:
        family, _, _, _, target = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except socket.gaierror as error:
        raise RefusedError(
            f"{where}: {(error.strerror or str(error)).lower()}", "use an address of this machine"
        ) from None
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind(target)
        made.listen(128)
    except OSError as error:
        made.close()
        hints = {
            errno.EADDRINUSE: "another program uses this port: choose another one",
            errno.EADDRNOTAVAIL: "use an address of this machine",
            errno.EACCES: "use a port above 1023",
        }
        said = (error.strerror or str(error)).lower()
        raise RefusedError(f"{where}: {said}", hints.get(error.errno or 0, "")) from None
    return made


def certificate_names(host: str, more: Sequence[str]) -> tuple[str, ...]:
    """Names and addresses in the page's certificate; the first one is its common name."""
    try:
        found = ip_address(host)
    except ValueError:
        return tuple(dict.fromkeys((host, *more)))
    if found.is_loopback:
        return tuple(dict.fromkeys(("localhost", host, *more)))
    if found.is_unspecified:
        return tuple(dict.fromkeys((*more, socket.getfqdn(), socket.gethostname(), "localhost", "127.0.0.1")))
    return tuple(dict.fromkeys((host, *more)))


def tls_context() -> ssl.SSLContext:
    """A server's, TLS 1.2 or later, without a certificate yet."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.set_alpn_protocols(["http/1.1"])
    return made


def take_files(context: ssl.SSLContext, certificate: Path | None, key: Path | None) -> None:
    """Serve the operator's own certificate.

    :raises RefusedError: a file cannot be read, is not PEM, or the key is not the certificate's
    """
    if certificate is None or key is None:
        raise RefusedError("--certificate and --key belong together", "give both, or none for the region's CA")
    for option, file in (("--certificate", certificate), ("--key", key)):
        try:
            file.read_bytes()
        except OSError as error:
            raise RefusedError(f"{option} {file}: {(error.strerror or str(error)).lower()}") from None
    try:
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except (ssl.SSLError, ValueError) as error:
        said = getattr(error, "reason", "") or str(error)
        raise RefusedError(
            f"--certificate {certificate}, --key {key}: cannot be used: {said}",
            "both must be PEM, the key without a password and that of the certificate",
        ) from None


def take_leaf(context: ssl.SSLContext, leaf: Leaf) -> None:
    """Serve a certificate whose key is on no disk. Python takes it from files only: this one is in memory."""
    with os.fdopen(os.memfd_create("page"), "w") as file:
        file.write(leaf.cert + leaf.key)
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{file.fileno()}")


class Server(uvicorn.Server):
    """Ends on SIGINT and SIGTERM with exit code 0."""

    ended: Callable[[], None] = staticmethod(lambda: None)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """See uvicorn: there, the signal is raised again at the end."""
        before = {s: signal.signal(s, self.handle_exit) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: object) -> None:
        """Open streams end first: nothing waits for them."""
        self.ended()
        super().handle_exit(sig, frame)  # type: ignore[arg-type]


def kinds(region: Region, public_only: bool) -> tuple[Kind, ...]:
    """What is looked for. The public page alone needs no secret and no way to hosts."""
    if public_only:
        return (Kind.ANSWERS,)
    absent = set()
    if ALERTS not in region.catalog.services:
        absent.add(Kind.MONITORING)
    if not (region.environment.path / NETBOX).is_file():
        absent.add(Kind.INVENTORY)
    return tuple(k for k in INTERVALS if k not in absent)


def check(environment: Environment, wanted: Serving) -> None:
    """Check that the page may be served.

    :raises RefusedError: this user may not see what it shows, or it has no password
    """
    if wanted.public_only:
        return
    sharing.check_may_connect(environment)
    if load_password(environment) is None:
        raise RefusedError(
            "the page has no password yet",
            "scs serve --set-password, or --public-only for the public status page alone",
        )


def serve(region: Region, wanted: Serving, ready: Callable[[str], None]) -> None:
    """Serve the page until the process is told to end.

    :param ready: called with its URL once it answers
    :raises RefusedError: it cannot be served so
    """
    host, port = address(wanted.listen)
    check(region.environment, wanted)
    context = tls_context()
    own = wanted.certificate is not None or wanted.key is not None
    if own:
        take_files(context, wanted.certificate, wanted.key)
    listening = bind(host, port)
    looker = Looker(region.environment.name)
    names = certificate_names(host, wanted.names)
    try:
        if not own:
            renew(context, looker, names)
        with logging_to(region.environment):
            _run(
                region,
                wanted,
                looker,
                listening,
                context,
                None if own else names,
                lambda: ready(url(names, host, port)),
            )
    except ScsError as error:
        if isinstance(error, RefusedError):
            raise
        raise RefusedError(error.message, error.hint) from None
    finally:
        listening.close()
        looker.close()


def url(names: Sequence[str], host: str, port: int) -> str:
    """Where the page is, by a name of its certificate."""
    try:
        found = ip_address(host)
    except ValueError:
        return f"https://{host}:{port}/"
    return f"https://{at(names[0] if found.is_loopback or found.is_unspecified else host, port)}/"


def renew(context: ssl.SSLContext, looker: Looker, names: Sequence[str]) -> None:
    """Serve a new certificate of the region's CA; open connections keep theirs.

    :raises ScsError: the CA cannot be read
    """
    found = looker(Kind.LEAF, names)
    if isinstance(found, Own):
        take_leaf(context, found.leaf)


def _renewing(context: ssl.SSLContext, looker: Looker, names: Sequence[str], over: threading.Event) -> None:
    while not over.wait(RENEWAL):
        try:
            renew(context, looker, names)
        except ScsError as error:
            logging.getLogger("scs").warning("page: no new certificate: %s", error)


def _run(
    region: Region, wanted: Serving, looker: Looker, listening: socket.socket, context: ssl.SSLContext,
    names: Sequence[str] | None, ready: Callable[[], None],
) -> None:  # fmt: skip
    hub, over = Hub(), threading.Event()
    knowledge = Knowledge(looker, kinds(region, wanted.public_only), hub.tell)

    def tell(what: str) -> None:
        hub.tell(what)
        if what == "ended":
            # the run changed what these are about
            for kind in (Kind.CONTAINERS, Kind.PLAN, Kind.ANSWERS):
                knowledge.request(kind)

    watched = Watched(region, tell)
    site = Site(knowledge, watched, hub, Access(region.environment), wanted.public_only)
    server = Server(_config(site, context))
    server.ended = hub.close
    if names is not None:
        threading.Thread(target=_renewing, args=(context, looker, names, over), name="renew", daemon=True).start()
    watched.start()
    knowledge.start()
    try:
        # from now on, a signal ends the page cleanly
        with server.capture_signals():
            ready()
            asyncio.run(server.serve([listening]))
    finally:
        over.set()
        watched.stop()
        knowledge.stop()


def _config(site: Site, context: ssl.SSLContext) -> uvicorn.Config:
    # what goes wrong in the page is in the region's log; clients that break off are no news
    logging.getLogger("uvicorn").addHandler(logging.NullHandler())
    logging.getLogger("uvicorn").propagate = False
    made = uvicorn.Config(
        site.application(), http="h11", ws="none", lifespan="off", loop="asyncio", log_config=None, access_log=False,
        server_header=False, proxy_headers=False, limit_concurrency=CONNECTIONS, timeout_keep_alive=30,
        timeout_graceful_shutdown=GRACE, h11_max_incomplete_event_size=16384,
    )  # fmt: skip
    made.load()
    made.ssl = context
    return made
