# SPDX-License-Identifier: Apache-2.0
"""Images on three control hosts: files come to every host, go everywhere, and HAProxy learns who has them all.

The shipped program runs on loopback addresses with the region's certificates and Glance's tables. SQLite stands for the
database server, a small HTTP server for each host's Glance.
"""

from __future__ import annotations

import hashlib
import http.client
import http.server
import json
import os
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import store

from tests.support.peer_hosts import Hosts, eventually

API, HEALTH, PORT = 49292, 49293, 49294
TIMES = {"interval": 0.3, "grace": 0.5, "delete_grace": 1.5, "silence": 2, "retry": 0.2}
CHANGE = {
    "replica.json": {
        **TIMES, "api_port": API, "health_port": HEALTH, "config": "HOST/etc/glance-api.conf", "data": "HOST/glance",
    }
}  # fmt: skip
PYMYSQL = """
import os, sqlite3
class MySQLError(Exception): pass
def connect(**how):
    assert how["database"] == "glance" and how["password"] == "dummy-glance-database-password", how
    file = os.environ["DATABASE"]
    if not os.path.exists(file):
        raise MySQLError("(2003, \\"Can't connect\\")")
    return Connection(file)
class Connection:
    def __init__(self, file): self.connection = sqlite3.connect(file)
    def __enter__(self): return self
    def __exit__(self, *_): self.connection.close()
    def cursor(self): return Cursor(self.connection.cursor())
class Cursor:
    def __init__(self, cursor): self.cursor = cursor
    def __enter__(self): return self
    def __exit__(self, *_): pass
    def execute(self, query, values): self.cursor.execute(query.replace("%s", "?"), values)
    def fetchall(self): return self.cursor.fetchall()
"""
# Of Glance's models: the columns that the program reads.
TABLES = """
CREATE TABLE images (id VARCHAR(36) PRIMARY KEY, size BIGINT, status VARCHAR(30) NOT NULL, checksum VARCHAR(32),
    os_hash_algo VARCHAR(64), os_hash_value VARCHAR(128), deleted BOOLEAN NOT NULL);
CREATE TABLE image_locations (id INTEGER PRIMARY KEY, image_id VARCHAR(36) NOT NULL, value TEXT NOT NULL,
    deleted BOOLEAN NOT NULL);
CREATE TABLE image_properties (image_id VARCHAR(36) NOT NULL, name VARCHAR(255) NOT NULL, value TEXT,
    deleted BOOLEAN NOT NULL);
"""


class Region:
    """Three hosts that run the program, and their Glance."""

    def __init__(self, hosts: Hosts) -> None:
        self.hosts, self.names = hosts, hosts.names
        self.file = hosts.folder / "glance.sqlite"
        self.apis: dict[str, http.server.HTTPServer] = {}

    def reset(self) -> None:
        """Empty stores, an empty database, no process."""
        self.stop()
        self.file.unlink(missing_ok=True)
        self.file.with_suffix(".away").unlink(missing_ok=True)
        with sqlite3.connect(self.file) as database:
            database.executescript(TABLES)
        for name in self.names:
            self.hosts.environment[name] = {"DATABASE": str(self.file)}
            self.hosts.path(name, "log").unlink(missing_ok=True)
            self.folder(name).mkdir(parents=True, exist_ok=True)
            for path in self.folder(name).iterdir():
                path.unlink()

    def start(self, *names: str) -> None:
        for name in names or self.names:
            if name not in self.apis:
                self.glance(name)
            self.hosts.start(name, "replica.py", "serve")
        for name in names or self.names:
            eventually(lambda n=name: "are served to" in self.hosts.log(n))  # type: ignore[misc]

    def glance(self, name: str) -> None:
        """Start a host's Glance."""
        self.apis[name] = http.server.ThreadingHTTPServer((self.hosts.address[name], API), Healthy)
        threading.Thread(target=self.apis[name].serve_forever, args=(0.05,), daemon=True).start()

    def stop_glance(self, name: str) -> None:
        server = self.apis.pop(name)
        server.shutdown()
        server.server_close()

    def stop(self) -> None:
        self.hosts.stop()
        for name in list(self.apis):
            self.stop_glance(name)

    def folder(self, name: str) -> Path:
        return self.hosts.path(name, "glance", "images")

    def has(self, name: str, image: str, data: bytes) -> bool:
        path = self.folder(name) / image
        return path.exists() and path.read_bytes() == data

    def upload(self, name: str, data: bytes, status: str = "active", algorithm: str | None = "sha512") -> str:
        """What Glance leaves after an upload through one host."""
        image = str(uuid.uuid4())
        (self.folder(name) / image).write_bytes(data)
        value = hashlib.new(algorithm, data).hexdigest() if algorithm else None
        row = (image, len(data), status, hashlib.md5(data).hexdigest(), algorithm, value)
        self.execute("INSERT INTO images VALUES (?, ?, ?, ?, ?, ?, 0)", *row)
        location = f"file://{self.hosts.folder / '{}' / 'glance' / 'images' / image}"
        # Each host of the test has a folder of its own, where in a region all have the same path.
        for host in self.names:
            self.execute(
                "INSERT INTO image_locations (image_id, value, deleted) VALUES (?, ?, 0)", image, location.format(host)
            )
        return image

    def delete(self, image: str) -> None:
        self.execute("UPDATE images SET status = 'deleted', deleted = 1 WHERE id = ?", image)
        self.execute("UPDATE image_locations SET deleted = 1 WHERE image_id = ?", image)

    def copy(self, image: str) -> None:
        """It is in Ceph, too."""
        self.execute(
            "INSERT INTO image_locations (image_id, value, deleted) VALUES (?, ?, 0)", image,
            f"rbd://7c3a/images/{image}/snap",
        )  # fmt: skip

    def drop_file(self, image: str) -> None:
        """What Glance does when an image is removed from the store of files."""
        self.execute("UPDATE image_locations SET deleted = 1 WHERE image_id = ? AND value LIKE 'file:%'", image)

    def execute(self, query: str, *values: object) -> None:
        with sqlite3.connect(self.file, timeout=10) as database:
            database.execute(query, values)

    def health(self, name: str) -> tuple[int, str]:
        """What HAProxy gets; 0: nobody listens."""
        connection = http.client.HTTPConnection(self.hosts.address[name], HEALTH, timeout=5)
        try:
            connection.request("GET", "/healthcheck")
            response = connection.getresponse()
            return response.status, response.read().decode().strip()
        except ConnectionRefusedError:
            return 0, ""
        finally:
            connection.close()

    def check(self, name: str) -> str:
        """Empty: healthy."""
        result = self.hosts.run(name, "replica.py", "check")
        assert (result.returncode == 0) == (not result.stderr)
        return result.stderr.strip()


class Healthy(http.server.BaseHTTPRequestHandler):
    """A Glance that works."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/healthcheck" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Region:
    return install(tmp_path_factory.mktemp("images"), "testbed-ha")


def install(folder: Path, environment: str) -> Region:
    hosts = Hosts(folder, environment, "glance", {"glance_replica_port": PORT}, CHANGE)
    for name in hosts.names:
        hosts.path(name, "etc", "pymysql.py").write_text(PYMYSQL)
    return Region(hosts)


@pytest.fixture
def region(installed: Region) -> Iterator[Region]:
    installed.reset()
    yield installed
    installed.stop()


def data(size: int = 100_000) -> bytes:
    return os.urandom(size)


# ---- files


@pytest.mark.parametrize("algorithm", ["sha512", None])
def test_an_upload_comes_to_every_host(algorithm: str | None, region: Region) -> None:
    region.start()
    content = data(3_000_000)
    image = region.upload("ha-2", content, algorithm=algorithm)
    eventually(lambda: region.has("ha-1", image, content) and region.has("ha-3", image, content))
    for name in region.names:
        assert region.health(name) == (200, "OK")
        assert region.check(name) == ""
    assert (region.folder("ha-1") / image).stat().st_mode & 0o777 == 0o640
    assert list(region.hosts.path("ha-1", "glance", "replica").iterdir()) == []


def test_a_host_with_an_empty_disk_gets_all(region: Region) -> None:
    contents = {}
    for number in range(20):
        content = data(1000 * number + 1)
        contents[region.upload(region.names[number % 2], content)] = content
    region.start()
    for name in region.names:
        eventually(lambda n=name: all(region.has(n, i, c) for i, c in contents.items()))  # type: ignore[misc]


def test_a_deleted_image_goes_from_every_host(region: Region) -> None:
    region.start()
    content = data()
    image = region.upload("ha-1", content)
    eventually(lambda: region.has("ha-2", image, content) and region.has("ha-3", image, content))
    # Through another member than the one that took the upload: Glance deletes its own file only.
    (region.folder("ha-2") / image).unlink()
    region.delete(image)
    eventually(lambda: not any((region.folder(n) / image).exists() for n in region.names))
    # the file goes before the line is written
    eventually(lambda: f"image {image}: deleted" in region.hosts.log("ha-1"))


def test_files_of_an_image_that_moved_to_ceph_go_from_every_host(region: Region) -> None:
    region.start()
    content = data()
    image = region.upload("ha-1", content)
    eventually(lambda: region.has("ha-2", image, content) and region.has("ha-3", image, content))
    region.copy(image)
    time.sleep(2)
    assert all(region.has(n, image, content) for n in region.names), "while it is in both"
    region.drop_file(image)
    eventually(lambda: not any((region.folder(n) / image).exists() for n in region.names))
    eventually(lambda: f"image {image}: moved" in region.hosts.log("ha-1"))
    assert region.health("ha-2") == (200, "OK")


def test_a_file_that_glance_is_writing_again_stays(region: Region) -> None:
    """An image that moved to Ceph is copied back: it is active, and its file has no location before it is complete."""
    image = region.upload("ha-1", data())
    region.copy(image)
    region.drop_file(image)
    region.execute("INSERT INTO image_properties VALUES (?, 'os_glance_importing_to_stores', 'file', 0)", image)
    never = region.upload("ha-1", data())
    region.copy(never)
    region.execute("DELETE FROM image_locations WHERE image_id = ? AND value LIKE 'file:%'", never)
    region.start("ha-1")
    time.sleep(3)
    assert {image, never} <= {p.name for p in region.folder("ha-1").iterdir()}
    region.execute("UPDATE image_properties SET value = ''")
    eventually(lambda: not (region.folder("ha-1") / image).exists())


@pytest.mark.parametrize("status", ["queued", "saving", "uploading", "importing", "deactivated", "pending_delete"])
def test_a_file_of_an_image_that_is_not_deleted_is_never_touched(status: str, region: Region) -> None:
    image = region.upload("ha-1", b"half", status=status)
    (region.folder("ha-1") / "notes.txt").write_text("no image")
    (region.folder("ha-1") / str(uuid.uuid4())).write_text("the database knows nothing of it")
    region.start()
    time.sleep(3)
    assert region.has("ha-1", image, b"half")
    assert len(list(region.folder("ha-1").iterdir())) == 3
    assert region.has("ha-2", image, b"half") == (status == "deactivated")
    assert region.health("ha-1") == (200, "OK")


def test_a_file_that_is_shorter_or_another_one_is_replaced_and_not_handed_on(region: Region) -> None:
    content = data()
    image = region.upload("ha-3", content)
    (region.folder("ha-1") / image).write_bytes(content[:500])
    (region.folder("ha-2") / image).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    region.start("ha-1", "ha-2")
    eventually(lambda: "the file of ha-2 is not the image: its sha512 is" in region.hosts.log("ha-1"))
    time.sleep(1)
    assert (region.folder("ha-1") / image).read_bytes() == content[:500]
    region.start("ha-3")
    eventually(lambda: region.has("ha-1", image, content))


def test_a_transfer_that_was_interrupted_is_done_again(region: Region) -> None:
    content = data(60_000_000)
    image = region.upload("ha-1", content)
    incoming = region.hosts.path("ha-2", "glance", "replica")
    incoming.mkdir(exist_ok=True)
    (incoming / f"{image}.part").write_bytes(b"of an earlier life")
    region.start("ha-1", "ha-2")
    eventually(lambda: (incoming / f"{image}.part").exists() and (incoming / f"{image}.part").stat().st_size > 1 << 20)
    region.hosts.stop("ha-1")
    assert region.has("ha-2", image, content) or not (region.folder("ha-2") / image).exists()
    region.start("ha-1")
    eventually(lambda: region.has("ha-2", image, content))
    assert list(incoming.iterdir()) == []


def test_images_of_other_stores_are_none_of_its_business(region: Region) -> None:
    image = region.upload("ha-1", b"x")
    (region.folder("ha-1") / image).unlink()
    region.execute("UPDATE image_locations SET value = 'https://elsewhere.example/image'")
    region.start()
    time.sleep(1.5)
    assert region.health("ha-2") == (200, "OK")


def test_only_images_are_handed_out(region: Region) -> None:
    region.start("ha-1")
    (region.hosts.path("ha-1", "glance") / "secret").write_text("x")
    for path in ("/images/../secret", "/images/..%2fsecret", "/images/", "/images/secret"):
        code = f"print(own.ask('ha-1', {PORT}, {path!r}))"
        assert region.hosts.python("ha-2", code).stdout == "None\n", path


# ---- what HAProxy hears


def test_a_host_that_lacks_a_file_steps_back_until_it_has_it(region: Region) -> None:
    content = data()
    image = region.upload("ha-1", content)
    region.start("ha-2")
    # Nobody who answers has more: better most images than none.
    time.sleep(1)
    assert region.health("ha-2") == (200, "OK")
    # ha-1 says that it has the file, but does not hand it out.
    mean = (
        "import time\nfrom pathlib import Path\nfrom peers import Peers\n"
        "own = Peers.read(Path(__file__).with_name('peers.json'))\n"
        "own.serve({}, lambda m, p: {{'alive': True, 'missing': 0}} if p == '/state' else None)"
    )
    region.hosts.path("ha-1", "etc", "mean.py").write_text(mean.format(PORT) + "\ntime.sleep(60)\n")
    region.hosts.start("ha-1", "mean.py")
    eventually(lambda: region.health("ha-2") == (503, "1 files are missing, more are on ha-1"))
    region.hosts.stop("ha-1")
    eventually(lambda: region.health("ha-2") == (200, "OK"))
    region.start("ha-1")
    eventually(lambda: region.has("ha-2", image, content))
    eventually(lambda: region.health("ha-2") == region.health("ha-1") == (200, "OK"))


def test_a_host_whose_glance_is_away_steps_back(region: Region) -> None:
    region.start()
    assert region.health("ha-1") == (200, "OK")
    region.stop_glance("ha-1")
    eventually(lambda: region.health("ha-1") == (503, "Glance does not answer"))
    region.glance("ha-1")
    eventually(lambda: region.health("ha-1") == (200, "OK"))


def test_without_the_database_what_was_known_counts(region: Region) -> None:
    region.start()
    region.file.rename(region.file.with_suffix(".away"))
    eventually(lambda: "database not read" in region.check("ha-1"))
    assert "Can't connect" in region.hosts.log("ha-1")
    assert region.health("ha-1") == (200, "OK")
    # A process that starts now knows nothing, the others do.
    region.hosts.stop("ha-3")
    region.start("ha-3")
    eventually(
        lambda: region.health("ha-3") == (503, "which files are missing is not known yet, more are on ha-1, ha-2")
    )
    region.file.with_suffix(".away").rename(region.file)
    eventually(lambda: region.health("ha-3") == (200, "OK") and region.check("ha-1") == "")


def test_one_control_host_serves_whatever_it_has(tmp_path: Path) -> None:
    region = install(tmp_path, "testbed")
    (name,) = region.names
    region.reset()
    image = region.upload(name, b"x")
    (region.folder(name) / image).unlink()
    region.start()
    try:
        time.sleep(1)
        assert region.health(name) == (200, "OK")
        assert region.check(name) == ""
        region.stop_glance(name)
        eventually(lambda: region.health(name)[0] == 503)
    finally:
        region.stop()


# ---- what an operator sees


def test_a_transfer_that_keeps_failing_is_told(region: Region) -> None:
    content = data()
    image = region.upload("ha-1", content)
    (region.folder("ha-1") / image).write_bytes(content[::-1])
    region.start()
    eventually(lambda: f"image {image}: the file of ha-1 is not the image" in region.check("ha-2"))
    shown = json.loads(region.hosts.run("ha-3", "replica.py", "status").stdout)
    assert shown["ha-2"]["missing"] == [image]
    assert shown["ha-1"]["missing"] == []


def test_a_file_that_no_host_has_is_told_but_no_fault_of_this_host(region: Region) -> None:
    image = region.upload("ha-1", b"x")
    (region.folder("ha-1") / image).unlink()
    region.start()
    eventually(lambda: f"image {image}: no host that answers has its file" in region.hosts.log("ha-2"))
    time.sleep(2.5)
    for name in region.names:
        assert region.check(name) == ""
        assert region.health(name) == (200, "OK")


def test_a_full_disk_is_told(region: Region) -> None:
    region.hosts.assign("ha-2", "replica.json", reserve=1 << 60)
    try:
        region.upload("ha-1", data())
        region.start()
        eventually(lambda: "no space for 100000 bytes" in region.check("ha-2"))
        assert region.health("ha-2")[0] == 503
    finally:
        region.hosts.assign("ha-2", "replica.json", reserve=store.RESERVE)


# ---- decisions, in tables


@pytest.mark.parametrize(
    ("own", "others", "serves"),
    [
        ("up 0", [], True),
        ("up 0", ["up 0", "up 0"], True),
        ("down 0", ["up 5"], False),
        ("up 1", ["up 0"], False),
        ("up 1", ["down 0"], True),  # the full one cannot serve
        ("up 1", [], True),
        ("up 1", ["up 1", "up 2"], True),
        ("up 2", ["up 3", "up 1"], False),
        ("up ?", ["up 9"], False),
        ("up ?", ["up ?"], True),
        ("up 9", ["up ?"], True),
    ],
)
def test_refusal(own: str, others: list[str], serves: bool) -> None:
    def standing(text: str) -> store.Standing:
        alive, count = text.split()
        return store.Standing(alive == "up", None if count == "?" else int(count))

    assert (store.refusal(standing(own), {f"h{n}": standing(o) for n, o in enumerate(others)}) == "") is serves


@pytest.mark.parametrize(
    ("status", "seen", "goes"),
    [("deleted", 60, True), ("deleted", 59, False), ("deleted", 0, False), ("active", 99, False), (None, 99, False)],
)
def test_removable(status: str | None, seen: int, goes: bool) -> None:
    statuses = {"a": status} if status else {}
    assert (store.removable(["a"], statuses, {"a": 0.0}, float(seen), 60) == ["a"]) is goes


def test_missing_smallest_first() -> None:
    images = [store.Image(name, size, None, None, None) for name, size in (("a", 9), ("b", 5), ("c", 7), ("d", None))]
    assert [i.id for i in store.missing(images, {"c": 7, "d": 3})] == ["b", "a"]
    assert [i.id for i in store.missing(images, {"a": 8, "b": 5})] == ["d", "c", "a"]
