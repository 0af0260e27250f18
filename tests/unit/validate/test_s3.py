# SPDX-License-Identifier: Apache-2.0
"""Signatures against those that the documentation of S3 publishes.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html and sigv4-query-string-auth.html
"""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import pytest

from scs_deploy.validate import s3

EXAMPLE = s3.Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
NOW = datetime(2013, 5, 24, tzinfo=UTC)
HOST = {"host": "examplebucket.s3.amazonaws.com"}


@pytest.mark.parametrize(
    ("method", "path", "query", "headers", "body", "signature"),
    [
        (
            "GET", "/test.txt", {}, {**HOST, "Range": "bytes=0-9"}, b"",
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            "PUT", "/test$file.text", {},
            {**HOST, "date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY"},
            b"Welcome to Amazon S3.", "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
        (
            "GET", "/", {"lifecycle": ""}, HOST, b"",
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        ),
        (
            "GET", "/", {"max-keys": "2", "prefix": "J"}, HOST, b"",
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ],
)  # fmt: skip
def test_a_request_is_signed_as_documented(
    method: str, path: str, query: dict[str, str], headers: dict[str, str], body: bytes, signature: str
) -> None:
    found = s3.signed(EXAMPLE, "us-east-1", NOW, method, path, s3.canonical_query(query), headers, body)
    assert found["authorization"].endswith(f"Signature={signature}")


def test_a_presigned_url_is_signed_as_documented() -> None:
    query = {
        "X-Amz-Algorithm": s3.ALGORITHM, "X-Amz-Credential": f"{EXAMPLE.access}/{s3.scope('us-east-1', NOW)}",
        "X-Amz-Date": s3.stamp(NOW), "X-Amz-Expires": "86400", "X-Amz-SignedHeaders": "host",
    }  # fmt: skip
    request = s3.canonical("GET", "/test.txt", s3.canonical_query(query), HOST, s3.UNSIGNED)
    assert s3.sign(EXAMPLE, "us-east-1", NOW, request) == (
        "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    )


def test_a_presigned_url_has_no_secret() -> None:
    url = s3.S3("https://s3.example:8080", EXAMPLE, "us-east-1").presigned("GET", "/b/a key", 60)
    assert urlsplit(url).path == "/b/a%20key"
    assert parse_qs(urlsplit(url).query)["X-Amz-Expires"] == ["60"]
    assert EXAMPLE.secret not in url


def test_values_of_an_answer() -> None:
    text = "<R xmlns='x'><Key>a &amp; b</Key><Key>c</Key><IsTruncated>false</IsTruncated></R>"
    assert s3.values(text, "Key") == ["a & b", "c"]
    assert s3.values(text, "UploadId") == []
