# SPDX-License-Identifier: Apache-2.0
"""The builder's cache on this manager: logs, packages of images, and earlier results of apt's resolver.

Everything in it can be deleted. The builder then determines it again.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.files import replace
from scs_deploy.images import options
from scs_deploy.images import packages as pkg
from scs_deploy.images.packages import Package


class Store:
    """The builder's folder for one release, by default in XDG_CACHE_HOME."""

    def __init__(self, release: str, folder: Path | None = None) -> None:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        self.folder = (folder or cache / "scs" / "images") / release
        (self.folder / "packages").mkdir(parents=True, exist_ok=True)

    def log(self, image: str) -> Path:
        """The log of an image's last build."""
        return self.folder / f"{image}.log"

    def packages(self, image_id: str) -> tuple[Package, ...] | None:
        """The cached packages of an image."""
        path = self.folder / "packages" / f"{image_id.removeprefix('sha256:')}.tsv"
        return pkg.parse(path.read_text(encoding="utf-8")) if path.is_file() else None

    def remember_packages(self, image_id: str, packages: tuple[Package, ...]) -> None:
        """Cache the packages of an image, which never change."""
        path = self.folder / "packages" / f"{image_id.removeprefix('sha256:')}.tsv"
        replace(path, pkg.write(packages))

    def options(self, image_id: str) -> str | None:
        """The cached output of the image's list of options and rules."""
        path = self._options(image_id)
        return path.read_text(encoding="utf-8") if path.is_file() else None

    def remember_options(self, image_id: str, output: str) -> None:
        """Cache the options of an image, which never change, as this version of the program lists them."""
        replace(self._options(image_id), output)

    def _options(self, image_id: str) -> Path:
        return self.folder / "packages" / f"{image_id.removeprefix('sha256:')}.options.{options.VERSION}.json"

    def resolved(self) -> dict[str, dict[str, str]]:
        """Cached results of apt's resolver: key of the query: {package: version}."""
        try:
            data: dict[str, dict[str, str]] = json.loads((self.folder / "resolved.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return data

    def remember_resolved(self, resolved: dict[str, dict[str, str]]) -> None:
        """Cache the resolver's results of this run and drop earlier ones."""
        replace(self.folder / "resolved.json", json.dumps(resolved, sort_keys=True))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the builder's lock.

        :raises RefusedError: another process is building images of this release
        """
        with (self.folder / "lock").open("a+", encoding="utf-8") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                handle.seek(0)
                raise RefusedError(
                    f"process {handle.read().strip()} is building images", "wait until it finishes"
                ) from None
            handle.truncate(0)
            handle.write(str(os.getpid()))
            handle.flush()
            yield
