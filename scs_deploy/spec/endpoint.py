# SPDX-License-Identifier: Apache-2.0
"""Of the service spec: the ports that clients reach, and how a run measures them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from scs_deploy.base.model import Written


class Probe(Written):
    """How a run measures a service from outside while it changes the region: see `scs apply`, `scs upgrade`."""

    list: str = Field(description="path of a cheap list call below the catalogue's URL, or of a page without login")
    create: str = Field(
        default="", description="path of a collection where something small is made, read and removed every minute"
    )
    key: str = Field(default="", description="key that wraps such a resource; its plural wraps their list")
    body: dict[str, str | int | tuple[str, ...]] = Field(default={}, description="what it must say beside its name")


class Endpoint(Written):
    """A port that clients reach through HAProxy on the region's addresses, over TLS where it is HTTP.

    The key in `endpoints` is the Keystone catalogue's service type when `catalogue` is true.
    """

    port: int = Field(ge=1, le=65535, description="on the region's addresses")
    backend_port: int | None = Field(default=None, description="port on the node, when it differs from `port`")
    path: str = Field(default="", description="appended to the URL in the Keystone catalogue")
    public: bool = Field(default=False, description="reachable on the external address too")
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
    proxied: bool = Field(
        default=False,
        description="its clients are proxies of the region itself, which say for whom they ask: their X-Forwarded-For "
        "counts. HAProxy removes that of any other client",
    )
    copies: bool = Field(
        default=False, description="a new member copies data before HAProxy may use it: a roll does not fail for that"
    )
    probe: Probe | None = Field(default=None, description="how runs measure it; absent: they do not")
