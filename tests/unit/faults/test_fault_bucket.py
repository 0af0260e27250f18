# SPDX-License-Identifier: Apache-2.0
"""The prober's bucket finds all that it put, over several pages of a list, and what came back changed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from scs_deploy.prober.https import ApiError
from scs_deploy.validate.s3 import S3, Credentials
from tests.fault.bucket import Bucket
from tests.fault.client import say

PAGE = 2


class Store(ThreadingHTTPServer):
    """As much of S3 as the bucket asks for, with short pages."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects: dict[str, bytes] = {}
        self.buckets: set[str] = set()
        self.broken = False


class Handler(BaseHTTPRequestHandler):
    """Answers of a `Store`."""

    server: Store

    def log_message(self, *_: object) -> None:
        """No log."""

    def do_PUT(self) -> None:
        path = urlsplit(self.path).path
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.server.broken:
            return self._say(503, b"<Error><Code>SlowDown</Code></Error>")
        if path.count("/") == 1:
            self.server.buckets.add(path)
        else:
            self.server.objects[path] = body
        return self._say(200)

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = parse_qs(parts.query, keep_blank_values=True)
        if parts.path in self.server.objects:
            return self._say(200, self.server.objects[parts.path])
        if parts.path not in self.server.buckets:
            return self._say(404)
        names = sorted(k.removeprefix(f"{parts.path}/") for k in self.server.objects)
        if "uploads" in query:
            names = []
        after = query.get("continuation-token", [""])[0]
        page = [n for n in names if n > after][:PAGE]
        more = bool(page) and page[-1] != names[-1]
        keys = "".join(f"<Key>{n}</Key><VersionId>null</VersionId>" for n in page)
        following = f"<NextContinuationToken>{page[-1]}</NextContinuationToken>" if more else ""
        return self._say(200, f"<L>{keys}<IsTruncated>{str(more).lower()}</IsTruncated>{following}</L>".encode())

    def do_DELETE(self) -> None:
        path = urlsplit(self.path).path
        if path in self.server.buckets and self.server.objects:
            return self._say(409, b"<Error><Code>BucketNotEmpty</Code></Error>")
        self.server.objects.pop(path, None)
        self.server.buckets.discard(path)
        return self._say(204)

    def _say(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def store() -> Iterator[Store]:
    with Store() as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield found
        found.shutdown()
        thread.join()


@pytest.fixture
def bucket(store: Store) -> Bucket:
    url = f"http://127.0.0.1:{store.server_address[1]}"
    found = Bucket(S3(url, Credentials("access", "secret"), "RegionOne"), "numbers")
    found.make()
    return found


def test_what_was_put_is_found_lost_or_changed(store: Store, bucket: Bucket) -> None:
    for number in range(1, 6):
        bucket.put(number)
    assert bucket.numbers() == [1, 2, 3, 4, 5]
    assert bucket.spoiled(range(1, 6)) == []
    store.objects["/numbers/00000002"] = store.objects["/numbers/00000003"]
    del store.objects["/numbers/00000004"]
    assert bucket.numbers() == [1, 2, 3, 5]
    assert bucket.spoiled(range(1, 6)) == [2, 4]


def test_a_put_that_nobody_acknowledges_says_why(store: Store, bucket: Bucket) -> None:
    store.broken = True
    with pytest.raises(ApiError) as refused:
        bucket.put(1)
    assert (refused.value.status, refused.value.text) == (503, "HTTP 503 SlowDown")


def test_a_server_that_is_gone_is_said_the_same_way_for_each_object(store: Store, bucket: Bucket) -> None:
    store.shutdown()
    store.server_close()
    said = set()
    for number in (1, 2):
        with pytest.raises(OSError) as failed:
            bucket.put(number)
        said.add(say(failed.value))
    assert said == {"connection refused"}


def test_nothing_is_left(store: Store, bucket: Bucket) -> None:
    for number in range(1, 6):
        bucket.put(number)
    bucket.remove()
    assert (store.objects, store.buckets) == ({}, set())
