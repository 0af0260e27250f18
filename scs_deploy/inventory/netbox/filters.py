# SPDX-License-Identifier: Apache-2.0
"""Which filters NetBox knows. It ignores an unknown one and answers with everything, so names are checked here.

The table comes from the schema of the version that it names (`tools/netbox_filters.py`), never from the server: making
the schema takes it 20 s. Custom fields (`cf_<name>`) are in no schema; the objects that come back show whether they
exist (`check_fields`).
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
    """All filter names of a list, lookups included.

    :param endpoint: `dcim/devices`
    """
    table = json.loads(Path(__file__).with_name("filters.json").read_text(encoding="utf-8"))
    names = set()
    for lookups, bases in table[endpoint].items():
        for base in bases.split():
            names |= {base, *(f"{base}__{lookup}" for lookup in lookups.split())}
    return frozenset(names)


def check(endpoint: str, names: Iterable[str]) -> None:
    """Refuse what NetBox would ignore.

    :raises ValueError: a name that the list does not filter by
    """
    for name in names:
        if _CUSTOM.fullmatch(name) or name in known(endpoint):
            continue
        close = difflib.get_close_matches(name, known(endpoint), n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ValueError(
            f"filters: {endpoint} has no filter '{name}', NetBox would ignore it and send everything{hint}"
        )


def check_fields(names: Iterable[str], objects: Iterable[Mapping[str, Any]]) -> list[str]:
    """What is wrong with filters by custom field, judged by the objects that came back.

    :param objects: their custom fields by name; NetBox sends all that exist, unset ones as null
    """
    wanted = {m[1]: name for name in names if (m := _CUSTOM.fullmatch(name))}
    problems = []
    fields = list(objects)
    for field, name in sorted(wanted.items()):
        values = [f[field] for f in fields if field in f]
        if fields and not values:
            problems.append(f"filter {name}: there is no custom field '{field}', NetBox ignored the filter")
        elif any(isinstance(v, dict) or (isinstance(v, list) and any(isinstance(i, dict) for i in v)) for v in values):
            problems.append(
                f"filter {name}: custom field '{field}' holds JSON or objects, NetBox ignores such a filter"
            )
    return problems
