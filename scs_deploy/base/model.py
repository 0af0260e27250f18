# SPDX-License-Identifier: Apache-2.0
"""Load YAML into frozen pydantic models, with errors that name file, line and key."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, GetCoreSchemaHandler, ValidationError
from pydantic_core import CoreSchema

from scs_deploy.base import nesting
from scs_deploy.base.errors import RefusedError
from scs_deploy.base.reading import read_text
from scs_deploy.base.shown import shown


def at(address: str, port: int) -> str:
    """`address:port`, with an IPv6 address in brackets."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


class Model(BaseModel):
    """Base class of everything read from a file. Unknown keys are errors; instances are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _make_strict(part: Any) -> None:
    """Make all numbers and booleans of a schema strict. Defaults, which may be models, are left alone."""
    if isinstance(part, dict):
        if part.get("type") in ("int", "float", "bool"):
            part["strict"] = True
        for key, value in part.items():
            if key not in ("default", "metadata", "serialization"):
                _make_strict(value)
    elif isinstance(part, list | tuple):
        for item in part:
            _make_strict(item)


class Written(Model):
    """Base class of what people write: numbers and booleans are never converted from another type.

    Otherwise `mtu: "1_500"` would be 1500, `mtu: true` 1 and `managed: "off"` false.
    """

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema = handler(source)
        _make_strict(schema)
        return schema


def _text_only(value: Any) -> Any:
    """:raises ValueError: a number or a boolean: 10 would be the address 0.0.0.10"""
    if isinstance(value, bool | int | float | bytes):
        raise ValueError(f"expected text such as 192.0.2.1, got {value!r}")
    return value


IPAddress = Annotated[IPv4Address | IPv6Address, BeforeValidator(_text_only)]
IPNetwork = Annotated[IPv4Network | IPv6Network, BeforeValidator(_text_only)]
IPInterface = Annotated[IPv4Interface | IPv6Interface, BeforeValidator(_text_only)]

_LONGEST_PATH, _LONGEST_NAME = 3072, 255
"""bytes: Linux has 4096 and 255 (PATH_MAX, NAME_MAX), and the path may be relative to another one"""


def _path(value: str) -> str:
    """:raises ValueError: no file can have this path"""
    if not value or not value.isprintable():
        raise ValueError("expected a path without control characters")
    parts = [os.fsencode(part) for part in value.split("/")]
    if sum(map(len, parts)) > _LONGEST_PATH or max(map(len, parts)) > _LONGEST_NAME:
        raise ValueError("is too long for a path")
    return value


PathText = Annotated[str, AfterValidator(_path)]
"""A path as text."""

M = TypeVar("M", bound=BaseModel)


def load_yaml(path: Path) -> Any:
    """Parse one YAML file with the C loader.

    :raises RefusedError: the file is missing, cannot be read or is not YAML
    """
    return parse_yaml(read_text(path), path)


def parse_yaml(text: str, path: Path) -> Any:
    """Parse YAML text that was read from `path`. Duplicate keys are errors.

    :raises RefusedError: the text is not YAML, a mapping has a duplicate key, or it is nested too deeply
    """
    with _refusing(path):
        nesting.check_text(text)
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader with a check for duplicate keys


def compose_yaml(text: str, path: Path) -> yaml.Node | None:
    """The nodes of YAML text that was read from `path`, with their lines.

    :raises RefusedError: the text is not YAML, or it is nested too deeply
    """
    with _refusing(path):
        nesting.check_text(text)
        node: yaml.Node | None = yaml.compose(text, Loader=_Loader)
        return node


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    try:
        yield
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise RefusedError(f"{path}:{line}: {error.problem or 'not valid YAML'}") from None
    except yaml.YAMLError as error:
        raise RefusedError(f"{path}: not valid YAML: {str(error).splitlines()[0]}") from None


class _Loader(yaml.CSafeLoader):
    def get_single_node(self) -> yaml.Node | None:
        node: yaml.Node | None = super().get_single_node()
        nesting.check_nodes(node)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if isinstance(key_node, yaml.ScalarNode) and key_node.value != "<<":
                if key_node.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"duplicate key '{shown(key_node.value)}'", key_node.start_mark
                    )
                seen.add(key_node.value)
        return super().construct_mapping(node, deep)


def _with_place(construct: Callable[[Any, yaml.ScalarNode], Any]) -> Callable[[Any, yaml.ScalarNode], Any]:
    """The constructor, with errors that have a line: 2001-99-99 is a date for YAML."""

    def constructor(loader: Any, node: yaml.ScalarNode) -> Any:
        try:
            return construct(loader, node)
        except (ValueError, ArithmeticError, LookupError, AttributeError):
            # with an explicit tag, any text comes here, and PyYAML relies on the pattern of the kind
            kind = node.tag.rpartition(":")[2]
            raise yaml.constructor.ConstructorError(
                None, None, f"'{shown(node.value)}' is not a valid {kind}; quote it", node.start_mark
            ) from None

    return constructor


for _kind in ("bool", "int", "float", "timestamp"):
    _Loader.add_constructor(
        f"tag:yaml.org,2002:{_kind}", _with_place(getattr(yaml.constructor.SafeConstructor, f"construct_yaml_{_kind}"))
    )


def load_model(kind: type[M], path: Path, extra: dict[str, Any] | None = None) -> M:
    """Read `path` and validate it as `kind`. `extra` adds values that the file does not contain.

    :raises RefusedError: names file, line and key of the first problem
    """
    data = load_yaml(path)
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise RefusedError(f"{path}:1: expected a mapping, got {type(data).__name__}")
    return validate(kind, {**data, **(extra or {})}, path)


def validate(kind: type[M], data: Any, path: Path, prefix: tuple[str | int, ...] = ()) -> M:
    """Validate `data`, which `path` contains below the keys `prefix`.

    :raises RefusedError: names file, line and key of the first problem
    """
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        loc = prefix + tuple(problem["loc"])
        more = error.error_count() - 1
        hint = f"and {more} more in this file" if more else ""
        raise RefusedError(f"{where(path, loc)}: {_describe(problem)}", hint) from None


def where(path: Path, loc: tuple[str | int, ...]) -> str:
    """`file:line: key.path` of a key in a YAML file. The line is the nearest parent's if the key is missing."""
    line = 1
    try:
        node = compose_yaml(read_text(path), path)
    except RefusedError:
        node = None
    for part in loc:
        child = _child(node, part)
        if child is None:
            # pydantic's locations also name union members and mapping keys, which the file does not contain
            continue
        line, node = child
    return f"{path}:{line}: {'.'.join(shown(p) for p in loc)}"


def _child(node: yaml.Node | None, part: str | int) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if str(key.value) == str(part):
                return key.start_mark.line + 1, value
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        item = node.value[part]
        return item.start_mark.line + 1, item
    return None


def _describe(problem: Any) -> str:
    kind = problem["type"]
    if kind == "extra_forbidden":
        return "unknown key"
    if kind == "missing":
        return "is required"
    message: str = problem["msg"]
    return shown(message.removeprefix("Value error, "), 400)
