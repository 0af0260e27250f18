# SPDX-License-Identifier: Apache-2.0
"""Of the service spec: the ports that clients reach, and how a run measures them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from scs_deploy.base.model import Written
from scs_deploy.spec.listener import Clients

FIRST_INGRESS, INGRESSES = 20000, 12768
"""Ports of ingresses: below those that Linux gives to outgoing connections, which begin at 32768."""


def ingress_of(port: int) -> int:
    """The port of the ingress before a process's port. It depends on nothing else, so that it stays."""
    return FIRST_INGRESS + port % INGRESSES


class Probe(Written):
    """How a run measures a service from outside while it changes the region: see `scs apply`, `scs upgrade`."""

    list: str = Field(description="path of a cheap list call below the catalogue's URL, or of a page without login")
    create: str = Field(
        default="", description="path of a collection where something small is made, read and removed every minute"
    )
    key: str = Field(default="", description="key that wraps such a resource; its plural wraps their list")
    reference: str = Field(default="", description="key whose value is the resource's URL, where an answer has no `id`")
    body: dict[str, str | int | tuple[str, ...]] = Field(default={}, description="what it must say beside its name")


class Endpoint(Written):
    """A port that clients reach through HAProxy on the region's addresses, over TLS where it is HTTP.

    The key in `endpoints` is the Keystone catalogue's service type when `catalogue` is true.
    """

    port: int = Field(ge=1, le=65535, description="on the region's addresses")
    backend_port: int | None = Field(default=None, description="port on the node, when it differs from `port`")
    path: str = Field(default="", description="appended to the URL in the Keystone catalogue")
    aliases: tuple[str, ...] = Field(
        default=(),
        description="further types under which Keystone's catalogue has it, e.g. of clients that know no other",
    )
    public: bool = Field(default=False, description="reachable on the external address too")
    clients: Clients = Field(
        default=("all",),
        description="who uses it on the internal address, beside the manager: inventory groups, `all` or `anyone`",
    )
    catalogue: bool = Field(default=True, description="registered in Keystone")
    protocol: Literal["http", "tcp"] = Field(
        default="http", description="`http`: HAProxy ends TLS; `tcp`: it passes bytes on"
    )
    balance: Literal["leastconn", "source", "single"] = Field(
        default="leastconn",
        description="`single` sends all to one member as long as that is healthy, the others stand by (single writer)",
    )
    container: str | None = Field(default=None, description="the container that listens; default: the first one")
    health_path: str | None = Field(default=None, description="HTTP path of HAProxy's health check; default: TCP check")
    health_port: int | None = Field(
        default=None, ge=1, le=65535, description="port of HAProxy's health check on the node, when it is another one"
    )
    loopback: bool = Field(
        default=False,
        description="its process listens on 127.0.0.1, not on the management address; always so with `wsgi`. In both "
        "cases, load balancers of other hosts reach it over TLS, through its host's ingress, if it is HTTP",
    )
    proxied: bool = Field(
        default=False,
        description="its clients are proxies of the region itself, which say for whom they ask: their X-Forwarded-For "
        "counts. HAProxy removes that of any other client",
    )
    login_paths: tuple[Annotated[str, Field(pattern=r"^[\w./-]+$")], ...] = Field(
        default=(),
        description="words, in any case: a POST to the external address whose path has one checks a password or the "
        "like, and HAProxy limits these for each source",
    )
    secret_query: bool = Field(
        default=False,
        description="the query of a URL may be all that a request needs to be let in, e.g. a presigned one: HAProxy's "
        "log has the path only",
    )
    drain: int = Field(
        default=30,
        ge=1,
        le=3600,
        description="seconds that a member which leaves may take for the requests that it has, with `protocol: http`",
    )
    copies: bool = Field(
        default=False, description="a new member copies data before HAProxy may use it: a roll does not fail for that"
    )
    probe: Probe | None = Field(default=None, description="how runs measure it; absent: they do not")
    slo: Annotated[float, Field(ge=50, lt=100)] | Literal[False] = Field(
        default=99.9,
        description="percent of the requests of 30 days that are to be answered without a server error (5xx); `false`: "
        "nobody is told of a service level. HTTP only; `prometheus_slo` changes it for a region",
    )

    @property
    def process_port(self) -> int:
        """Where the process listens."""
        return self.backend_port or self.port

    @property
    def ingresses(self) -> dict[int, int]:
        """Port of an ingress: the port of the process that it passes requests on to. Of HTTP only."""
        ports = (self.process_port, self.health_port) if self.protocol == "http" else ()
        return {ingress_of(p): p for p in ports if p}
