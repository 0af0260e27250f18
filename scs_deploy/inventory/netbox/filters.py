# SPDX-License-Identifier: Apache-2.0
"""The filters that NetBox supports. NetBox ignores an unknown filter and returns all objects, so scs checks the names.

The table was generated from the schema of the NetBox version that it names (`tools/netbox_filters.py`). scs does not
request the schema from the server, because generating it takes 20 s. The schema does not contain custom fields
(`cf_<name>`); `check_fields` finds out from the returned objects whether they exist.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

_CUSTOM = re.compile(r"cf_([a-z0-9_]+?)(__[a-z]+)?$")


@cache
def known(endpoint: str) -> frozenset[str]:
    """All filter names of a list, including lookups.

    :param endpoint: `dcim/devices`
    """
    table = json.loads(Path(__file__).with_name("filters.json").read_text(encoding="utf-8"))
    names = set()
    for lookups, bases in table[endpoint].items():
        for base in bases.split():
            names |= {base, *(f"{base}__{lookup}" for lookup in lookups.split())}
    return frozenset(names)


def check(endpoint: str, names: Iterable[str]) -> None:
    """Reject filters that NetBox would ignore.

    :raises ValueError: the list does not support a filter
    """
    for name in names:
        if _CUSTOM.fullmatch(name) or name in known(endpoint):
            continue
        close = difflib.get_close_matches(name, known(endpoint), n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ValueError(
            f"filters: {endpoint} has no filter '{name}'; NetBox would ignore it and return all objects{hint}"
        )


def check_fields(names: Iterable[str], objects: Iterable[Mapping[str, Any]]) -> list[str]:
    """Problems of filters by custom field, judged by the objects that NetBox returned.

    :param objects: the custom fields of each object, by name; NetBox returns unset fields as null
    """
    wanted = {m[1]: name for name in names if (m := _CUSTOM.fullmatch(name))}
    problems = []
    fields = list(objects)
    for field, name in sorted(wanted.items()):
        values = [f[field] for f in fields if field in f]
        if fields and not values:
            problems.append(f"filter {name}: custom field '{field}' does not exist; NetBox ignored the filter")
        elif any(isinstance(v, dict) or (isinstance(v, list) and any(isinstance(i, dict) for i in v)) for v in values):
            problems.append(
                f"filter {name}: custom field '{field}' contains JSON or objects; NetBox ignored the filter"
            )
    return problems
