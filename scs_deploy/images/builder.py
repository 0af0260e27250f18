# SPDX-License-Identifier: Apache-2.0
"""Build the images of a release from packages with the Docker engine. Only images with changed inputs are built."""

from __future__ import annotations

import hashlib
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic import ValidationError

from scs_deploy.base.errors import ScsError
from scs_deploy.environment.option_lists import OptionList
from scs_deploy.images import apt, base, go, options, python
from scs_deploy.images import packages as pkg
from scs_deploy.images.events import Event, OnEvent, State, ignore
from scs_deploy.images.packages import Package
from scs_deploy.images.recipe import (
    File,
    Recipe,
    build_order,
    inputs_hash,
    load_recipes,
    main_root,
    recipe_key,
    root_of,
    select_pins,
)
from scs_deploy.images.store import Store
from scs_deploy.images.workbench import Workbench
from scs_deploy.spec import users
from scs_deploy.spec.release import Release
from scs_deploy.spec.users import User

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.images import Image

WORKERS = 2
"""Concurrent builds: one installs while another downloads or commits. More would only compete for the disk."""

LIST = f"{apt.DPKG_QUERY}\n{python.QUERY}{go.LIST}"
"""Script that prints all packages of an image."""

LABEL_IMAGE, LABEL_RELEASE, LABEL_INPUTS, LABEL_RECIPE = "scs.image", "scs.release", "scs.inputs", "scs.recipe"


class Built(NamedTuple):
    """An image of the release on this manager."""

    image_id: str
    inputs: str
    state: State
    seconds: float


Find = Callable[[str, str], bool]
"""(image, inputs) -> whether the region's registry has the image. If so, it is now tagged on this manager."""


class Own(NamedTuple):
    """What an environment adds to a release."""

    environment: str = ""
    users: Mapping[str, User] = {}
    """of its own images"""


def local_tag(image: str, release: str) -> str:
    """Tag of an image of the release on this manager."""
    return f"scs/{image}:{release}"


class Builder:
    """Builds one release.

    :param find: called before an image is built from packages
    :param ca_bundle: CA certificates that builds trust in addition to those of the image
    :param unpinned: ignore the pins of Python packages, in order to update them
    :param own: what the environment adds to the release
    """

    def __init__(
        self,
        engine: DockerClient,
        release: Release,
        store: Store,
        on_event: OnEvent = ignore,
        find: Find | None = None,
        ca_bundle: Path | None = None,
        unpinned: bool = False,
        own: Own = Own(),
    ) -> None:
        self.engine = engine
        self.release = release
        self.store = store
        self.on_event = on_event
        self.find = find
        self.ca_bundle = ca_bundle
        self.own = own
        self.recipes = load_recipes(release)
        self.pins = {} if unpinned else select_pins(self.recipes, release)
        self.volume = f"scs-images-{release.name}"
        self.built: dict[str, Built] = {}
        self.fingerprints: dict[str, str] = {}
        """image without a parent: of its package lists"""
        self._earlier = store.resolved()
        self._resolved: dict[str, dict[str, str]] = {}
        self._download = threading.Lock()

    def build(self, names: tuple[str, ...] = (), on_built: Callable[[str], None] | None = None) -> dict[str, Built]:
        """Build the missing and changed images of `names` (default: all) and of their ancestors.

        :param on_built: called for each finished image
        :raises RefusedError: unknown image, invalid recipe, or another build is running
        :raises ScsError: a build failed
        """
        order = build_order(self.recipes, names)
        tell = on_built or (lambda _name: None)
        with self.store.alone():
            for name in (n for n in order if self.recipes[n].parent is None):
                self.built[name] = self._base(name)
                tell(name)
            self._rest([n for n in order if n not in self.built], tell)
            self.store.remember_resolved({**self._earlier, **self._resolved} if names else self._resolved)
            if any(b.state == "built" for b in self.built.values()) and not names:
                self._forget_old_packages()
            # replaced images; children keep their old parents until they are rebuilt
            self.engine.images.prune(filters={"dangling": True, "label": [f"{LABEL_RELEASE}={self.release.name}"]})
        return self.built

    def _rest(self, waiting: list[str], tell: Callable[[str], None]) -> None:
        running: dict[Future[Built], str] = {}
        with ThreadPoolExecutor(max_workers=WORKERS) as pool:
            try:
                while waiting or running:
                    while len(running) < WORKERS:
                        ready = next((n for n in waiting if self.recipes[n].parent in self.built), None)
                        if ready is None:
                            break
                        waiting.remove(ready)
                        running[pool.submit(self._image, ready)] = ready
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        name = running.pop(future)
                        self.built[name] = future.result()
                        tell(name)
            except BaseException:
                # stop the running builds: without their containers, their steps fail
                self._remove_containers(tuple(running.values()))
                raise

    # images without a parent

    def _base(self, name: str) -> Built:
        start = time.monotonic()
        recipe = self.recipes[name]
        key = self.key(name)
        if present := self._adopt(name, LABEL_RECIPE, key):
            self._say(name, "update package lists")
            if not self.prepare(name):
                return self._done(name, Built(str(present.id), present.labels[LABEL_INPUTS], "reused", start))
        self._say(name, "mmdebstrap")
        with tempfile.TemporaryDirectory(prefix="scs-base-") as folder:
            archive = Path(folder) / "base.tar"
            packages = base.make(self.release, recipe, users.load(), archive, self.store.log(name))
            inputs = inputs_hash(key, None, pkg.versions(packages))
            self._say(name, "import")
            self._import(name, recipe, archive, self._labels(name, inputs, key, len(packages)))
        image_id = str(self.engine.images.get(self.tag(name)).id)
        self.store.remember_packages(image_id, packages)
        self._say(name, "update package lists")
        self.prepare(name)
        return self._done(name, Built(image_id, inputs, "built", start))

    def _import(self, name: str, recipe: Recipe, archive: Path, labels: Mapping[str, str]) -> None:
        import json

        changes = [f"ENTRYPOINT {json.dumps(recipe.entrypoint or [])}"]
        changes += [f"ENV {k}={v}" for k, v in recipe.environment.items()]
        changes += [f'LABEL {k}="{v}"' for k, v in labels.items()]
        self.engine.api.import_image_from_file(
            str(archive), repository=f"scs/{name}", tag=self.release.name, changes=changes
        )

    def prepare(self, name: str) -> bool:
        """Fill the builder's volume and update the package lists for all images from one without a parent.

        Returns true if that one has updates.
        """
        with Workbench(self.engine, self.tag(name), name, self.volume_of(name), self.store.log(name)) as bench:
            bench.shell(
                f"cd {apt.WORK} && mkdir -p bin lib private lists/partial archives/partial && rm -f private/*",
                what="prepare",
            )
            bench.write(
                (
                    File(path=f"{apt.WORK}/apt.conf", content=apt.SETTINGS + apt.inherited_settings()),
                    File(path=f"{apt.WORK}/bin/py3compile", content=apt.PY3COMPILE, mode="0755"),
                )
            )
            bench.shell("apt-get update --error-on=any", what="apt-get update")
            bench.shell(apt.FASTER, what="libeatmydata")
            if self.release.python and not self.recipes[name].suites:
                bench.shell(python.FETCH, what="pip")
            if self.ca_bundle:
                bench.write((File(path=python.BUNDLE, content=self.ca_bundle.read_text(encoding="utf-8")),))
            fingerprint = bench.shell(apt.FINGERPRINT, what="fingerprint of the lists").strip()
            self.fingerprints[name] = fingerprint
            question = _question(name, fingerprint, "")
            if question in self._earlier:
                updates = self._earlier[question]
            else:
                updates = apt.parse_simulation(bench.shell(apt.upgrade(), what="updates of the base image"))
            if not updates:
                self._resolved[question] = updates
            return bool(updates)

    # all others

    def _image(self, name: str) -> Built:
        start = time.monotonic()
        recipe = self.recipes[name]
        assert recipe.parent
        parent = self.built[recipe.parent]
        key = self.key(name)
        question = _question(key, parent.inputs, self.fingerprints[root_of(self.recipes, name)])
        if (packages := self._earlier.get(question)) is not None:
            inputs = inputs_hash(key, parent.inputs, packages)
            if reused := self._reuse(name, inputs, start):
                self._resolved[question] = packages
                return self._done(name, reused)
        log = self.store.log(name)
        log.unlink(missing_ok=True)
        with Workbench(self.engine, parent.image_id, name, self.volume_of(name), log) as bench:
            if self.find or self.engine.images.list(filters={"label": f"{LABEL_IMAGE}={name}"}):
                self._say(name, "resolve packages")
                packages = {
                    **apt.parse_simulation(
                        bench.shell(apt.install(recipe.packages, "--simulate"), what="resolve packages")
                    ),
                    **self._compiler(bench, recipe),
                }
                inputs = inputs_hash(key, parent.inputs, packages)
                if reused := self._reuse(name, inputs, start):
                    self._resolved[question] = packages
                    return self._done(name, reused)
            return self._done(name, self._make(bench, name, key, question, start))

    def _make(self, bench: Workbench, name: str, key: str, question: str, start: float) -> Built:
        recipe = self.recipes[name]
        assert recipe.parent
        parent = self.built[recipe.parent]
        self._users(bench, name)
        bench.write(recipe.files)
        self._say(name, "wait for the download of another image")
        with self._download:
            self._say(name, "download")
            bench.shell(apt.install(recipe.packages, "--download-only"), what="download")
        self._say(name, "install")
        bench.shell(apt.PRELOAD + apt.install(recipe.packages, "--no-download"), what="apt-get install")
        self._python(bench, name)
        self._go(bench, recipe)
        passwd, _, group = bench.shell("cat /etc/passwd; echo; cat /etc/group", what="users").partition("\n\n")
        if wrong := users.differences(passwd, group, self.users_of(name)):
            raise ScsError(f"image {name}: a package changed fixed IDs: {'; '.join(wrong)}", "see images/users.yml")
        if recipe.run:
            self._say(name, "finish")
            bench.shell("\n".join(recipe.run), what="run")
        self._say(name, "compile")
        compile_all = apt.COMPILE + (python.COMPILE if recipe.python else "")
        bench.shell(compile_all + apt.CLEAN, what="compile and clean up")
        packages = pkg.parse(bench.shell(LIST, what="list packages"))
        # updates of Go's own library are in programs only after they were compiled again
        own = {**pkg.debian(pkg.own(packages, self.packages(recipe.parent))), **self._compiler(bench, recipe)}
        inputs = inputs_hash(key, parent.inputs, own)
        self._say(name, "commit")
        image_id = bench.commit(f"scs/{name}", self.version(name), self._config(name, inputs, key, len(packages)))
        self.store.remember_packages(image_id, packages)
        self._resolved[question] = own
        return Built(image_id, inputs, "built", start)

    def _users(self, bench: Workbench, name: str) -> None:
        """Create the users of an own image that its parent, which may be another own image, does not have."""
        own = self.users_of(name)
        if own and self.recipes[name].parent not in self.release.own:
            commands = base.user_commands({**users.load(), **own}, only=own)
            bench.shell("set -e\n" + "\n".join(c for c in commands if c), what="users")

    def _python(self, bench: Workbench, name: str) -> None:
        """Install the image's Python packages that its parent does not have."""
        recipe = self.recipes[name]
        assert recipe.parent
        if recipe.python:
            there = pkg.versions(self.packages(recipe.parent))
            missing = {n: p for n, p in self.pins[name].items() if there.get(f"{pkg.PYPI}{n}") != p.version}
            bench.write(python.requirements(bench.hostname, missing))
            self._say(name, "install Python packages")
            bench.shell(python.INSTALL, what="pip install", environment=python.environment(bool(self.ca_bundle)))
        if recipe.system_site_packages:
            bench.shell(python.SYSTEM_SITE_PACKAGES, what="virtualenv")

    def _compiler(self, bench: Workbench, recipe: Recipe) -> dict[str, str]:
        """package: version of the compiler that the image's programs are built with; empty: none is."""
        return go.parse_compiler(bench.shell(go.ASK, what="version of Go")) if recipe.go else {}

    def _go(self, bench: Workbench, recipe: Recipe) -> None:
        """Compile and install the image's Go programs."""
        if recipe.go:
            self._say(recipe.name, "download Go")
            bench.shell(go.FETCH, what="Go")
        for module in recipe.go:
            self._say(recipe.name, f"compile {module.module}")
            what = f"{module.module} {module.version}"
            bench.shell(go.build(module), what=what, environment=go.environment(bool(self.ca_bundle)))

    def _reuse(self, name: str, inputs: str, start: float) -> Built | None:
        if present := self._adopt(name, LABEL_INPUTS, inputs):
            return Built(str(present.id), inputs, "reused", start)
        if self.find and self.find(name, inputs):
            return Built(str(self.engine.images.get(self.tag(name)).id), inputs, "pulled", start)
        return None

    def _config(self, name: str, inputs: str, key: str, packages: int) -> dict[str, object]:
        recipe = self.recipes[name]
        entrypoint, current = recipe.entrypoint, recipe
        while entrypoint is None and current.parent:
            current = self.recipes[current.parent]
            entrypoint = current.entrypoint
        config: dict[str, object] = {
            "Entrypoint": list(entrypoint or ()),
            "Cmd": [],
            "Env": [f"{k}={v}" for k, v in recipe.environment.items()],
            "Labels": self._labels(name, inputs, key, packages),
        }
        if recipe.stop_signal:
            config["StopSignal"] = recipe.stop_signal
        return config

    def _labels(self, name: str, inputs: str, key: str, packages: int) -> dict[str, str]:
        return {
            LABEL_IMAGE: name,
            LABEL_RELEASE: self.release.name,
            LABEL_INPUTS: inputs,
            LABEL_RECIPE: key,
            "scs.packages": str(packages),
            "org.opencontainers.image.title": f"scs/{name}",
            "org.opencontainers.image.version": self.release.name,
            "org.opencontainers.image.description": self.recipes[name].description,
        }

    # images on this manager

    def tag(self, name: str) -> str:
        """The image's tag on this manager."""
        return local_tag(name, self.version(name))

    def version(self, name: str) -> str:
        """The tag without the image's name. Environments may have different own images of the same name."""
        return f"{self.release.name}-{self.own.environment}" if name in self.release.own else self.release.name

    def users_of(self, name: str) -> Mapping[str, User]:
        """The users that an image has beside the shipped ones: an own image those of its environment."""
        return self.own.users if name in self.release.own else {}

    def local(self, name: str) -> Image | None:
        """The image on this manager; None if it is missing."""
        from docker.errors import ImageNotFound

        try:
            return self.engine.images.get(self.tag(name))
        except ImageNotFound:
            return None

    def key(self, name: str) -> str:
        """The image's `recipe_key`."""
        return recipe_key(self.recipes[name], self.release, self.pins.get(name, {}), self.users_of(name))

    def volume_of(self, name: str) -> str:
        """The volume with the package lists and downloads for an image: one for each distribution."""
        root = root_of(self.recipes, name)
        return f"{self.volume}-{root}" if self.recipes[root].suites else self.volume

    def root(self) -> str | None:
        """The image without a parent that has the release's suites, if this manager has one of the current recipe."""
        name = main_root(self.recipes)
        return name if self._adopt(name, LABEL_RECIPE, self.key(name)) else None

    def _adopt(self, name: str, label: str, value: str) -> Image | None:
        """Find the newest image on this manager with a label, and tag it for this release.

        Equal inputs yield an equal image, so releases share images: an upgrade does not replace them.
        """
        images = self.engine.images.list(filters={"label": [f"{LABEL_IMAGE}={name}", f"{label}={value}"]})
        newest: Image | None = max(images, key=lambda image: str(image.attrs["Created"]), default=None)
        if newest:
            newest.tag(f"scs/{name}", self.version(name))
        return newest

    def packages(self, name: str) -> tuple[Package, ...]:
        """All packages of an image on this manager.

        :raises ScsError: the image is missing
        """
        image = self.local(name)
        if image is None:
            raise ScsError(f"image {self.tag(name)} is missing on this manager", f"scs images build {name}")
        image_id = str(image.id)
        known = self.store.packages(image_id)
        if known is None:
            known = pkg.parse(self._ask(image_id, LIST))
            self.store.remember_packages(image_id, known)
        return known

    def licenses(self, name: str) -> dict[str, list[str]]:
        """package: licenses in its copyright file or metadata, of an image on this manager."""
        tag = self.tag(name)
        licenses = apt.parse_licenses(self._ask(tag, apt.LICENSES))
        return {**licenses, **python.parse_licenses(self._ask(tag, python.LICENSES))}

    def options(self, name: str) -> OptionList | None:
        """The options that the programs of an image on this manager read; None: it contains no OpenStack.

        An image from elsewhere may be unable to tell; the log says why.
        """
        from docker.errors import ContainerError

        image_id = str(self.engine.images.get(self.tag(name)).id)
        known = self.store.options(image_id)
        if known is not None:
            with suppress(ValidationError):
                return options.parse(known)
        try:
            output = self._ask(image_id, options.LIST)
            found = options.parse(output)
        except (ContainerError, ValidationError) as error:
            said = getattr(error, "stderr", None) or str(error)
            with self.store.log(name).open("a", encoding="utf-8") as log:
                log.write(f"\n### list options\n{said.decode(errors='replace') if isinstance(said, bytes) else said}\n")
            return None
        self.store.remember_options(image_id, output)
        return found

    def _ask(self, image: str, script: str) -> str:
        output: bytes = self.engine.containers.run(
            image, entrypoint=["sh", "-c", script], command=[], user="root", remove=True, network_mode="none"
        )
        return output.decode()

    # helpers

    def _say(self, name: str, step: str) -> None:
        self.on_event(Event(name, "running", step))

    def _done(self, name: str, built: Built) -> Built:
        built = built._replace(seconds=time.monotonic() - built.seconds)
        self.on_event(Event(name, built.state, seconds=built.seconds))
        return built

    def _remove_containers(self, names: tuple[str, ...]) -> None:
        from docker.errors import APIError

        for name in names:
            with suppress(APIError):
                self.engine.containers.get(f"scs-build-{name}").remove(force=True)

    def _forget_old_packages(self) -> None:
        """Remove .deb files that the suites no longer provide from the volume."""
        for name in (n for n in self.built if self.recipes[n].parent is None):
            with Workbench(self.engine, self.tag(name), name, self.volume_of(name), self.store.log(name)) as bench:
                bench.shell("apt-get autoclean", what="forget old packages")


def _question(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
