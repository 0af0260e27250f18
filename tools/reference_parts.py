# SPDX-License-Identifier: Apache-2.0
"""What the pages of docs/reference/ are made of: Markdown, tables of models, comments of YAML files."""

from __future__ import annotations

import enum
import json
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic.fields import FieldInfo

from scs_deploy.base.model import Model
from scs_deploy.base.words import Words
from scs_deploy.environment import environment
from scs_deploy.spec.container import Argv, ConfigFile

NOTE = "<!-- Written by `make docs`; do not edit. -->"

FROM_PATH = frozenset({"name", "own", "directory"})
"""Keys of models that come from the file's path, so nobody writes them."""


# text


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table, followed by an empty line."""
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(map(_cell, line))} |" for line in lines] + [""]


def _cell(text: str) -> str:
    """Text that stays in its cell, and whose <words> are no HTML; in code they are none anyway."""
    spans = text.replace("|", "\\|").split("`")
    return "`".join(s if i % 2 else s.replace("<", "\\<") for i, s in enumerate(spans))


def code(text: object) -> str:
    """`text` as code; nothing for nothing."""
    return f"`{text}`" if str(text) else ""


def codes(words: Iterable[object]) -> str:
    """Words as code, separated by commas."""
    return ", ".join(code(w) for w in words)


def sentence(text: str | None) -> str:
    """A docstring's text on one line."""
    return " ".join((text or "").split())


def literal(value: object) -> str:
    """A value as it is written in YAML, on one line."""
    return json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value


def page(title: str, intro: str, body: Iterable[str]) -> str:
    """A whole file."""
    return "\n".join([f"# {title}", "", NOTE, "", intro, "", *body]).rstrip("\n") + "\n"


# models

NAMES: Mapping[object, str] = {
    str: "text", int: "number", float: "number", bool: "true or false", Any: "anything", types.NoneType: "",
    Path: "path", Argv: "command",
}  # fmt: skip


def kind(annotation: Any) -> str:
    """A type in words; models link to their section of the same page."""
    if annotation in NAMES:
        return NAMES[annotation]
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return kind(arguments[0])
    if origin is typing.Literal:
        return " or ".join(code(a) for a in arguments)
    if origin is tuple:
        return f"list of {kind(arguments[0])}"
    if origin is dict:
        return f"mapping of {kind(arguments[1])}"
    if origin in (types.UnionType, typing.Union):
        return " or ".join(dict.fromkeys(filter(None, (kind(a) for a in arguments))))
    name: str = annotation.__name__
    if issubclass(annotation, Model):
        return f"[{name}](#{name.lower()})"
    if issubclass(annotation, enum.Enum):
        return " or ".join(code(member.value) for member in annotation)
    return {"IPv4Address": "address", "IPv6Address": "address", "IPv4Network": "network", "IPv6Network": "network"}.get(
        name, name
    )


def default(field: FieldInfo) -> str:
    """A field's default: `required`, empty when its absence means nothing or the description tells."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None or value == () or value == {}:
        return ""
    if isinstance(value, Model):
        return "its defaults"
    if isinstance(value, enum.Enum):
        value = value.value
    return code(literal(list(value) if isinstance(value, tuple) else value))


def model(kind_of: type[Model], title: str = "", level: int = 2) -> list[str]:
    """A section: what the model is, and a table of its keys."""
    hints = typing.get_type_hints(kind_of, include_extras=True)
    rows = []
    for name, field in kind_of.model_fields.items():
        if name in FROM_PATH and not (name == "name" and kind_of in (ConfigFile, environment.ApiAddress)):
            continue
        said = field.description or ""
        if bounds := [m for m in field.metadata if hasattr(m, "ge") or hasattr(m, "le")]:
            low = next((m.ge for m in bounds if hasattr(m, "ge")), "")
            high = next((m.le for m in bounds if hasattr(m, "le")), "")
            said += f" ({low} to {high})"
        rows.append((code(field.alias or name), kind(hints[name]), default(field), said))
    head = ("key", "value", "default", "what it means")
    return [f"{'#' * level} {title or kind_of.__name__}", "", sentence(kind_of.__doc__), "", *table(head, rows)]


def values(title: str, members: type[Words]) -> list[str]:
    """A section: an enum's values in order, each with its meaning."""
    rows = [(code(m.value), m.meaning) for m in members]
    return [f"## {title}", "", sentence(members.__doc__), "", *table(("value", "meaning"), rows)]


def comments(text: str, section: str) -> dict[str, str]:
    """key: the comment beside or above it, for the keys of one mapping of a YAML text."""
    lines = text.splitlines()
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)
    found = {}
    for key, value in next((v.value for k, v in root.value if k.value == section), ()):
        beside = lines[value.end_mark.line][value.end_mark.column :].partition("#")[2].strip()
        above: list[str] = []
        at = key.start_mark.line - 1
        while lines[at].lstrip().startswith("#"):
            above.insert(0, lines[at].lstrip("# ").rstrip())
            at -= 1
        found[key.value] = " ".join(filter(None, [" ".join(above), beside]))
    return found
