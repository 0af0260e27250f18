# SPDX-License-Identifier: Apache-2.0
"""Of the service spec: an operator variable, its default, and which values it can have."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Mapping
from ipaddress import ip_address, ip_network
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from scs_deploy.base.model import Written
from scs_deploy.base.shown import shown

Type = Literal[
    "int", "float", "bool", "text", "list", "mapping", "duration", "size", "domain", "addresses", "networks", "network"
]

_DURATION = re.compile(r"[1-9][0-9]{0,9}(us|ms|s|m|h|d)")
_SIZE = re.compile(r"[1-9][0-9]{0,15}([kKMGT](i?B)?)?")
_DOMAIN = re.compile(r"(?=.{1,255}$)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?\.)+", re.IGNORECASE)
_WORD = re.compile(r"[^\s\x00-\x1f\x7f](.*[^\s\x00-\x1f\x7f])?")


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and (not value or _WORD.fullmatch(value) is not None)


def _is_address(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(ip_address(value))
    except ValueError:
        return False


def _is_network(value: Any) -> bool:
    try:
        return isinstance(value, str) and "/" in value and bool(ip_network(value))
    except ValueError:
        return False


def _matches(pattern: re.Pattern[str]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


TYPES: Mapping[Type, tuple[str, Callable[[Any], bool]]] = {
    "int": ("a whole number", _is_int),
    "float": ("a number", lambda v: _is_int(v) or (isinstance(v, float) and math.isfinite(v))),
    "bool": ("true or false", lambda v: isinstance(v, bool)),
    "text": ("text on one line", _is_text),
    "list": ("a list of texts", lambda v: isinstance(v, list | tuple) and all(i and _is_text(i) for i in v)),
    "mapping": (
        "a mapping of texts to texts",
        lambda v: isinstance(v, dict) and all(i and _is_text(i) for pair in v.items() for i in pair),
    ),
    "duration": ("a duration such as 500ms, 30s, 5m or 3h", _matches(_DURATION)),
    "size": ("a size such as 512M, 1G or 1GB", lambda v: _is_int(v) or _matches(_SIZE)(v)),
    "domain": ("a domain with the final dot, such as example.org.", _matches(_DOMAIN)),
    "addresses": ("a list of IP addresses", lambda v: isinstance(v, list | tuple) and all(map(_is_address, v))),
    "networks": (
        "a list of networks such as 192.0.2.0/24, without bits of a host",
        lambda v: isinstance(v, list | tuple) and all(map(_is_network, v)),
    ),
    "network": ("the name of a network in environment.yml", lambda v: bool(v) and _is_text(v)),
}
"""type: what it is, and whether a value has it. Values are compared as written, never converted."""


class Setting(Written):
    """An operator variable. Its default alone is enough where every value of the default's type is valid."""

    default: Any = Field(
        description="value where the inventory sets none; a list for `type: network`: the first of these networks on "
        "which a host of the service has an address"
    )
    type: Type = Field(default="text", description="what a value is; default: the default's type")
    min: float | None = Field(default=None, description="smallest number")
    max: float | None = Field(default=None, description="largest number")
    choices: tuple[str | int, ...] = Field(default=(), description="the only valid values; for a list, of its elements")
    pattern: str | None = Field(default=None, description="regular expression that a whole value matches")

    only_with: dict[str, str] = Field(
        default_factory=dict, description="value: inventory group without whose hosts the region cannot have it"
    )
    needs: tuple[str, ...] = Field(
        default=(), description="settings that must have a value as well when this one has another than its default"
    )

    @property
    def allowed(self) -> str:
        """The valid values in words, beyond the type; empty: all of the type."""
        if self.choices:
            return ", ".join(map(str, self.choices))
        if self.pattern is not None:
            return f"text that matches {self.pattern}"
        low, high = (None if n is None else f"{n:g}" if n < 1e6 else str(int(n)) for n in (self.min, self.max))
        if low and high:
            return f"{low} to {high}"
        return f"{low} or more" if low else f"at most {high}" if high else ""

    def problem(self, value: Any) -> str:
        """Why `value` is wrong, and what is right; empty: it is valid."""
        if value is None:
            return f"has no value; expected {self._expected()}, or remove the line for the default"
        what, valid = TYPES[self.type]
        if value in ("", [], {}) and self.type != "bool":
            # 0 and false are values
            return "" if value == self.default else f"is empty; expected {self._expected()}"
        if not valid(value):
            quoted = isinstance(value, str) and self.type in ("int", "float", "bool")
            return f"is {shown(repr(value))}, not {what}" + (", which is written without quotes" if quoted else "")
        wrong = next((v for v in (value if isinstance(value, list | tuple) else (value,)) if self._outside(v)), None)
        if wrong is None:
            return ""
        close = difflib.get_close_matches(str(wrong).lower(), [str(c).lower() for c in self.choices], n=1)
        return f"is {shown(repr(wrong))}, but must be {self._expected()}" + (
            f"; did you mean {close[0]}?" if close else ""
        )

    def _outside(self, value: Any) -> bool:
        if self.choices:
            return value not in self.choices
        if self.pattern is not None:
            return re.fullmatch(self.pattern, str(value)) is None
        low, high = self.min, self.max
        return (low is not None and value < low) or (high is not None and value > high)

    def _expected(self) -> str:
        if self.choices:
            return f"one of {self.allowed}"
        return self.allowed or TYPES[self.type][0]

    @model_validator(mode="before")
    @classmethod
    def _inferred(cls, data: Any) -> Any:
        if isinstance(data, dict) and "type" not in data:
            kinds = {bool: "bool", int: "int", float: "float", list: "list", tuple: "list", dict: "mapping"}
            return {**data, "type": kinds.get(type(data.get("default")), "text")}
        return data

    @model_validator(mode="after")
    def _consistent(self) -> Setting:
        if self.pattern is not None:
            try:
                re.compile(self.pattern)
            except re.error as error:
                raise ValueError(f"pattern: {error}") from None
        limits = [n for n in (self.min, self.max) if n is not None]
        if limits and self.type not in ("int", "float"):
            raise ValueError(f"min and max are for numbers, and the type is {self.type}")
        if not all(map(math.isfinite, limits)):
            raise ValueError("min and max must be finite; leave out what is unlimited")
        for value in self.default if self.type == "network" and isinstance(self.default, list) else (self.default,):
            if problem := self.problem(value):
                raise ValueError(f"default: {problem}")
        return self


def _declared(value: Any) -> Any:
    return (
        value if isinstance(value, Setting) or (isinstance(value, dict) and "default" in value) else {"default": value}
    )


Declared = Annotated[Setting, BeforeValidator(_declared)]
"""A setting as written: its default, or a mapping with the key `default`"""
