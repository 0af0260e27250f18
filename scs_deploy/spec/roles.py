# SPDX-License-Identifier: Apache-2.0
"""The variables that the host roles declare."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scs_deploy.base import paths
from scs_deploy.base.model import load_yaml

_TYPES: dict[str, tuple[str, type | tuple[type, ...]]] = {
    "int": ("a whole number", int),
    "bool": ("true or false", bool),
    "list": ("a list", (list, tuple)),
    "dict": ("a mapping", dict),
    "str": ("text", (str, int, float)),
}


class Option:
    """A role's variable, as its argument_specs declare it."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self.kind, self.choices = str(spec.get("type", "str")), tuple(spec.get("choices", ()))

    def problem(self, value: Any) -> str:
        """Why `value` is wrong, and what is right; empty: it is valid."""
        what, kinds = _TYPES.get(self.kind, ("", object))
        if value is None:
            return f"has no value; expected {what or 'one'}, or remove the line for the default"
        if not isinstance(value, kinds) or (isinstance(value, bool) and self.kind != "bool"):
            return f"is {value!r}, not {what}"
        if self.choices and value not in self.choices:
            return f"is {value!r}, but must be one of {', '.join(map(str, self.choices))}"
        return ""


def variables() -> dict[str, Option]:
    """The roles' variables, which an inventory may set; from their argument_specs."""
    found: dict[str, Option] = {}
    for spec in (paths.layer("host") / "roles").glob("*/meta/argument_specs.yml"):
        options = load_yaml(spec)["argument_specs"]["main"].get("options", {})
        found |= {name: Option(option) for name, option in options.items()}
    return found
