#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Keeps this host's image files complete, and tells HAProxy whether they are.

  replica.py serve    fetches what is missing, deletes what is deleted, answers HAProxy's GET /healthcheck
  replica.py check    exits 0 when this works
  replica.py status   files and transfers on all hosts, as JSON

Glance writes an upload to the one host that serves requests; the others fetch the file when the image is active.
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
from dataclasses import asdict

import peers
import pymysql
import store
from store import Image, Standing

PORT = 9294
ADDRESS = "172.30.2.13"
HEALTH_PORT = 9293
API = (ADDRESS, 9292)
INTERVAL = 5  # seconds between two looks at the database and at the other hosts
GRACE = 5  # seconds that a file may be missing unnoticed: most are here by then
DELETE_GRACE = 60  # seconds from when an image is seen deleted to when its file goes
SILENCE = 120  # seconds without the database, or of failing transfers, that an operator must know of
TRANSFERS = 2  # at a time
RETRY = 5  # seconds before a failed transfer is tried again, doubled each time
RETRY_MAX = 300


class Failure:
    """Transfers of one image that failed."""

    def __init__(self) -> None:
        self.since, self.count, self.reason = time.monotonic(), 0, ""
        self.next, self.nowhere = 0.0, False

    def add(self, reason: str, nowhere: bool) -> None:
        self.count, self.reason, self.nowhere = self.count + 1, reason, nowhere
        self.next = time.monotonic() + min(RETRY * 2 ** min(self.count - 1, 20), RETRY_MAX)


class Replica:
    """This host's store, compared with the database again and again."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.wake = threading.Condition(self.lock)
        self.images: dict[str, Image] = {}
        self.missing: "list[Image] | None" = None  # None: the database was never read
        self.since: dict[str, float] = {}  # missing files: since when
        self.deleted: dict[str, float] = {}  # files of deleted images: seen so since when
        self.transfers: dict[str, int] = {}  # bytes so far
        self.failures: dict[str, Failure] = {}
        self.others: dict[str, Standing] = {}
        self.read = time.monotonic()
        self.database_error = ""
        self.unknown = 0  # files of which the database knows nothing
        self.asked: tuple[float, bool] = 0.0, False

    # -- what is said

    def standing(self) -> Standing:
        """Of this host, for the others and for HAProxy."""
        now = time.monotonic()
        with self.lock:
            lacking = self.missing
            count = None if lacking is None else sum(now - self.since.get(i.id, now) >= GRACE for i in lacking)
        return Standing(self.alive(), count)

    def alive(self) -> bool:
        """Whether the Glance of this host answers; asked once a second at most."""
        at, answer = self.asked
        if time.monotonic() - at >= 1:
            connection = http.client.HTTPConnection(*API, timeout=2)
            try:
                connection.request("GET", "/healthcheck")
                answer = connection.getresponse().status == 200
            except (OSError, http.client.HTTPException):
                answer = False
            finally:
                connection.close()
            self.asked = time.monotonic(), answer
        return answer

    def answer(self, method: str, path: str) -> "dict | peers.File | None":
        match method, path.strip("/").split("/"):
            case "GET", ["state"]:
                return asdict(self.standing())
            case "GET", ["status"]:
                return self.status()
            case "GET", ["images", image] if store.is_id(image):
                try:
                    stream = (store.IMAGES / image).open("rb")
                except FileNotFoundError:
                    return None
                return peers.File(stream, os.fstat(stream.fileno()).st_size)
        return None

    def status(self) -> dict:
        """For people and for `check`."""
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

    def problems(self) -> "list[str]":
        """What an operator must mend here. A file that no host has is not of that kind."""
        now = time.monotonic()
        found = []
        if now - self.read > SILENCE:
            found.append(f"database not read for {now - self.read:.0f} s: {self.database_error}")
        for image, failure in self.failures.items():
            if not failure.nowhere and now - failure.since > SILENCE:
                found.append(f"image {image}: {failure.reason}")
        return found

    # -- what is done

    def look(self) -> None:
        """Compare with the database once, delete what is to go, name what is to come."""
        try:
            # First the images, then the files: see store.missing.
            images = store.complete_images()
            here = store.local()
            statuses = store.statuses([i for i in here if i not in images])
        except pymysql.MySQLError as error:
            if str(error) != self.database_error:
                peers.log(f"database: {error}")
            self.database_error = str(error)
            images, here, statuses = self.images, store.local(), {}
        else:
            if self.database_error:
                peers.log("database: read again")
            self.database_error, self.read = "", time.monotonic()
            self.unknown = len(set(here) - set(images) - set(statuses))
        self.delete(here, statuses)
        if self.missing is None and self.database_error:
            return
        lacking, now = store.missing(images.values(), here), time.monotonic()
        with self.wake:
            self.images, self.missing = images, lacking
            ids = {i.id for i in lacking}
            self.since = {i: self.since.get(i, now) for i in ids}
            self.failures = {i: f for i, f in self.failures.items() if i in ids}
            self.wake.notify_all()

    def delete(self, here: "dict[str, int]", statuses: "dict[str, str]") -> None:
        now = time.monotonic()
        gone = [i for i in here if statuses.get(i) == "deleted"]
        self.deleted = {i: self.deleted.get(i, now) for i in gone}
        for image in store.removable(here, statuses, self.deleted, now, DELETE_GRACE):
            store.remove(image)
            peers.log(f"image {image}: deleted")

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
        """Fetch one image after the other, for ever."""
        while True:
            image = self.next_image()
            try:
                reason, nowhere = self.fetch(image), False
                if reason is None:
                    reason, nowhere = "no host that answers has its file", True
            except store.LocalError as error:
                reason, nowhere = str(error), False
            except Exception as error:  # the thread must live
                reason, nowhere = f"{type(error).__name__}: {error}", False
            with self.wake:
                del self.transfers[image.id]
                if reason:
                    failure = self.failures.setdefault(image.id, Failure())
                    if reason != failure.reason:
                        peers.log(f"image {image.id}: {reason}")
                    failure.add(reason, nowhere)
                else:
                    self.failures.pop(image.id, None)
                    self.missing = [i for i in self.missing or [] if i.id != image.id]
                    self.since.pop(image.id, None)

    def fetch(self, image: Image) -> "str | None":
        """Fetch a file from the first host that has it: empty: done; else why not; None: no host has it.

        :raises store.LocalError: this host cannot keep it
        """
        if store.present(image):
            return ""
        reason = None
        for name in peers.PEERS:
            started = time.monotonic()
            self.transfers[image.id] = 0
            try:
                with peers.download(name, PORT, f"/images/{image.id}") as response:
                    if response is None:
                        continue
                    store.receive(image, response, lambda done: self.transfers.update({image.id: done}))
            except peers.Refused:
                continue
            except peers.Unreachable as error:
                # One that is away cannot be said to have it.
                reason = str(error) if self.transfers[image.id] else reason
                continue
            except store.BadFileError as error:
                reason = f"the file of {name} is not the image: {error}"
                continue
            peers.log(f"image {image.id}: {image.size} bytes from {name} in {time.monotonic() - started:.1f} s")
            return ""
        return reason

    def watch(self) -> None:
        """Ask the other hosts how they stand, for ever."""
        while True:
            try:
                answers = peers.ask_all(PORT, "/state")
            except OSError as error:
                peers.log(f"failed: {error}")
                answers = {}
            self.others = {name: Standing(**a) for name, a in answers.items() if isinstance(a, dict)}
            time.sleep(INTERVAL)

    def run(self) -> None:
        """For ever."""
        while True:
            try:
                self.look()
            except OSError as error:
                peers.log(f"failed: {error}")
            time.sleep(INTERVAL)


class _Health(http.server.BaseHTTPRequestHandler):
    """What HAProxy asks. Plain HTTP as Glance itself; it says nothing that is not in HAProxy's log."""

    timeout = 5
    replica: Replica

    def do_GET(self) -> None:
        reason = "no such path"
        status = 404
        if self.path == "/healthcheck":
            reason = store.refusal(self.replica.standing(), self.replica.others)
            status = 503 if reason else 200
        body = f"{reason or 'OK'}\n".encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *values: object) -> None:
        """HAProxy asks every two seconds."""


class _Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    address_family = socket.AF_INET6 if ":" in ADDRESS else socket.AF_INET
    server_bind = socketserver.TCPServer.server_bind

    def handle_error(self, request: socket.socket, client_address: tuple) -> None:
        """HAProxy leaves when it knows the status."""


def serve() -> None:
    store.prepare()
    replica = _Health.replica = Replica()
    replica.look()
    peers.serve(PORT, replica.answer)
    server = _Server((ADDRESS, HEALTH_PORT), _Health)
    workers = [replica.watch, *[replica.transfer] * TRANSFERS] if peers.PEERS else []
    for work in (server.serve_forever, *workers):
        threading.Thread(target=work, daemon=True).start()
    peers.log(f"images of {peers.OWN} are served to {', '.join(peers.PEERS) or 'nobody, there is one control host'}")
    replica.run()


def check() -> None:
    try:
        answer = peers.ask(peers.OWN, PORT, "/status") or {}
    except (peers.Refused, peers.Unreachable) as error:
        sys.exit(str(error))
    if answer.get("problems"):
        sys.exit("; ".join(answer["problems"]))


def status() -> None:
    def one(name: str) -> dict:
        try:
            return peers.ask(name, PORT, "/status") or {}
        except (peers.Refused, peers.Unreachable) as error:
            return {"error": str(error)}

    with ThreadPoolExecutor(len(peers.MEMBERS)) as pool:
        print(json.dumps(dict(zip(peers.MEMBERS, pool.map(one, peers.MEMBERS), strict=True)), indent=2))


if __name__ == "__main__":
    commands = {"serve": serve, "check": check, "status": status}
    if len(sys.argv) != 2 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    try:
        commands[sys.argv[1]]()
    except OSError as failure:
        sys.exit(f"{sys.argv[0]}: {failure}")
