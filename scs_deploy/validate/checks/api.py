# SPDX-License-Identifier: Apache-2.0
"""Check that the APIs respond over TLS and fast enough."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from scs_deploy.validate import measure
from scs_deploy.validate.region import Region
from scs_deploy.validate.registry import CheckFailedError, Outcome, check

SAMPLES = 10
LIST_BUDGET = 3.0


@check("token", budget=3.0)
def token(region: Region) -> Outcome:
    """Keystone issues tokens to the administrator."""
    session = region.cloud.session
    return Outcome(samples=measure.repeat(SAMPLES, lambda: session.auth.get_auth_ref(session)))


@check("catalogue", requires=("token",), budget=3.0)
def catalogue(region: Region) -> Outcome:
    """Every endpoint in the catalogue responds over HTTPS with a certificate of the region's CA."""
    session = region.cloud.session
    entries = session.auth.get_access(session).service_catalog.catalog
    endpoints = [(entry["type"], e["interface"], e["url"]) for entry in entries for e in entry["endpoints"]]
    if not endpoints:
        raise CheckFailedError("the catalogue has no endpoints")
    samples, wrong = [], []
    for kind, interface, url in endpoints:
        parts = urlsplit(url)
        where = f"{kind} {interface} {parts.scheme}://{parts.netloc}"
        if parts.scheme != "https":
            wrong.append(f"{where}: not https")
            continue
        try:
            answer = measure.http_get(f"https://{parts.netloc}/", region.ca)
        except OSError as error:
            wrong.append(f"{where}: {error}")
            continue
        samples.append(answer.seconds)
        if answer.status >= 400 and answer.status not in (401, 403):
            wrong.append(f"{where}: HTTP {answer.status}")
    if wrong:
        raise CheckFailedError("; ".join(wrong))
    return Outcome(f"{len(endpoints)} endpoints of {len(entries)} services", samples)


def _list(name: str, what: str, method: str) -> None:
    def listing(region: Region) -> Outcome:
        proxy: Any = getattr(region.cloud, name)
        return Outcome(samples=measure.repeat(SAMPLES, lambda: list(getattr(proxy, method)())))

    listing.__doc__ = f"Lists {what}."
    check(f"api-{name}", requires=("token",), budget=LIST_BUDGET)(listing)


for _name, _what, _method in (
    ("identity", "projects", "projects"),
    ("image", "images", "images"),
    ("placement", "resource providers", "resource_providers"),
    ("network", "networks", "networks"),
    ("compute", "servers", "servers"),
):
    _list(_name, _what, _method)
