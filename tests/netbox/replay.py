# SPDX-License-Identifier: Apache-2.0
"""An HTTP server that answers as a recorded NetBox 4.6.8 did; anything that was not recorded is an error (599).

    .venv/bin/python -m tests.netbox.replay [--port 18080]

Requests are keyed on method, path, the query as a multiset, Authorization and JSON body. A list that was recorded to
its end at one page size is served at every page size: the objects are the recorded ones, the envelope follows NetBox
(`limit` 0 or above MAX_PAGE_SIZE is cut, `next` has its parameters sorted); test_netbox_replay.py holds these pages
against the recorded ones. Options make it slow, busy or forgetful of connections, or let it send objects in another
order, other objects, or another count half way through.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import tarfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

RECORDED = Path(__file__).with_name("recorded-4.6.8.tar.gz")
READ_ONLY = "nbt_ROdummyToken.readonlyreadonlyreadonlyreadonlyreadonly"
WRITER = "nbt_AdminDummy01.dummydummydummydummydummydummydummy12345"
V1 = "a" * 40
PAGING = ("limit", "offset")
NOT_RECORDED = 599
Query = frozenset[tuple[tuple[str, str], int]]


@dataclass(frozen=True)
class Answer:
    """A recorded answer."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Recording:
    """Everything that was recorded, by request; and the lists that were recorded to their end."""

    answers: dict[tuple[str, str, Query, str, str], Answer]
    lists: dict[tuple[str, Query, str], list[dict[str, Any]]]


def multiset(pairs: list[tuple[str, str]]) -> Query:
    """Parameters without their order."""
    return frozenset(Counter(pairs).items())


@cache
def recording() -> Recording:
    """Read the archive, once a process."""
    with tarfile.open(RECORDED) as archive:
        files = {m.name: archive.extractfile(m) for m in archive.getmembers() if m.isfile()}
        content = {name: stream.read() for name, stream in files.items() if stream}
    answers = {}
    pages: dict[tuple[str, Query, str], dict[int, dict[str, Any]]] = {}
    counts: dict[tuple[str, Query, str], int] = {}
    for one in json.loads(content["index.json"])["requests"]:
        if one["file"] not in content:
            continue
        body = content[one["file"]]
        body = gzip.decompress(body) if one["gzip"] else body
        query = parse_qsl(one["query"], keep_blank_values=True)
        sent = json.dumps(one["request_json"], sort_keys=True) if one.get("request_json") is not None else ""
        key = (one["method"], one["path"], multiset(query), one["authorization"] or "", sent)
        # the same request under other headers (Accept, If-Match) has another answer: the plain one is served
        if key not in answers or one["status"] == 200:
            answers[key] = Answer(one["status"], one["headers"], body)
        if one["method"] == "GET" and one["status"] == 200 and isinstance(one.get("count"), int):
            filters = [(k, v) for k, v in query if k not in PAGING]
            place = (one["path"], multiset(filters), one["authorization"])
            objects = json.loads(body)["results"]
            counts[place] = one["count"]
            offset = dict(query).get("offset", "0")
            if dict(query).get("limit", "1") not in ("", "-1", "abc") and offset.isdigit():
                pages.setdefault(place, {}).update({int(offset) + i: o for i, o in enumerate(objects)})
    lists = {p: [found[i] for i in range(counts[p])] for p, found in pages.items() if len(found) == counts[p]}
    return Recording(answers, lists)


@dataclass
class Behaviour:
    """How the server departs from its recording."""

    delay: float = 0.0
    """seconds before each answer"""
    drop: int = 0
    """the next so many requests find their connection closed without an answer"""
    busy: int = 0
    """the next so many requests are answered 429"""
    retry_after: str = "0"
    shuffle: int | None = None
    """seed: lists come in another order"""
    maximum: int = 1000
    """MAX_PAGE_SIZE"""
    change: Callable[[str, list[dict[str, Any]]], None] | None = None
    """is given path and (copied) objects of a list, and may change them"""
    vanish_after: int | None = None
    """after so many requests, every list has lost its first object"""
    hide: frozenset[str] = frozenset()
    """lists that the token may not see: they are empty, as NetBox's object permissions make them"""
    version: str = "4.6"
    writable: dict[str, dict[str, Any]] = field(default_factory=dict)
    """path: object that takes changes; `_etag` is its ETag"""

    @property
    def edits(self) -> bool:
        """Lists are not sent as they were recorded."""
        return bool(
            self.change or self.hide or self.shuffle is not None or self.vanish_after is not None
            or self.maximum != 1000 or self.version != "4.6"
        )  # fmt: skip


class Replay:
    """The server, in a thread: `with Replay() as server: server.url`."""

    def __init__(self, behaviour: Behaviour | None = None, port: int = 0) -> None:
        self.behaviour = behaviour or Behaviour()
        self.requests: list[str] = []
        """method, path and query of each"""
        self.unrecorded: list[str] = []
        self.written: list[tuple[str, str, Any]] = []
        """method, path, body of accepted writes"""
        self.connections = 0
        self._lists: dict[Any, list[dict[str, Any]]] = {}
        self._guard = threading.Lock()
        owner = self

        class Handler(_Handler):
            server_owner = owner

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Replay:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def forever(self) -> None:
        """Serve until interrupted."""
        self._server.serve_forever()

    def answer(self, method: str, target: str, authorization: str, sent: str, match: str) -> Answer:
        """What NetBox answered, or would for a page of a list that was recorded whole."""
        parts = urlsplit(target)
        query = parse_qsl(parts.query, keep_blank_values=True)
        with self._guard:
            self.requests.append(f"{method} {target}")
            number = len(self.requests)
        if (found := self._written(method, parts.path, sent, match)) is not None:
            return found
        body = json.dumps(json.loads(sent), sort_keys=True) if sent else ""
        exact = recording().answers.get((method, parts.path, multiset(query), authorization, body))
        if exact is None or (exact.status == 200 and self.behaviour.edits):
            listed = self.page(parts.path, query, authorization, number) if method == "GET" else None
            exact = listed or exact
        if exact is None:
            self.unrecorded.append(f"{method} {target}")
            detail = json.dumps({"detail": f"not recorded: {method} {target}"}).encode()
            return Answer(NOT_RECORDED, {"Content-Type": "application/json"}, detail)
        return exact

    def page(self, path: str, query: list[tuple[str, str]], authorization: str, number: int = 1) -> Answer | None:
        """A page of a list that was recorded whole; None for any other."""
        filters = [(k, v) for k, v in query if k not in PAGING]
        place = (path, multiset(filters), authorization)
        if place not in recording().lists:
            return None
        objects = self._objects(place, path)
        behaviour = self.behaviour
        if behaviour.vanish_after is not None and number > behaviour.vanish_after:
            objects = objects[1:]
        given = dict(query)
        limit = int(given.get("limit", "50"))
        limit = behaviour.maximum if limit == 0 else min(limit, behaviour.maximum)
        offset = int(given.get("offset", "0"))
        base = f"http://127.0.0.1:18080{path}"

        def link(start: int) -> str:
            more = [("limit", str(limit))] + ([("offset", str(start))] if start > 0 else [])
            return f"{base}?{urlencode(sorted([*filters, *more]))}"

        body = {
            "count": len(objects),
            "next": link(offset + limit) if offset + limit < len(objects) else None,
            "previous": link(offset - limit) if offset > 0 else None,
            "results": objects[offset : offset + limit],
        }
        text = json.dumps(body, separators=(",", ":"), ensure_ascii=False)
        return Answer(200, {"Content-Type": "application/json", "API-Version": behaviour.version}, text.encode())

    def _objects(self, place: tuple[str, Query, str], path: str) -> list[dict[str, Any]]:
        with self._guard:
            if place not in self._lists:
                objects = recording().lists[place]
                if path in self.behaviour.hide:
                    objects = []
                if self.behaviour.change:
                    objects = json.loads(json.dumps(objects))
                    self.behaviour.change(path, objects)
                if self.behaviour.shuffle is not None:
                    objects = list(objects)
                    random.Random(f"{self.behaviour.shuffle}{path}").shuffle(objects)
                self._lists[place] = objects
            return self._lists[place]

    def _written(self, method: str, path: str, sent: str, match: str) -> Answer | None:
        """Objects that take changes, as NetBox 4.6 has it: weak ETags, 412 for a stale one, 400 for unknown fields."""
        if method == "POST" and path in self.behaviour.writable:
            self.written.append((method, path, json.loads(sent)))
            return Answer(201, {"Content-Type": "application/json"}, b'{"id":1}')
        entity = self.behaviour.writable.get(path)
        if entity is None:
            return None
        headers = {"Content-Type": "application/json", "ETag": entity["_etag"]}
        with self._guard:
            if method == "PATCH":
                if match and match != entity["_etag"]:
                    return Answer(412, headers, b'{"detail":"Precondition failed."}')
                changes = json.loads(sent)
                unknown = sorted(set(changes.get("custom_fields", {})) - set(entity["custom_fields"]))
                if unknown:
                    text = f"Custom field '{unknown[0]}' does not exist for this object type."
                    return Answer(400, headers, json.dumps({"custom_fields": [text]}).encode())
                entity["custom_fields"] |= changes.get("custom_fields", {})
                entity["_etag"] = headers["ETag"] = f'W/"changed-{len(self.written)}"'
                self.written.append((method, path, changes))
            return Answer(200, headers, json.dumps(entity).encode())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_owner: Replay

    def setup(self) -> None:
        super().setup()
        self.server_owner.connections += 1

    def _serve(self) -> None:
        owner, behaviour = self.server_owner, self.server_owner.behaviour
        length = int(self.headers.get("Content-Length") or 0)
        sent = self.rfile.read(length).decode() if length else ""
        with owner._guard:
            drop, busy = behaviour.drop > 0, behaviour.drop <= 0 < behaviour.busy
            behaviour.drop -= drop
            behaviour.busy -= busy
        if drop:
            owner.requests.append(f"{self.command} {self.path} (dropped)")
            self.close_connection = True
            return
        if behaviour.delay:
            time.sleep(behaviour.delay)
        if busy:
            owner.requests.append(f"{self.command} {self.path} (busy)")
            answer = Answer(429, {"Retry-After": behaviour.retry_after}, b'{"detail":"Request was throttled."}')
        else:
            answer = owner.answer(
                self.command, self.path, self.headers.get("Authorization") or "", sent,
                self.headers.get("If-Match") or "",
            )  # fmt: skip
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            if name != "Content-Length":
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    do_GET = do_POST = do_PATCH = do_OPTIONS = do_PUT = do_DELETE = _serve  # noqa: N815 - http.server's names

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Quiet: the tests look at `requests`."""


def main() -> None:
    """Serve on a port until interrupted; the address is the first line printed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--port", type=int, default=0)
    server = Replay(port=parser.parse_args().port)
    recording()
    print(server.url, flush=True)
    server.forever()


if __name__ == "__main__":
    main()
