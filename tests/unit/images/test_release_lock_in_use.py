# SPDX-License-Identifier: Apache-2.0
"""A build never changes the release lock under a run: it waits until the run has ended, or says what it left."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from scs_deploy.base.errors import RefusedError
from scs_deploy.environment import release_lock
from scs_deploy.environment.environment import Environment
from scs_deploy.images.build import RegionImages
from scs_deploy.images.events import Event
from scs_deploy.spec.release import Lock, LockedImage
from scs_deploy.state import lock as locks
from scs_deploy.state.lock import RunLock, is_ours, region_lock
from tests.unit.secrets.test_secrets import region


def image(digit: str) -> LockedImage:
    return LockedImage(reference="scs/web", digest=f"sha256:{digit * 64}", size=1)


class Build(RegionImages):
    """A build that is over: one image has another digest."""

    def __init__(self, environment: Environment, patience: float | None = None) -> None:
        self.environment, self._patience = environment, patience
        self.lock = release_lock.current(environment)
        self.release = SimpleNamespace(images={"web": None, "base": None})  # type: ignore[assignment]
        self._locked, self._options = {"web": image("b")}, {}
        self.events: list[Event] = []
        self.on_event = self.events.append


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    monkeypatch.setattr(locks, "POLL", 0.05)
    found = region(tmp_path)
    release_lock.save(Lock(release=found.settings.release, images={"web": image("a")}), found.lock_file)
    return found


def test_it_waits_for_the_run(environment: Environment) -> None:
    build = Build(environment)
    with RunLock(environment.state / "lock", "scs apply"):
        before = environment.lock_file.read_bytes()
        waiting = threading.Thread(target=build._write_lock)
        waiting.start()
        waiting.join(1)
        assert waiting.is_alive()
        assert environment.lock_file.read_bytes() == before
        assert [(e.image, "until `scs apply`" in e.step) for e in build.events] == [("release.lock.yml", True)]
    waiting.join(10)
    assert release_lock.current(environment).images["web"] == image("b")


def test_what_another_command_locked_meanwhile_stays(environment: Environment) -> None:
    build = Build(environment)
    both = {"base": image("c"), "web": image("a")}
    release_lock.save(Lock(release=environment.settings.release, images=both), environment.lock_file)
    assert build._write_lock()
    assert release_lock.current(environment).images == {"base": image("c"), "web": image("b")}


def test_at_night_it_gives_up_and_says_what_is_done(environment: Environment) -> None:
    with (
        RunLock(environment.state / "lock", "scs apply"),
        pytest.raises(
            RefusedError, match=r"`scs apply`.*: the images are pushed, but release\.lock\.yml is not written"
        ),
    ):
        Build(environment, patience=0.2)._write_lock()
    assert release_lock.current(environment).images == {"web": image("a")}


def test_a_process_knows_its_own_lock(environment: Environment) -> None:
    assert not is_ours(environment)
    with region_lock(environment):
        assert is_ours(environment)
