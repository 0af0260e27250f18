# SPDX-License-Identifier: Apache-2.0
"""The images of a region: build them, push them to its registry, and lock them."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from scs_deploy.base import docker_engine
from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.environment import option_lists, own, release_lock
from scs_deploy.environment.environment import Environment
from scs_deploy.environment.option_lists import OptionList
from scs_deploy.images import advisories, collection, python, registry, sbom
from scs_deploy.images import packages as pkg
from scs_deploy.images.builder import LABEL_INPUTS, LABEL_RECIPE, Builder, Built, Own, local_tag
from scs_deploy.images.difference import Advisory, ImageChange, advised, difference
from scs_deploy.images.events import Event, OnEvent, ignore
from scs_deploy.images.recipe import root_of
from scs_deploy.images.store import Store
from scs_deploy.images.workbench import Workbench
from scs_deploy.spec.release import Lock, LockedImage
from scs_deploy.state.lock import Holder, awaited_lock


class Result(NamedTuple):
    """The result of a build or push."""

    images: dict[str, Built]
    pushed: tuple[str, ...]
    lock_changed: bool
    difference: tuple[ImageChange, ...] = ()
    """the changes in the new lock"""
    forgotten: collection.Forgotten = collection.NOTHING
    """the images that were removed from the registry"""


class RegionImages:
    """The images of one environment.

    :param ca_bundle: CA certificates that builds trust; default: the manager's
    :param patience: seconds to wait for a run to end before the release lock is written; None: as long as it takes
    :raises RefusedError: the release, a recipe or the bundle is invalid
    """

    def __init__(
        self, environment: Environment, on_event: OnEvent = ignore, ca_bundle: Path | None = None,
        patience: float | None = None,
    ) -> None:  # fmt: skip
        self.environment = environment
        self._patience = patience
        self.release = own.load_release(environment)
        self.engine = docker_engine.connect()
        self.on_event = on_event
        self.lock = release_lock.current(environment)
        self._known_images = {**release_lock.written(environment).images, **self.lock.images}
        store, trusted = Store(self.release.name), python.bundle(ca_bundle)
        mine = Own(environment.name, own.load_users(environment))
        self.builder = Builder(self.engine, self.release, store, on_event, self._find, trusted, own=mine)
        self.api: registry.Api | None = None
        self._locked: dict[str, LockedImage] = {}
        self._options: dict[str, OptionList] = {}
        self._pushed: list[str] = []

    @property
    def managed(self) -> bool:
        """Whether this manager runs the registry."""
        return self.environment.settings.registry.managed

    def build(self, names: tuple[str, ...] = (), push: bool = True) -> Result:
        """Build missing and changed images, push those that the registry lacks, and write the lock.

        :param names: default: all images of the release
        :raises RefusedError: invalid recipe, unknown image, or no certificate for the registry
        :raises ScsError: a build or push failed
        """
        self._known(names)
        references = {n: s.reference for n, s in self.release.images.items() if s.reference}
        recipes = tuple(n for n in names if n not in references)
        if push and self.managed:
            if recipes and "registry" not in (*recipes, *references):
                recipes = (*recipes, "registry")
            if self.builder.local("registry"):
                self._start_registry()
        before = self.lock
        with collection.pushing(self.environment):
            with _Pusher(self, enabled=push) as pusher:
                for name, reference in references.items():
                    if not names or name in names:
                        self._take(name, reference)
                        pusher.add(name)
                built = self.builder.build(recipes, pusher.add) if recipes or not names else {}
            changed = self._write_lock() if push else False
        changes = self._difference(before) if changed else ()
        return Result(built, tuple(self._pushed), changed, changes, self._collect())

    def _difference(self, before: Lock) -> tuple[ImageChange, ...]:
        changes = difference(before, self.lock)
        builder = self.builder
        found: dict[tuple[str, str], Advisory] = {}
        # each distribution knows of its own packages only
        for base in (n for n in builder.built if builder.recipes[n].parent is None):
            of_base = [c for c in changes if c.image in builder.recipes and root_of(builder.recipes, c.image) == base]
            if wanted := advisories.updates(of_base):
                self.on_event(Event(base, "running", "advisories"))
                volume, log = builder.volume_of(base), builder.store.log(base)
                with Workbench(self.engine, builder.tag(base), base, volume, log) as bench:
                    found |= advisories.ask(bench, wanted)
        return advised(changes, found) if found else changes

    def push(self, names: tuple[str, ...] = ()) -> Result:
        """Push images that are on this manager without building them, and write the lock.

        :raises RefusedError: an image is missing on this manager
        """
        wanted = names or tuple(self.release.images)
        self._known(wanted)
        for name in wanted:
            if self.builder.local(name) is None:
                raise RefusedError(
                    f"image {self.builder.tag(name)} is missing on this manager", f"scs images build {name}"
                )
        if self.managed:
            self._start_registry()
        with collection.pushing(self.environment):
            for name in wanted:
                self.push_one(name)
            changed = self._write_lock()
        return Result({}, tuple(self._pushed), changed, forgotten=self._collect())

    def complete(self, names: tuple[str, ...] = ()) -> bool:
        """Whether the images (default: all) are locked, in the registry, and built from the current recipes.

        Does not check mirrors for package updates; `build` does.
        """
        wanted = set(names or self.release.images)
        self._known(tuple(wanted))
        if not wanted <= set(self.lock.images) or not self.builder.local("node"):
            return False
        if self.managed:
            if not self.builder.local("registry"):
                return False
            self._start_registry()
        api = self.api or registry.Api(self.environment)
        for name in wanted:
            entry = self.lock.images[name]
            labels = api.labels(entry)
            recipe = self.builder.recipes.get(name)
            if labels is None or (recipe and labels.get(LABEL_RECIPE) != self.builder.key(name)):
                return False
        return True

    def rows(self) -> list[dict[str, Any]]:
        """Every image of the release: built or not, size in bytes, creation time, packages, and digest in the lock."""
        rows = []
        for name in self.release.images:
            image = self.builder.local(name)
            entry = self.lock.images.get(name)
            rows.append(
                {
                    "image": name,
                    "built": image is not None,
                    "size": int(image.attrs["Size"]) if image else None,
                    "created": image.attrs["Created"] if image else None,
                    "packages": int(image.labels.get("scs.packages", 0)) if image else None,
                    "digest": entry.digest if entry else None,
                }
            )
        return rows

    def sbom(self, name: str) -> dict[str, Any]:
        """The SPDX document of an image on this manager.

        :raises RefusedError: the release has no such image, or it is missing on this manager
        """
        self._known((name,))
        image = self.builder.local(name)
        if image is None:
            raise RefusedError(f"image {self.builder.tag(name)} is missing on this manager", f"scs images build {name}")
        created = f"{image.attrs['Created'][:19]}Z"
        return sbom.document(
            name, self.release.name, str(image.id), created, self.builder.packages(name), self.builder.licenses(name)
        )

    def push_one(self, name: str) -> None:
        """Push one image unless the registry has the locked image with the same inputs."""
        if self.api is None:
            self._start_registry()
        assert self.api
        start = time.monotonic()
        image = self.engine.images.get(self.builder.tag(name))
        self.on_event(Event(name, "running", "list options"))
        if known := self.builder.options(name):
            self._options[name] = known
        # includes the images of the previous release, which the registry has
        entry = self._known_images.get(name)
        # images that scs did not build have no such label
        inputs = image.labels.get(LABEL_INPUTS)
        if entry and inputs and (self.api.labels(entry) or {}).get(LABEL_INPUTS) == inputs:
            self._locked[name] = entry
            self.on_event(Event(name, "present"))
            return
        self.on_event(Event(name, "running", "push"))
        digest = self._push(name)
        if entry and entry.digest == digest:
            self._locked[name] = entry
            self.on_event(Event(name, "present"))
            return
        recipe = self.builder.recipes.get(name)
        parent = self.builder.packages(recipe.parent) if recipe and recipe.parent else ()
        self._locked[name] = LockedImage(
            reference=f"scs/{name}",
            digest=digest,
            size=int(image.attrs["Size"]),
            packages=pkg.own(self.builder.packages(name), parent) if recipe else {},
        )
        self._pushed.append(name)
        self.on_event(Event(name, "pushed", seconds=time.monotonic() - start))

    def _known(self, names: tuple[str, ...]) -> None:
        """Reject unknown image names before anything changes."""
        for name in names:
            if name not in self.release.images:
                raise RefusedError(
                    f"release {self.release.name} has no image '{name}'", f"available: {', '.join(self.release.images)}"
                )

    def _push(self, name: str) -> str:
        repository = f"{registry.push_host(self.environment)}/scs/{name}"
        self.engine.images.get(self.builder.tag(name)).tag(repository, self.release.name)
        digest = ""
        for line in self.engine.api.push(repository, tag=self.release.name, stream=True, decode=True):
            if "error" in line:
                raise ScsError(f"image {name}: push to {repository}: {line['error']}")
            digest = line.get("aux", {}).get("Digest", digest)
        self.engine.images.remove(f"{repository}:{self.release.name}", noprune=True)
        if not digest:
            raise ScsError(f"image {name}: push to {repository}: the engine reported no digest")
        return digest

    def _take(self, name: str, reference: str) -> None:
        from docker.errors import APIError

        self.on_event(Event(name, "running", f"pull {reference}"))
        start = time.monotonic()
        try:
            self.engine.images.pull(reference).tag(f"scs/{name}", self.release.name)
        except APIError as error:
            raise ScsError(
                f"releases/{self.release.name}.yml: images.{name}.reference: {reference}: {error.explanation}"
            ) from None
        self.on_event(Event(name, "pulled", seconds=time.monotonic() - start))

    def _find(self, name: str, inputs: str) -> bool:
        """Pull and tag the locked image if the registry has it and it was built from `inputs`."""
        from docker.errors import APIError

        entry = self._known_images.get(name)
        if self.api is None or entry is None or (self.api.labels(entry) or {}).get(LABEL_INPUTS) != inputs:
            return False
        self.on_event(Event(name, "running", "pull from the registry"))
        try:
            reference = f"{registry.push_host(self.environment)}/{entry.reference}"
            image = self.engine.images.pull(f"{reference}@{entry.digest}")
        except APIError:
            return False
        return bool(image.tag(f"scs/{name}", self.builder.version(name)))

    def _start_registry(self) -> None:
        if self.managed:
            for name in registry.ensure(self.environment):
                self.on_event(Event("registry", "running", f"container {name}"))
        self.api = registry.Api(self.environment)

    def _collect(self) -> collection.Forgotten:
        # only a push makes older images unneeded
        if not self._pushed:
            return collection.NOTHING
        return collection.collect(self.environment)

    def _write_lock(self) -> bool:
        """Write the release lock and the lists of options, not while a run uses them."""
        try:
            with awaited_lock(self.environment, self._tell_waiting, self._patience):
                # another command may have written it since the build began
                self.lock = release_lock.merge(
                    release_lock.current(self.environment), self._locked, self.release.images
                )  # fmt: skip
                option_lists.save(self.environment.options_file, self._options, self.lock)
                return release_lock.save(self.lock, self.environment.lock_file)
        except RefusedError as error:
            raise RefusedError(
                f"{error.message}: the images are pushed, but {self.environment.lock_file.name} is not written",
                "repeat the command after that run; it builds nothing again",
            ) from None

    def _tell_waiting(self, holder: Holder | None) -> None:
        who = f"until `{holder.command}` of {holder.owner} ends" if holder else "until another run ends"
        self.on_event(Event(self.environment.lock_file.name, "running", f"waits {who}"))


class _Pusher:
    """Pushes images one at a time while others build, as soon as the registry runs."""

    def __init__(self, region: RegionImages, enabled: bool) -> None:
        self.region = region
        self.enabled = enabled
        self.waiting: list[str] = []
        self.pool = ThreadPoolExecutor(max_workers=1)
        self.running: list[Future[None]] = []

    def __enter__(self) -> _Pusher:
        return self

    def add(self, name: str) -> None:
        """Push an image, or queue it until the registry's own image is built."""
        if not self.enabled:
            return
        self.waiting.append(name)
        if name == "registry" and self.region.managed:
            self.running.append(self.pool.submit(self.region._start_registry))
        if name == "registry" or self.region.api or not self.region.managed:
            self.running += [self.pool.submit(self.region.push_one, n) for n in self.waiting]
            self.waiting = []

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.pool.shutdown(wait=True, cancel_futures=kind is not None)
        if kind is None:
            for future in self.running:
                future.result()


def build(
    environment: Environment, names: tuple[str, ...] = (), push: bool = True, on_event: OnEvent = ignore
) -> Result:
    """Build, push and lock images; see RegionImages.build."""
    return RegionImages(environment, on_event).build(names, push)


def ensure(environment: Environment, report: Callable[[str], None]) -> None:
    """Make sure that all images of the release are locked and in the registry.

    :param report: called with one line per image
    """

    def tell(event: Event) -> None:
        if event.state != "running":
            seconds = f" ({event.seconds:.0f} s)" if event.seconds and event.seconds >= 1 else ""
            report(f"image {event.image}: {event.state}{seconds}")

    region = RegionImages(environment, tell)
    if region.complete():
        report("images: up to date")
        return
    region.build()


__all__ = ["RegionImages", "Result", "build", "ensure", "local_tag"]
