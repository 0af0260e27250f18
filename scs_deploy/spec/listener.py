# SPDX-License-Identifier: Apache-2.0
"""Of the service spec: a port on which a container listens, on which network, and who uses it.

Whatever is not declared is not reachable: the packet filter of the hosts is made from these.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from scs_deploy.base.model import Written

MANAGER = "manager"
"""As a client: the machine that runs scs."""
ANYONE = "anyone"
"""As a client: every source address, also outside the region."""
LOOPBACK = "loopback"
"""As a network: only processes of the same host reach it."""
API_NETWORKS = ("internal", "external")
"""As a network: the API address of that name, wherever it is."""

PORTS = re.compile(r"[0-9]{1,5}(-[0-9]{1,5})?")


def ports(text: str) -> tuple[int, int]:
    """The first and the last of `80` or `5900-6499`.

    :raises ValueError: it is neither
    """
    if not PORTS.fullmatch(text):
        raise ValueError(f"'{text}' is no port and no range such as 5900-6499")
    first, _, last = text.partition("-")
    low, high = int(first), int(last or first)
    if not 0 < low <= high < 65536:
        raise ValueError(f"'{text}' is no range of ports from 1 to 65535")
    return low, high


def _text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _names(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names or not all(names):
        raise ValueError("name at least one inventory group, or all, manager or anyone")
    if len(set(names)) < len(names):
        raise ValueError(f"names one twice: {', '.join(names)}")
    if ANYONE in names and len(names) > 1:
        raise ValueError("`anyone` already stands for everybody; name nobody else")
    return names


Clients = Annotated[tuple[str, ...], BeforeValidator(_names), AfterValidator(_each_once)]
"""Who uses a port: inventory groups, `all`, `manager` or `anyone`."""

Port = Annotated[str, BeforeValidator(_text)]
"""A port or a range of ports, as a number or as text."""


class Listener(Written):
    """A port on which a container listens. Ports of `endpoints` are known without it."""

    port: Port = Field(default="", description="port, or `first-last`; may hold Jinja, empty: it does not listen there")
    protocol: Literal["tcp", "udp", "vrrp"] = Field(default="tcp", description="`vrrp` has no ports")
    network: str = Field(
        default="management",
        description="the network on whose address it listens, `internal` or `external` for that API address, or "
        "`loopback`; may hold Jinja",
    )
    clients: Clients | None = Field(
        default=None,
        description="who uses it: inventory groups, `all` hosts, `manager` or `anyone`; required unless `network` is "
        "`loopback`",
    )

    @model_validator(mode="after")
    def _complete(self) -> Listener:
        if self.protocol == "vrrp" and self.port:
            raise ValueError("port: vrrp has no ports")
        if self.protocol != "vrrp":
            if not self.port:
                raise ValueError("port: is required")
            if "{" not in self.port:
                ports(self.port)
        if self.network == LOOPBACK and self.clients:
            raise ValueError("clients: nobody else reaches loopback")
        if self.network != LOOPBACK and not self.clients:
            raise ValueError("clients: say who uses it: inventory groups, all, manager or anyone")
        return self
