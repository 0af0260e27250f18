# SPDX-License-Identifier: Apache-2.0
"""A client of S3 over plain HTTP, with signatures of version 4. No library: the checks need ten requests of S3, and the
smallest library that is well kept brings more code than all of scs_deploy.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html
"""

from __future__ import annotations

import hashlib
import hmac
import html
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, urlsplit

import requests

ALGORITHM = "AWS4-HMAC-SHA256"
UNSIGNED = "UNSIGNED-PAYLOAD"
"""Stands for the body's hash where it is not known when the request is signed: a presigned URL."""

TIMEOUT = 60.0


@dataclass(frozen=True)
class Credentials:
    """An access key, and the secret that proves it."""

    access: str
    secret: str = field(repr=False)


@dataclass(frozen=True)
class S3:
    """S3 at a URL without path, as one user.

    :param url: scheme, host and port
    :param credentials: None: a request of anybody
    :param region: part of each signature
    :param ca: CA file of the server; None: the machine's
    :param timeout: seconds for a connection, and for each part of an answer
    """

    url: str
    credentials: Credentials | None
    region: str
    ca: Path | None = None
    timeout: float = TIMEOUT

    def __call__(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> requests.Response:  # fmt: skip
        """The answer to a request.

        :param path: `/`, `/bucket` or `/bucket/key`, not encoded
        :raises OSError: no answer, or the CA did not sign the certificate
        """
        own = {"host": urlsplit(self.url).netloc, **(headers or {})}
        text = canonical_query(query or {})
        if self.credentials:
            own |= signed(self.credentials, self.region, datetime.now(UTC), method, path, text, own, body)
        return self.send(method, f"{self.url}{quote(path)}{'?' if text else ''}{text}", body, own)

    def send(
        self, method: str, url: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> requests.Response:
        """The answer to a request as it is, e.g. to a presigned URL."""
        with requests.Session() as session:
            session.trust_env = False
            return session.request(
                method, url, data=body or None, headers=dict(headers or {}), verify=str(self.ca) if self.ca else True,
                timeout=self.timeout, allow_redirects=False,
            )  # fmt: skip

    def presigned(self, method: str, path: str, seconds: int) -> str:
        """A URL with which anybody may do this, for some time."""
        assert self.credentials
        now = datetime.now(UTC)
        query = {
            "X-Amz-Algorithm": ALGORITHM,
            "X-Amz-Credential": f"{self.credentials.access}/{scope(self.region, now)}",
            "X-Amz-Date": stamp(now),
            "X-Amz-Expires": str(seconds),
            "X-Amz-SignedHeaders": "host",
        }
        text = canonical_query(query)
        host = {"host": urlsplit(self.url).netloc}
        signature = sign(self.credentials, self.region, now, canonical(method, path, text, host, UNSIGNED))
        return f"{self.url}{quote(path)}?{text}&X-Amz-Signature={signature}"


def stamp(now: datetime) -> str:
    """A time as signatures have it."""
    return f"{now:%Y%m%dT%H%M%SZ}"


def scope(region: str, now: datetime) -> str:
    """What a signature is good for."""
    return f"{now:%Y%m%d}/{region}/s3/aws4_request"


def canonical_query(query: Mapping[str, str]) -> str:
    """The query of a URL, sorted and encoded as signatures want it."""
    return "&".join(f"{quote(k, safe='')}={quote(v, safe='')}" for k, v in sorted(query.items()))


def canonical(method: str, path: str, query: str, headers: Mapping[str, str], payload: str) -> str:
    """What is signed of a request.

    :param query: from `canonical_query`
    :param headers: names in lower case
    :param payload: SHA-256 of the body in hexadecimal, or UNSIGNED
    """
    own = "".join(f"{k}:{' '.join(v.split())}\n" for k, v in sorted(headers.items()))
    return "\n".join((method, quote(path), query, own, ";".join(sorted(headers)), payload))


def sign(credentials: Credentials, region: str, now: datetime, request: str) -> str:
    """The signature of a canonical request."""
    digest = hashlib.sha256(request.encode()).hexdigest()
    text = "\n".join((ALGORITHM, stamp(now), scope(region, now), digest))
    key = f"AWS4{credentials.secret}".encode()
    for part in scope(region, now).split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def signed(
    credentials: Credentials, region: str, now: datetime, method: str, path: str, query: str,
    headers: Mapping[str, str], body: bytes,
) -> dict[str, str]:  # fmt: skip
    """The headers that sign a request, beside its own."""
    payload = hashlib.sha256(body).hexdigest()
    own = {"x-amz-content-sha256": payload, "x-amz-date": stamp(now)}
    every = {**{k.lower(): v for k, v in headers.items()}, **own}
    signature = sign(credentials, region, now, canonical(method, path, query, every, payload))
    names = ";".join(sorted(every))
    credential = f"{credentials.access}/{scope(region, now)}"
    value = f"{ALGORITHM} Credential={credential},SignedHeaders={names},Signature={signature}"
    return {**own, "authorization": value}


def values(text: str, name: str) -> list[str]:
    """The texts of all elements of a name in an answer of S3, which has no attributes and no namespaces inside."""
    return [html.unescape(v) for v in re.findall(rf"<{re.escape(name)}>([^<]*)</{re.escape(name)}>", text)]


def reason(answer: requests.Response) -> str:
    """What an answer says, in a few words."""
    code = values(answer.text[:4096], "Code")
    return f"HTTP {answer.status_code}{f' {code[0]}' if code else ''}"
