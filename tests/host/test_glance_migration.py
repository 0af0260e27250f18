# SPDX-License-Identifier: Apache-2.0
"""Images move from files into Ceph through a real Glance and a real Ceph, while they are downloaded all the time.

Takes some minutes, scs/ceph and scs/glance.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import store

from scs_deploy.base.errors import ScsError
from scs_deploy.engine.remote import Answer, Answers, Command
from scs_deploy.operations.base import Session
from scs_deploy.operations.storage import images
from scs_deploy.operations.storage.images import ImagesDone, ImagesRequest, MigrateImages
from scs_deploy.operations.storage.images_plan import Facts, ImagesPlan, decide
from scs_deploy.shared import glance as api
from scs_deploy.shared import state
from scs_deploy.shared.ceph import disks, observed
from scs_deploy.shared.ceph.observed import Observed
from scs_deploy.shared.ceph.session import Ceph as Monitors
from scs_deploy.shared.glance import Image
from scs_deploy.state.runs import RunStore
from tests.conftest import dummy_region
from tests.support import live_ceph, live_glance
from tests.support.images import needs
from tests.support.live_glance import Glance

pytestmark = [needs(live_ceph.IMAGE), needs(live_glance.IMAGE)]
MIB = 1 << 20


@pytest.fixture(scope="module")
def glance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Glance]:
    with live_ceph.cluster(dummy_region("testbed-ha"), tmp_path_factory.mktemp("ceph")) as ceph:
        found = Glance(ceph, tmp_path_factory.mktemp("glance"))
        live_ceph.soon(ceph.up)
        found.start("file")
        yield found


def session_of(glance: Glance) -> api.Glance:
    return api.Glance(glance, glance.url)  # type: ignore[arg-type]


def planned(glance: Glance, *chosen: str) -> ImagesPlan:
    ceph = glance.ceph
    monitors = Monitors(ceph.region, lambda host, container, argv: ceph.inside(host, container, *argv))
    cluster = Observed.parse(monitors.ask(observed.QUESTIONS))
    cluster = cluster.model_copy(update={"osds": disks.osds(monitors.ask(disks.QUESTIONS))})
    own = session_of(glance)
    facts = Facts(images=tuple(own.images()), stores=own.stores(), methods=own.methods(), cluster=cluster)
    return decide(facts, chosen)


def migrate(glance: Glance, plan: ImagesPlan, folder: Path, monkeypatch: pytest.MonkeyPatch) -> ImagesDone:
    """As the command does, on one host."""

    def execute(_: Any, commands: dict[str, list[Command]], together: bool = False) -> Answers:
        assert not together
        given = {h: [glance.inside(*c.argv) for c in own] for h, own in commands.items()}
        return Answers({h: tuple(Answer(code=c, output=t) for c, t in own) for h, own in given.items()})

    monkeypatch.setattr("scs_deploy.engine.remote.execute", execute)
    monkeypatch.setattr(state, "glance_session", lambda _: session_of(glance))
    monkeypatch.setattr(images, "INTERVAL", 0.2)
    with RunStore(folder / "runs.sqlite3") as store:
        record = store.start("scs storage migrate-images")
        environment: Any = SimpleNamespace(state=folder)
        lock: Any = SimpleNamespace(check=lambda: None)
        with record.recording():
            operation = MigrateImages(glance.ceph.region, ImagesRequest())
            return operation.carry_out(Session(environment, lock, record=record), plan)


@contextmanager
def downloaded(glance: Glance, known: dict[str, Image]) -> Iterator[list[str]]:
    """Every image is downloaded all the time; yields what went wrong."""
    ends, wrong, count = threading.Event(), list[str](), list[str]()

    def read(key: str) -> None:
        while not ends.is_set():
            try:
                if glance.download(key) != known[key].digest:
                    wrong.append(f"{key} has other content")
            except (AssertionError, OSError) as error:
                wrong.append(f"{key}: {error}")
            count.append(key)

    threads = [threading.Thread(target=read, args=(key,)) for key in known]
    for thread in threads:
        thread.start()
    try:
        yield wrong
    finally:
        ends.set()
        for thread in threads:
            thread.join()
    assert set(count) == set(known)


def test_images_move_while_they_are_used(glance: Glance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uploads: dict[str, tuple[bytes, dict[str, Any]]] = {
        "random": (os.urandom(64 * MIB), {}),
        "odd": (os.urandom(12_345_677), {"protected": True}),
        "sparse": (bytes(30 * MIB) + b"x" * 77 + bytes(9 * MIB), {"os_hidden": True}),
    }
    keys = {name: glance.upload(name, content, **more) for name, (content, more) in uploads.items()}
    off = glance.upload("off", b"deactivated" * 1000)
    assert glance.send("POST", f"{glance.url}/v2/images/{off}/actions/deactivate", {}).ok
    assert planned(glance).refusals == ("Glance has no store rbd yet: scs apply glance",)
    glance.start("rbd", "file")
    before = {i.id: i for i in session_of(glance).images() if i.id != off}
    plan = planned(glance)
    assert sorted(m.image.name for m in plan.moves) == ["odd", "random", "sparse"]
    assert [(s.image.name, s.reason[:21]) for s in plan.stays] == [("off", "it is deactivated, an")]

    with downloaded(glance, before) as wrong:
        done = migrate(glance, plan, tmp_path, monkeypatch)
    assert wrong == []
    assert set(done.moved) == set(keys.values())
    assert done.left == {}
    after = {i.id: i for i in session_of(glance).images() if i.id != off}
    assert {k: i.stores for k, i in after.items()} == dict.fromkeys(keys.values(), ("rbd",))
    same = ("id", "name", "size", "status", "algorithm", "digest")
    assert {k: i.model_dump(include=set(same)) for k, i in after.items()} == {
        k: i.model_dump(include=set(same)) for k, i in before.items()
    }
    assert glance.files() == {off}
    assert (planned(glance).moves, planned(glance).done) == ((), 3)


def test_glance_replica_knows_what_moved(glance: Glance) -> None:
    """Its query finds these images in Glance's own tables, and no others."""
    keys = [i.id for i in session_of(glance).images()]
    query = store._MOVED.format(marks=", ".join("?" * len(keys))).replace("%%", "%")
    script = (
        "import json, sqlite3, sys\nrows = sqlite3.connect('/var/lib/glance/glance.sqlite')"
        ".execute(sys.argv[1], sys.argv[2:])\nprint(json.dumps(sorted(r[0] for r in rows)))"
    )
    code, said = glance.inside("python3", "-c", script, query, *keys)
    assert code == 0, said
    assert json.loads(said) == sorted(i.id for i in session_of(glance).images() if i.stores == ("rbd",))


def test_a_copy_that_is_there_is_compared_before_the_file_goes(
    glance: Glance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after an interruption. The last copy is never removed."""
    own = session_of(glance)
    key = next(i.id for i in own.images() if i.name == "odd")
    with pytest.raises(ScsError, match="Cannot delete image data from the only store"):
        own.drop(key, "rbd")
    own.copy(key, "file")
    live_ceph.soon(lambda: (found := own.image(key)) and set(found.stores) == {"file", "rbd"} and not found.importing)
    plan = planned(glance, "odd")
    assert [m.todo for m in plan.moves] == ["check"]
    assert plan.bytes == 0
    assert migrate(glance, plan, tmp_path, monkeypatch).moved == (key,)
    found = own.image(key)
    assert found
    assert found.stores == ("rbd",)
