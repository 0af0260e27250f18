#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Keeps this host's image files complete, and reports to HAProxy whether they are.

  replica.py serve    fetches missing files, removes those of deleted images, answers HAProxy's GET /healthcheck
  replica.py check    exits 0 if this works
  replica.py status   prints files and transfers on all hosts as JSON

Glance writes an upload to the one host that serves requests; the others fetch the file once the image is active.
"""

import http.client
import http.server
import json
import os
import socket
import socketserver
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pymysql
from peers import File, Json, Peers, RefusedError, UnreachableError, log
from store import (
    RESERVE,
    BadFileError,
    Image,
    LocalError,
    Standing,
    Store,
    is_id,
    missing,
    obsolete,
    refusal,
    removable,
)

TRANSFERS = 2  # at a time
RETRY_MAX = 300  # seconds


@dataclass(frozen=True)
class Settings:
    """replica.json. Times are in seconds."""

    port: int  # of the exchange between control hosts
    address: str
    health_port: int
    api_port: int
    interval: float = 5  # between two comparisons with the database and with the other hosts
    grace: float = 5  # for which a missing file does not count: most arrive by then
    delete_grace: float = 60  # from the deletion of an image, or its move, to the removal of its file
    silence: float = 120  # without the database, or of failing transfers, after which an operator must know
    retry: float = 5  # before a failed transfer is retried, doubled each time
    config: str = "/etc/glance/glance-api.conf"
    data: str = "/var/lib/glance"
    reserve: int = RESERVE  # bytes to keep free


class Failure:
    """The failed transfers of an image."""

    def __init__(self, retry: float) -> None:
        self.retry = retry
        self.since, self.count, self.reason = time.monotonic(), 0, ""
        self.next, self.nowhere = 0.0, False

    def add(self, reason: str, nowhere: bool) -> None:
        self.count, self.reason, self.nowhere = self.count + 1, reason, nowhere
        self.next = time.monotonic() + min(self.retry * 2 ** min(self.count - 1, 20), RETRY_MAX)


class Replica:
    """This host's store, compared with the database repeatedly."""

    def __init__(self, settings: Settings, peers: Peers, store: Store) -> None:
        self.settings, self.peers, self.store = settings, peers, store
        self.lock = threading.Lock()
        self.wake = threading.Condition(self.lock)
        self.images: dict[str, Image] = {}
        self.missing: list[Image] | None = None  # None: the database has not been read yet
        self.since: dict[str, float] = {}  # missing files: start times
        self.deleted: dict[str, float] = {}  # files of deleted and moved images: times of the first sight
        self.transfers: dict[str, int] = {}  # bytes so far
        self.failures: dict[str, Failure] = {}
        self.others: dict[str, Standing] = {}
        self.read = time.monotonic()
        self.database_error = ""
        self.unknown = 0  # files that are unknown to the database
        self.asked: tuple[float, bool] = 0.0, False

    # -- reports

    def standing(self) -> Standing:
        """This host's standing, for the others and for HAProxy."""
        now = time.monotonic()
        with self.lock:
            lacking = self.missing
            count = (
                None
                if lacking is None
                else sum(now - self.since.get(i.id, now) >= self.settings.grace for i in lacking)
            )
        return Standing(self.alive(), count)

    def alive(self) -> bool:
        """Whether this host's Glance answers, checked at most once per second."""
        at, answer = self.asked
        if time.monotonic() - at >= 1:
            connection = http.client.HTTPConnection(self.settings.address, self.settings.api_port, timeout=2)
            try:
                connection.request("GET", "/healthcheck")
                answer = connection.getresponse().status == 200
            except (OSError, http.client.HTTPException):
                answer = False
            finally:
                connection.close()
            self.asked = time.monotonic(), answer
        return answer

    def answer(self, method: str, path: str) -> Json | File | None:
        match method, path.strip("/").split("/"):
            case "GET", ["state"]:
                return asdict(self.standing())
            case "GET", ["status"]:
                return self.status()
            case "GET", ["images", image] if is_id(image):
                try:
                    stream = (self.store.images / image).open("rb")
                except FileNotFoundError:
                    return None
                return File(stream, os.fstat(stream.fileno()).st_size)
        return None

    def status(self) -> Json:
        """The state for `status` and `check`."""
        standing = self.standing()
        with self.lock:
            failed = {i: f"{f.count} times: {f.reason}" for i, f in self.failures.items()}
            return {
                "alive": standing.alive,
                "images": len(self.images),
                "missing": [i.id for i in self.missing or []] if self.missing is not None else None,
                "unknown": self.unknown,
                "transfers": dict(self.transfers),
                "failed": failed,
                "problems": self.problems(),
            }

    def problems(self) -> list[str]:
        """Problems that the operator must fix on this host. A file that no host has is none of these."""
        now = time.monotonic()
        problems = []
        if now - self.read > self.settings.silence:
            problems.append(f"database not read for {now - self.read:.0f} s: {self.database_error}")
        for image, failure in self.failures.items():
            if not failure.nowhere and now - failure.since > self.settings.silence:
                problems.append(f"image {image}: {failure.reason}")
        return problems

    # -- work

    def look(self) -> None:
        """Compare with the database once, delete obsolete files, and list the missing ones."""
        try:
            # first the images, then the files: see `missing`
            images = self.store.complete_images()
            here = self.store.local()
            statuses = self.store.statuses([i for i in here if i not in images])
        except pymysql.MySQLError as error:
            if str(error) != self.database_error:
                log(f"database: {error}")
            self.database_error = str(error)
            images, here, statuses = self.images, self.store.local(), {}
        else:
            if self.database_error:
                log("database: read again")
            self.database_error, self.read = "", time.monotonic()
            self.unknown = len(set(here) - set(images) - set(statuses))
        self.delete(here, statuses)
        if self.missing is None and self.database_error:
            return
        lacking, now = missing(images.values(), here), time.monotonic()
        with self.wake:
            self.images, self.missing = images, lacking
            ids = {i.id for i in lacking}
            self.since = {i: self.since.get(i, now) for i in ids}
            self.failures = {i: f for i, f in self.failures.items() if i in ids}
            self.wake.notify_all()

    def delete(self, here: dict[str, int], statuses: dict[str, str]) -> None:
        now = time.monotonic()
        self.deleted = {i: self.deleted.get(i, now) for i in here if obsolete(statuses.get(i))}
        for image in removable(here, statuses, self.deleted, now, self.settings.delete_grace):
            self.store.remove(image)
            log(f"image {image}: {statuses[image]}")

    def next_image(self) -> Image:
        """Wait for an image to fetch."""
        with self.wake:
            while True:
                now = time.monotonic()
                for image in self.missing or []:
                    failure = self.failures.get(image.id)
                    if image.id not in self.transfers and (failure is None or now >= failure.next):
                        self.transfers[image.id] = 0
                        return image
                self.wake.wait(1)

    def transfer(self) -> None:
        """Fetch one image after the other, forever."""
        while True:
            image = self.next_image()
            try:
                reason, nowhere = self.fetch(image), False
                if reason is None:
                    reason, nowhere = "no host that answers has its file", True
            except LocalError as error:
                reason, nowhere = str(error), False
            except Exception as error:  # noqa: BLE001 - the thread must live
                reason, nowhere = f"{type(error).__name__}: {error}", False
            with self.wake:
                del self.transfers[image.id]
                if reason:
                    failure = self.failures.setdefault(image.id, Failure(self.settings.retry))
                    if reason != failure.reason:
                        log(f"image {image.id}: {reason}")
                    failure.add(reason, nowhere)
                else:
                    self.failures.pop(image.id, None)
                    self.missing = [i for i in self.missing or [] if i.id != image.id]
                    self.since.pop(image.id, None)

    def fetch(self, image: Image) -> str | None:
        """Fetch a file from the first host that has it. Returns the error, empty if done, or None if no host has it.

        :raises LocalError: this host cannot store it
        """
        if self.store.present(image):
            return ""
        reason = None
        for name in self.peers.others:
            started = time.monotonic()
            self.transfers[image.id] = 0
            try:
                with self.peers.download(name, self.settings.port, f"/images/{image.id}") as response:
                    if response is None:
                        continue
                    self.store.receive(image, response, lambda done: self.transfers.update({image.id: done}))
            except RefusedError:
                continue
            except UnreachableError as error:
                # an unreachable host need not have it
                reason = str(error) if self.transfers[image.id] else reason
                continue
            except BadFileError as error:
                reason = f"the file of {name} is not the image: {error}"
                continue
            log(f"image {image.id}: {image.size} bytes from {name} in {time.monotonic() - started:.1f} s")
            return ""
        return reason

    def watch(self) -> None:
        """Read the standings of the other hosts, forever."""
        while True:
            try:
                answers = self.peers.ask_all(self.settings.port, "/state")
            except OSError as error:
                log(f"failed: {error}")
                answers = {}
            self.others = {name: Standing(**a) for name, a in answers.items() if isinstance(a, dict)}
            time.sleep(self.settings.interval)

    def run(self) -> None:
        """Run forever."""
        while True:
            try:
                self.look()
            except OSError as error:
                log(f"failed: {error}")
            time.sleep(self.settings.interval)


class _Health(http.server.BaseHTTPRequestHandler):
    """HAProxy's health check. Plain HTTP like Glance itself; it reveals nothing that is not in HAProxy's log."""

    timeout = 5
    replica: Replica

    def do_GET(self) -> None:
        reason = "no such path"
        status = 404
        if self.path == "/healthcheck":
            reason = refusal(self.replica.standing(), self.replica.others)
            status = 503 if reason else 200
        body = f"{reason or 'OK'}\n".encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Not logged, because HAProxy checks every two seconds."""


class _Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    # HTTPServer's own version looks up its name in DNS
    server_bind = socketserver.TCPServer.server_bind

    def __init__(self, address: str, port: int) -> None:
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        super().__init__((address, port), _Health)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Not logged, because HAProxy closes the connection once it knows the status."""


def serve(settings: Settings, peers: Peers) -> None:
    data = Path(settings.data)
    store = Store(settings.config, data / "images", data / "replica", settings.reserve)
    store.prepare()
    replica = _Health.replica = Replica(settings, peers, store)
    replica.look()
    peers.serve(settings.port, replica.answer)
    server = _Server(settings.address, settings.health_port)
    workers = [replica.watch, *[replica.transfer] * TRANSFERS] if peers.others else []
    for work in (server.serve_forever, *workers):
        threading.Thread(target=work, daemon=True).start()
    log(f"images of {peers.own} are served to {', '.join(peers.others) or 'no other host'}")
    replica.run()


def check(settings: Settings, peers: Peers) -> None:
    try:
        answer = peers.ask(peers.own, settings.port, "/status") or {}
    except (RefusedError, UnreachableError) as error:
        sys.exit(str(error))
    if answer.get("problems"):
        sys.exit("; ".join(answer["problems"]))


def status(settings: Settings, peers: Peers) -> None:
    def one(name: str) -> Json:
        try:
            return peers.ask(name, settings.port, "/status") or {}
        except (RefusedError, UnreachableError) as error:
            return {"error": str(error)}

    with ThreadPoolExecutor(len(peers.members)) as pool:
        print(json.dumps(dict(zip(peers.members, pool.map(one, peers.members), strict=True)), indent=2))


def main(arguments: list[str], folder: Path) -> None:
    """:param folder: of the rendered settings"""
    commands = {"serve": serve, "check": check, "status": status}
    if len(arguments) != 1 or arguments[0] not in commands:
        sys.exit(__doc__)
    settings = Settings(**json.loads((folder / "replica.json").read_text(encoding="utf-8")))
    commands[arguments[0]](settings, Peers.read(folder / "peers.json"))


if __name__ == "__main__":
    try:
        main(sys.argv[1:], Path(__file__).parent)
    except OSError as failure:
        sys.exit(f"{sys.argv[0]}: {failure}")
