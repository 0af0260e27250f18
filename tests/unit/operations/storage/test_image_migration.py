# SPDX-License-Identifier: Apache-2.0
"""Images move into Ceph: in which order things happen, and what stays if one of them fails."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from scs_deploy.base.errors import ScsError
from scs_deploy.engine.remote import Answer, Answers, Command
from scs_deploy.operations.base import Session
from scs_deploy.operations.storage import images
from scs_deploy.operations.storage.images import ImagesRequest, MigrateImages, Work
from scs_deploy.operations.storage.images_plan import ImagesPlan, Move
from scs_deploy.shared import state
from scs_deploy.shared.ceph import image_hash
from scs_deploy.shared.glance import Image
from scs_deploy.state.runs import RunStore
from tests.conftest import dummy_region

HOSTS = ("ha-1", "ha-2", "ha-3")
CONTENT = b"image" * 1000


class FakeGlance:
    """Glance with two stores, and what Ceph has of each image. A copy takes some looks.

    `fails`: images that it cannot copy; `damages`: images of which Ceph has something else.
    """

    def __init__(self, *keys: str, fails: tuple[str, ...] = (), damages: tuple[str, ...] = ()) -> None:
        self.fails, self.damages = fails, damages
        self.known = {k: image(k) for k in keys}
        self.ceph: dict[str, bytes] = {}
        self.files = {host: set(keys) for host in HOSTS}
        self.done: list[str] = []
        self.looks: dict[str, int] = {}

    def __enter__(self) -> FakeGlance:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def image(self, key: str) -> Image | None:
        found = self.known.get(key)
        if found and found.importing:
            self.looks[key] = self.looks.get(key, 0) + 1
            if self.looks[key] == 3:
                self._finish(key)
        return self.known.get(key)

    def _finish(self, key: str) -> None:
        stores = ("file",) if key in self.fails else ("file", "rbd")
        self.known[key] = self.known[key].model_copy(update={"stores": stores, "importing": ()})
        if key not in self.fails:
            self.ceph[key] = CONTENT[:-1] + b"x" if key in self.damages else CONTENT

    def copy(self, key: str, store: str) -> None:
        self.done.append(f"copy {key}")
        self.known[key] = self.known[key].model_copy(update={"importing": (store,)})

    def task(self, key: str) -> tuple[int, str]:
        return self.looks.get(key, 0) << 20, "no space" if key in self.fails else ""

    def drop(self, key: str, store: str) -> None:
        self.done.append(f"drop {store} {key}")
        left = tuple(s for s in self.known[key].stores if s != store)
        assert left, "Glance refuses to remove the last copy"
        self.known[key] = self.known[key].model_copy(update={"stores": left})
        if store == "file":
            for own in self.files.values():
                own.discard(key)
        else:
            del self.ceph[key]


def image(key: str, **more: Any) -> Image:
    digest = hashlib.sha512(CONTENT).hexdigest()
    values = {"stores": ("file",), "algorithm": "sha512", "digest": digest, **more}
    return Image(id=key, name=key, size=len(CONTENT), status="active", **values)


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    with RunStore(tmp_path / "runs.sqlite3") as store:
        record = store.start("scs storage migrate-images")
        lock: Any = SimpleNamespace(check=lambda: None)
        environment: Any = SimpleNamespace(state=tmp_path)
        with record.recording():
            yield Session(environment, lock, record=record)


def run(glance: FakeGlance, session: Session, monkeypatch: pytest.MonkeyPatch, *moves: Move) -> Any:
    """What `carry_out` does with these images, on hosts that answer."""
    monkeypatch.setattr(state, "glance_session", lambda _: glance)
    monkeypatch.setattr(images, "INTERVAL", 0)
    monkeypatch.setattr(images, "LINGER", 0)

    def execute(_: Any, commands: dict[str, list[Command]], together: bool = False) -> Answers:
        assert not together
        return Answers({h: tuple(answer(h, c) for c in own) for h, own in commands.items()})

    def answer(host: str, command: Command) -> Answer:
        if command.container == "glance_replica":
            return Answer(code=0, output="\n".join(sorted(glance.files[host])))
        *_, key, algorithm = command.argv
        if host == HOSTS[0]:
            return Answer(code=-1, output="is not running")
        data = glance.ceph[key]
        found = {"size": len(data), "digest": hashlib.new(algorithm, data).hexdigest()}
        return Answer(code=0, output=f"a warning\n{json.dumps(found)}")

    monkeypatch.setattr("scs_deploy.engine.remote.execute", execute)
    plan = ImagesPlan(moves=moves or tuple(Move(image=i, todo="copy") for i in glance.known.values()))
    region = dummy_region("testbed-ha")
    operation = MigrateImages(region, ImagesRequest())
    monkeypatch.setattr(operation, "region", region)
    return operation.carry_out(session, plan)


def test_a_file_is_removed_after_its_copy_was_read_back(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    glance = FakeGlance("a", "b")
    done = run(glance, session, monkeypatch)
    assert glance.done == ["copy a", "drop file a", "copy b", "drop file b"]
    assert (done.moved, done.left) == (("a", "b"), {})
    assert all(i.stores == ("rbd",) for i in glance.known.values())


def test_an_image_that_fails_does_not_stop_the_others(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    glance = FakeGlance("a", "b", "c", fails=("b",))
    with pytest.raises(ScsError) as error:
        run(glance, session, monkeypatch)
    assert error.value.exit_code == 1
    assert "1 of 3 images could not be moved: b (b): Glance did not copy it: no space" in str(error.value)
    assert {k: i.stores for k, i in glance.known.items()} == {"a": ("rbd",), "b": ("file",), "c": ("rbd",)}


def test_a_copy_that_differs_is_removed_and_the_file_stays(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Glance reads from Ceph first: a wrong copy must not stay."""
    glance = FakeGlance("a", damages=("a",))
    with pytest.raises(ScsError, match="what Ceph has is not the image: 5000 bytes, sha512"):
        run(glance, session, monkeypatch)
    assert glance.done == ["copy a", "drop rbd a"]
    assert glance.known["a"].stores == ("file",)
    assert all("a" in own for own in glance.files.values())


def test_an_interrupted_move_goes_on_where_it_stopped(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    glance = FakeGlance("a", "b")
    glance.known["a"] = image("a", stores=("file", "rbd"))
    glance.ceph["a"] = CONTENT
    glance.known["b"] = image("b", importing=("rbd",))
    moves = (Move(image=glance.known["a"], todo="check"), Move(image=glance.known["b"], todo="wait"))
    run(glance, session, monkeypatch, *moves)
    assert glance.done == ["drop file a", "drop file b"]


def test_an_image_that_is_deleted_meanwhile_is_no_failure(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    glance = FakeGlance("a", "b")
    moves = tuple(Move(image=i, todo="wait") for i in glance.known.values())
    del glance.known["a"]
    glance.known["b"] = image("b", importing=("rbd",))
    run(glance, session, monkeypatch, *moves)
    assert glance.done == ["drop file b"]


def test_hosts_that_keep_files_are_named(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    glance = FakeGlance("a")
    glance.files["ha-3"] = {"a", "another"}
    monkeypatch.setattr(FakeGlance, "drop", lambda self, key, store: self.done.append(f"drop {store} {key}"))
    assert run(glance, session, monkeypatch).left == dict.fromkeys(HOSTS, ("a",))


def test_progress_is_in_bytes() -> None:
    session: Any = SimpleNamespace(emit=lambda _: None)
    made = ImagesPlan(moves=(Move(image=image("a"), todo="copy"), Move(image=image("b"), todo="copy")))
    work = Work(dummy_region("testbed-ha"), session, made)
    work.total, work.done = 3 << 30, 1 << 30
    assert work.progress(512 << 20) == "1.5 GiB of 3.0 GiB"


def test_the_program_reads_all_of_an_image() -> None:
    class Stored:
        def size(self) -> int:
            return len(CONTENT)

        def read(self, offset: int, length: int) -> bytes:
            return CONTENT[offset : offset + length]

    expected = {"size": len(CONTENT), "digest": hashlib.sha512(CONTENT).hexdigest()}
    assert image_hash.digest(Stored(), "sha512") == expected
    image_hash.CHUNK, kept = 7, image_hash.CHUNK
    try:
        assert image_hash.digest(Stored(), "sha512") == expected
    finally:
        image_hash.CHUNK = kept
