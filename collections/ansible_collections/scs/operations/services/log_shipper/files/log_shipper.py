#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Sends the logs of a host's containers and its journal to the log stores.

Usage: log_shipper.py SETTINGS    SETTINGS: path of a JSON object:

- stores: {name: [host, port]}; each gets every line
- state: directory that keeps how far each store has got
- containers: directory of the container engine's containers
- journals: directories of the journal; the first that holds one is read
- metrics_port: of the metrics, on loopback

The engine's own files are the buffer: a position moves once a store has confirmed, so that a store that was away gets
what it missed, as long as the engine keeps it. A line can arrive twice, if a confirmation is lost.

Sources: Docker's json-file logging driver; https://docs.victoriametrics.com/victorialogs/data-ingestion/#json-stream-api
"""

import gzip
import http.client
import json
import os
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from exposition import Sample, serve, text
from log_containers import Containers
from log_journal import Journal

LINES = 2000
"""Of one request."""

PAUSE = 1.0
"""Seconds until another look when there was nothing to send."""

LONGEST_PAUSE = 30.0
"""Seconds until another try with a store that does not answer, at most."""

TIMEOUT = 30
TLS = "/etc/scs/tls"


class RefusedError(OSError):
    """A store answered, and took nothing."""


class Store:
    """One log store, and what it has got."""

    def __init__(self, name: str, address: list[Any], settings: dict[str, Any]) -> None:
        self.name = name
        self.host, self.port = address
        self.file = os.path.join(settings["state"], f"{name}.json")
        self.sent = self.failures = 0
        self.confirmed = time.time()
        """when it last had everything, seconds since the epoch"""
        self.error = ""
        known = self._read()
        self.sources: tuple[Containers, Journal] = (
            Containers(settings["containers"], known.get("containers", {})),
            Journal(settings["journals"], known.get("journal", "")),
        )
        self._connection: http.client.HTTPSConnection | None = None

    def _read(self) -> dict[str, Any]:
        try:
            with open(self.file) as stream:
                found = json.load(stream)
            return found if isinstance(found, dict) else {}
        except (OSError, ValueError):
            # the first time, or a file that a full disk cut: everything is sent once more
            return {}

    def step(self) -> bool:
        """Send what is new, at most LINES lines; returns whether there may be more.

        :raises OSError: the store does not answer
        """
        rows: list[str] = []
        for source in self.sources:
            rows += [json.dumps(row, ensure_ascii=False) for row in source.read(LINES - len(rows))]
        if rows:
            self._post("\n".join(rows).encode("utf-8", "replace"))
            self.sent += len(rows)
        # each of them, not as far as the first that has something
        if sum(source.confirm() for source in self.sources):
            self._save()
        self.error = ""
        if len(rows) < LINES:
            self.confirmed = time.time()
        return len(rows) >= LINES

    def _save(self) -> None:
        containers, journal = self.sources
        with open(self.file + ".new", "w") as stream:
            json.dump({"containers": containers.positions(), "journal": journal.position()}, stream)
        os.replace(self.file + ".new", self.file)

    def _post(self, body: bytes) -> None:
        if self._connection is None:
            self._connection = http.client.HTTPSConnection(self.host, self.port, timeout=TIMEOUT, context=context())
        try:
            headers = {"Content-Type": "application/stream+json", "Content-Encoding": "gzip"}
            self._connection.request("POST", "/insert/jsonline", gzip.compress(body, 1), headers)
            answer = self._connection.getresponse()
            said = answer.read(500)
        except (OSError, http.client.HTTPException) as error:
            self.forget()
            raise OSError(f"{self.name} does not answer: {error}") from None
        if answer.status >= 300:
            self.forget()
            raise RefusedError(f"{self.name}: {answer.status} {said.decode('utf-8', 'replace').strip()}")

    def forget(self) -> None:
        """Close the connection; go back to what the store has confirmed."""
        if self._connection:
            self._connection.close()
            self._connection = None
        for source in self.sources:
            source.rewind()

    def run(self) -> None:
        """Send for ever."""
        pause = PAUSE
        while True:
            try:
                if self.step():
                    continue
                pause = PAUSE
            except OSError as error:
                self.failures += 1
                self.forget()
                if str(error) != self.error:
                    self.error = str(error)
                    print(f"WARNING {self.error}", file=sys.stderr, flush=True)
                pause = min(pause * 2, LONGEST_PAUSE)
            time.sleep(pause)


def context() -> ssl.SSLContext:
    """TLS 1.3 with this host's certificate, to members of the log stores' group.

    :raises OSError: a certificate cannot be read
    """
    made = ssl.create_default_context(cafile=f"{TLS}/ca.crt")
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.load_cert_chain(f"{TLS}/host.crt", f"{TLS}/host.key")
    return made


HELP = {
    "scs_logs_sent_total": "lines that the store confirmed",
    "scs_logs_failures_total": "requests that failed",
    "scs_logs_behind_seconds": "time since the store last had every line",
}


def metrics(stores: list[Store]) -> str:
    """What monitoring servers read."""
    samples: list[Sample] = []
    for store in stores:
        labels = {"store": store.name}
        samples += [
            ("scs_logs_sent_total", labels, store.sent),
            ("scs_logs_failures_total", labels, store.failures),
            ("scs_logs_behind_seconds", labels, round(time.time() - store.confirmed, 3)),
        ]
    return text(samples, HELP)


def threads(stores: list[Store]) -> Iterator[threading.Thread]:
    """One for each store: one that is away holds up no other."""
    for store in stores:
        thread = threading.Thread(target=store.run, name=store.name, daemon=True)
        thread.start()
        yield thread


def main() -> None:
    """Send until the process is ended, or a thread is broken: then it exits, and is started again."""
    with open(sys.argv[1]) as stream:
        settings = json.load(stream)
    if not settings["stores"]:
        sys.exit(f"{sys.argv[1]}: stores: there is none to send to")
    os.makedirs(settings["state"], exist_ok=True)
    stores = [Store(name, address, settings) for name, address in settings["stores"].items()]
    running = list(threads(stores))
    threading.Thread(target=serve, args=(settings["metrics_port"], lambda: metrics(stores)), daemon=True).start()
    with suppress(KeyboardInterrupt):
        while all(thread.is_alive() for thread in running):
            time.sleep(PAUSE)
        sys.exit(1)


if __name__ == "__main__":
    main()
