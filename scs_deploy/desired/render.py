# SPDX-License-Identifier: Apache-2.0
"""Rendering: plain Jinja2 with StrictUndefined; templates are compiled once per process."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast

import jinja2

from scs_deploy.base import frozen, paths
from scs_deploy.base.errors import ScsError
from scs_deploy.base.model import Model
from scs_deploy.desired.quoting import FILTERS
from scs_deploy.spec.service import Service

T = TypeVar("T")


def _compiled() -> jinja2.BytecodeCache | None:
    """Compiled templates in the user's cache folder; compiling all of them takes a tenth of a second.

    They are code that this process runs, so a folder that other users can write to is not used.
    """
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scs" / "templates"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = folder.stat()
    except (OSError, RuntimeError):
        return None
    if owner.st_uid != os.geteuid() or stat.S_IMODE(owner.st_mode) & 0o077:
        return None
    return jinja2.FileSystemBytecodeCache(str(folder))


class _Loader(jinja2.FileSystemLoader):
    """Loads templates from folders; those that are frozen as they were then."""

    def get_source(self, environment: jinja2.Environment, template: str) -> tuple[str, str, Callable[[], bool]]:
        """See FileSystemLoader."""
        found = (Path(folder) / template for folder in self.searchpath)
        file = next((f for f in found if frozen.is_frozen(f)), None)
        if file is None:
            return super().get_source(environment, template)
        return frozen.read_text(file), str(file), lambda: True


@lru_cache(maxsize=64)
def _jinja(directories: tuple[str, ...]) -> jinja2.Environment:
    env = jinja2.Environment(
        loader=_Loader(directories),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - configuration files, not HTML
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        auto_reload=False,
        bytecode_cache=_compiled() if directories else None,
    )
    env.filters.update(FILTERS)
    return env


def environment_for(service: Service) -> jinja2.Environment:
    """Jinja environment of a service: its directory, its layer's templates/, core's templates/."""
    return _jinja(_directories(service.directory, service.layer))


@lru_cache(maxsize=256)
def _directories(directory: Path, layer: str) -> tuple[str, ...]:
    # called for every file of every host: without the cache, this takes a third of a large region's rendering time
    return str(directory), str(paths.layer(layer) / "templates"), str(paths.layer("core") / "templates")


@lru_cache(maxsize=4096)
def _leaf(source: str) -> jinja2.Template:
    return _jinja(()).from_string(source)


def leaf(source: str, scope: Mapping[str, Any], where: str) -> str:
    """Render a string of a spec. Strings without Jinja are returned unchanged.

    :param where: the string's name in errors
    :raises ScsError: the string does not render
    """
    if "{" not in source or ("{{" not in source and "{%" not in source):
        return source
    try:
        return str(_leaf(source).render(scope))
    except jinja2.TemplateError as error:
        raise ScsError(f"{where}: {error}", "the template or a variable it uses is wrong") from None


def leaves(value: T, scope: Mapping[str, Any], where: str) -> T:
    """Render every string in a part of a spec, including those in sequences, mappings and models.

    :param where: the part's name in errors
    :raises ScsError: a string does not render
    """
    result: Any = value
    if isinstance(value, str) and not isinstance(value, Enum):
        result = leaf(value, scope, where)
    elif isinstance(value, tuple):
        result = tuple(leaves(v, scope, where) for v in value)
    elif isinstance(value, dict):
        result = {k: leaves(v, scope, f"{where}.{k}") for k, v in value.items()}
    elif isinstance(value, Model):
        result = value.model_copy(update={k: leaves(v, scope, f"{where}.{k}") for k, v in value if v is not None})
    return cast(T, result)


def text(service: Service, source: Path, scope: Mapping[str, Any]) -> str:
    """The content of a container's file: a rendered template, or an unchanged program.

    :param source: from `sources.source`
    :raises ScsError: the template does not render, naming file and line
    """
    return template(service, source.name, scope) if source.suffix == ".j2" else _program(source)


@lru_cache(maxsize=1024)
def _program(path: Path) -> str:
    # identical on every host
    return frozen.read_text(path)


def template(service: Service, name: str, scope: Mapping[str, Any]) -> str:
    """Render a template file of a service.

    :raises ScsError: the template is missing or does not render, naming file and line
    """
    env = environment_for(service)
    try:
        return env.get_template(name).render(scope)
    except jinja2.TemplateNotFound as error:
        raise ScsError(f"{service.directory / str(error.name)}: no such template") from None
    except jinja2.TemplateSyntaxError as error:
        raise ScsError(f"{error.filename}:{error.lineno}: {error.message}") from None
    except (jinja2.TemplateError, ValueError) as error:
        raise ScsError(
            f"{service.directory / name}{_line(error, name)}: {error}", "a variable that the template uses is wrong"
        ) from None


def _line(error: BaseException, name: str) -> str:
    line = 0
    trace = error.__traceback__
    while trace:
        if trace.tb_frame.f_code.co_filename.endswith(name):
            line = trace.tb_lineno
        trace = trace.tb_next
    return f":{line}" if line else ""
