# SPDX-License-Identifier: Apache-2.0
"""Where the text of a container's file comes from: a template to render, or a program to copy verbatim."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from scs_deploy.base import paths
from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import where
from scs_deploy.spec.service import Service


def source(service: Service, container: str, name: str) -> Path:
    """The file behind a config entry; its suffix is `.j2` when it is a template.

    :raises RefusedError: there is none, or more than one, naming service.yml and key
    """
    found = candidates(service.directory, service.layer, name)
    if len(found) == 1:
        return found[0]
    spec = service.containers[container]
    index = next(i for i, f in enumerate(spec.config) if f.name == name)
    at = where(service.directory / "service.yml", ("containers", container, "config", index))
    if found:
        raise RefusedError(f"{at}: '{name}' has more than one source: {', '.join(map(str, found))}", "keep one of them")
    raise RefusedError(
        f"{at}: '{name}' has no source",
        f"write the template {service.directory / name}.j2 or the program {service.directory / 'files' / name}",
    )


@lru_cache(maxsize=4096)
def candidates(directory: Path, layer: str, name: str) -> tuple[Path, ...]:
    """The templates and programs of that name: those of a service in `directory`, of its layer, of core."""
    places = [directory / f"{name}.j2", directory / "files" / name]
    for shared in dict.fromkeys((layer, "core")):
        places += [paths.layer(shared) / "templates" / f"{name}.j2", paths.layer(shared) / "files" / name]
    return tuple(p for p in places if p.is_file())
