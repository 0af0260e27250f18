# SPDX-License-Identifier: Apache-2.0
"""`scs storage migrate-images`: moves images from files into Ceph while they are used.

Glance copies an image into another store while it stays active (import method copy-image), and reads it from Ceph once
the copy is complete. What was copied is read back and compared before the file goes: Glance removes it on the host that
serves requests, glance_replica on the others.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.base.model import Model
from scs_deploy.base.plural import counted
from scs_deploy.base.sizes import size
from scs_deploy.desired.listeners import settings_of
from scs_deploy.engine.access import Access, saying
from scs_deploy.engine.events import Stage, Watch, ignore
from scs_deploy.engine.remote import Command
from scs_deploy.operations.base import Operation, Session, Step
from scs_deploy.operations.storage import look
from scs_deploy.operations.storage.images_plan import Facts, ImagesPlan, Move, decide
from scs_deploy.region.region import Region
from scs_deploy.shared import ceph, state
from scs_deploy.shared.ceph import disks, observed
from scs_deploy.shared.ceph.observed import Observed
from scs_deploy.shared.glance import FILE, RBD, Glance, Image

SETTING = "glance_store"
FOLDER = "/var/lib/glance/images"
INTERVAL = 2.0
SLOWEST = 5 << 20
"""Bytes per second that are staged, written or read at the least; what is slower is stuck."""
PATIENCE = 900.0
"""Seconds more, without progress."""
LINGER = 180.0
"""Seconds for other hosts to remove their files: glance_replica waits a minute."""


class ImagesRequest(Model):
    """Which images to move."""

    images: tuple[str, ...] = ()
    """ids or names; empty: all"""


@dataclass(frozen=True)
class ImagesDone:
    """How it ended."""

    plan: ImagesPlan
    run: str = ""
    """id of the run; empty: nothing was done"""
    moved: tuple[str, ...] = ()
    """ids of images that are in Ceph only now"""
    left: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """host: ids of moved images whose files it still has"""


class MigrateImages(Operation[ImagesRequest, ImagesPlan, ImagesDone]):
    """Moves images from files into Ceph."""

    name = "storage migrate-images"
    requests = ImagesRequest
    repeat = "repeat the command: it goes on where it stopped"

    def plan(self, watch: Watch = ignore) -> ImagesPlan:
        """See Operation.

        :raises RefusedError: the region keeps new images in files, or has no Ceph
        """
        watch(Stage("asking Glance and the monitors"))
        monitors = look.session(self.region)
        hosts = {h.name: settings_of(self.region, h).get(SETTING) for h in self.region.hosts_of("glance")}
        if files := sorted(h for h, store in hosts.items() if store != RBD):
            raise RefusedError(
                f"{SETTING} is {hosts[files[0]]} on {', '.join(files)}: new images would still go to files",
                f"set {SETTING}: {RBD}, then scs apply glance: docs/how-to/volumes.md",
            )
        cluster = Observed.parse(monitors.ask(observed.QUESTIONS))
        cluster = cluster.model_copy(update={"osds": disks.osds(monitors.ask(disks.QUESTIONS))})
        with state.glance_session(self.region) as glance:
            facts = Facts(
                images=tuple(glance.images()), stores=glance.stores(), methods=glance.methods(), cluster=cluster
            )
        return decide(facts, self.request.images)

    def check(self, plan: ImagesPlan) -> None:
        """See Operation.

        :raises RefusedError: an image is unknown, Glance is not prepared, or there is no room
        """
        if plan.refusals:
            raise RefusedError("; ".join(plan.refusals), "scs storage pools")

    def total(self, plan: ImagesPlan) -> int:
        """See Operation. A refused plan is not an empty one."""
        return len(plan.moves) or len(plan.refusals)

    def empty_result(self, plan: ImagesPlan) -> ImagesDone:
        """See Operation."""
        return ImagesDone(plan)

    def carry_out(self, session: Session, plan: ImagesPlan) -> ImagesDone:
        """See Operation.

        :raises ScsError: images could not be moved; the others were
        """
        work = Work(self.region, session, plan)
        failed: list[str] = []
        moved: list[str] = []
        for move in plan.moves:
            step = Step(move.image.id, move.title, lambda m=move: work.move(m))  # type: ignore[misc]
            try:
                session.run_step("images", step)
            except ScsError as error:
                session.check()
                failed.append(f"{move.image.title}: {error.message}")
            else:
                moved.append(move.image.id)
        left = work.wait_for_hosts(moved) if moved else {}
        if failed:
            raise ScsError(
                f"{len(failed)} of {counted(len(plan.moves), 'image')} could not be moved: {'; '.join(failed)}",
                "their files stay, and are used; repeat the command: it goes on where it stopped",
            )
        return ImagesDone(plan, session.record.id, tuple(moved), left)


class Work:
    """Carries out the moves. Each goes on where an earlier one stopped."""

    def __init__(
        self, region: Region, session: Session, plan: ImagesPlan, sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.region, self.session = region, session
        self.access = Access(region, saying(session.emit))
        self.hosts = [h.name for h in region.hosts_of("glance")]
        self.total = sum(m.image.size for m in plan.moves)
        self.done = 0
        self.sleep, self.clock = sleep, clock

    def move(self, move: Move) -> str:
        """Copy, compare, remove the file; a few words about it."""
        image = move.image
        try:
            # a session for each: a token ends while large images are copied
            with state.glance_session(self.region) as glance:
                if move.todo == "copy":
                    glance.copy(image.id, RBD)
                self._await_copy(glance, image)
            self.compare(image)
            with state.glance_session(self.region) as glance:
                if gone(glance.image(image.id)):
                    return "was deleted meanwhile"
                glance.drop(image.id, FILE)
        except GoneError:
            return "was deleted meanwhile"
        finally:
            self.done += image.size
        return f"{image.algorithm} is the same; its file is removed"

    def _await_copy(self, glance: Glance, image: Image) -> None:
        """Wait until Ceph has all of an image.

        :raises ScsError: Glance gave up, or makes no progress
        """
        copied, since = 0, self.clock()
        while True:
            self.session.check()
            found = glance.image(image.id)
            if gone(found):
                raise GoneError
            assert found is not None
            if RBD in found.stores and RBD not in found.importing:
                return
            bytes_now, why = glance.task(image.id)
            if RBD not in found.importing:
                raise ScsError(f"Glance did not copy it: {why or 'see scs logs glance'}")
            if bytes_now > copied:
                copied, since = bytes_now, self.clock()
            if self.clock() - since > PATIENCE + image.size / SLOWEST:
                raise ScsError(
                    f"its copy makes no progress after {size(copied)}; Glance lets go of an import that was "
                    "interrupted after an hour"
                )
            self.access.say("now", f"{image.title}: {self.progress(copied)}")
            self.sleep(INTERVAL)

    def progress(self, copied: int) -> str:
        """How much of all images is copied."""
        return f"{size(self.done + copied)} of {size(self.total)}"

    def compare(self, image: Image) -> None:
        """Read what is in Ceph.

        :raises ScsError: it is not the image; the copy is removed
        """
        self.access.say("now", f"{image.title}: reading it back from Ceph")
        found = self._read(image)
        if (found["size"], found["digest"]) == (image.size, image.digest):
            return
        text = (
            f"what Ceph has is not the image: {found['size']} bytes, {image.algorithm} {str(found['digest'])[:16]}..., "
            f"not {image.size} bytes, {image.digest[:16]}..."
        )
        with state.glance_session(self.region) as glance:
            try:
                glance.drop(image.id, RBD)
            except ScsError as error:
                raise ScsError(f"{text}; this copy is used, and could not be removed: {error.message}") from None
        raise ScsError(f"{text}; the copy is removed, the file stays")

    def _read(self, image: Image) -> dict[str, object]:
        argv = ("python3", "-c", program(), image.id, image.algorithm)
        command = Command(container="glance", argv=argv, timeout=round(PATIENCE + image.size / SLOWEST))
        said = "no host runs Glance"
        for host in self.hosts:
            answers = self.access.run({host: [command]})
            if host not in answers.by_host:
                said = f"{host}: {answers.unreachable.get(host, 'no answer')}"
                continue
            answer = answers.by_host[host][0]
            if answer.code == 0:
                found: dict[str, object] = json.loads(answer.output[answer.output.index("{") :])
                return found
            said = f"{host}: {' '.join(answer.output.split())[-300:]}"
        raise ScsError(f"the copy cannot be read back, so the file stays: {said}")

    def wait_for_hosts(self, moved: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Wait until no host has files of these images; which still have some, e.g. because they are away."""
        left: dict[str, tuple[str, ...]] = {}

        def remaining() -> str:
            nonlocal left
            left = self._left(moved)
            return f"{', '.join(sorted(left))} still remove files" if left else ""

        self.access.wait(remaining, LINGER, INTERVAL)
        return left

    def _left(self, moved: Sequence[str]) -> dict[str, tuple[str, ...]]:
        command = Command(container="glance_replica", argv=("ls", FOLDER))
        answers = self.access.run({h: [command] for h in self.hosts})
        names = {h: set(a[0].output.split()) if a[0].code == 0 else set(moved) for h, a in answers.by_host.items()}
        names |= {h: set(moved) for h in answers.unreachable}
        return {h: own for h, files in names.items() if (own := tuple(i for i in moved if i in files))}


class GoneError(Exception):
    """Somebody deleted the image."""


def gone(image: Image | None) -> bool:
    """Whether somebody deleted an image."""
    return image is None or image.status in ("deleted", "pending_delete")


@lru_cache(maxsize=1)
def program() -> str:
    """`image_hash.py`, which travels along with each use."""
    return (Path(ceph.__path__[0]) / "image_hash.py").read_text(encoding="utf-8")
