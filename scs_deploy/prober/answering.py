# SPDX-License-Identifier: Apache-2.0
"""Whether a region's public APIs answer its users: one request to each, as a client on the manager."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from scs_deploy.desired.endpoints import ResolvedEndpoint, endpoints
from scs_deploy.prober.https import PROBLEMS, ApiError, Https, say
from scs_deploy.region.region import Region

AT_ONCE = 8
"""Requests at the same time."""


def public(region: Region) -> tuple[ResolvedEndpoint, ...]:
    """The endpoints that users reach with HTTP, in the catalog's order."""
    return tuple(e for e in endpoints(region) if e.public and e.protocol == "http")


def answering(region: Region) -> dict[str, str]:
    """Endpoint: why it does not answer; empty: it does. Needs no secret.

    An error that says what is wrong with the request, such as a missing token, is an answer.
    """
    api = region.environment.settings.api.external
    ask = Https(region.environment.ca_file, addresses={api.name: str(api.address)})

    def reason(endpoint: ResolvedEndpoint) -> str:
        try:
            ask("GET", f"https://{api.name}:{endpoint.port}{endpoint.path or '/'}")
        except ApiError as error:
            return "" if error.status < 500 else say(error)
        except PROBLEMS as error:
            return "" if isinstance(error, ValueError) and not isinstance(error, OSError) else say(error)
        return ""

    wanted = public(region)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip((e.name for e in wanted), pool.map(reason, wanted), strict=True))
