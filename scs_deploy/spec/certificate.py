# SPDX-License-Identifier: Apache-2.0
"""Of the service spec: certificates by purpose, and how a container uses them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from scs_deploy.base.model import Written


class Certificate(Written):
    """A purpose for which each host that uses it has a certificate and key of its own."""

    description: str = Field(default="", description="what it is for, in a few words")
    group: bool = Field(
        default=False,
        description="has a CA of its own, so that its servers accept its holders and nobody else; absent: the region's "
        "CA issues it, for servers only",
    )
    usage: Literal["server", "client", "both"] = Field(
        default="server", description="in which of the two roles TLS accepts it"
    )
    internal_api: bool = Field(
        default=False, description="names the internal API too: clients reach the server through the load balancer"
    )

    @model_validator(mode="after")
    def _clients(self) -> Certificate:
        if self.usage != "server" and not self.group:
            raise ValueError("usage: the region's CA issues certificates of servers only; set group: true")
        if self.group and self.internal_api:
            raise ValueError("internal_api: clients of the API trust the region's CA; leave out group")
        return self


class Use(Written):
    """A certificate that a container gets, in /etc/scs/tls."""

    certificate: str = Field(description="its name in `certificates` of this service or of one that it requires")
    accepts: tuple[str, ...] = Field(
        default=(), description="certificates of groups whose holders it accepts; default: its own group's"
    )
    ports: tuple[str, ...] = Field(
        default=(), description="where it serves TLS with it, as in `tls_ports`, which are the first certificate's"
    )


def uses(value: Any) -> Any:
    """A name, or a list of names and mappings, as mappings."""
    if value in (True, False):
        # a service replaces `true` by its own name
        return () if value is False else value
    items = value if isinstance(value, list | tuple) else (value,)
    return tuple({"certificate": i} if isinstance(i, str) else i for i in items)
