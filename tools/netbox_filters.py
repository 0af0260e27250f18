#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes scs_deploy/inventory/netbox/filters.json: the filter names that NetBox knows, per list that scs reads.

Usage: tools/netbox_filters.py SCHEMA    SCHEMA: /api/schema/?format=json of the newest supported NetBox, .gz or not

NetBox ignores a filter it does not know and answers with everything, so names are checked before they are sent. The
schema takes NetBox 20 s to make; it is read here, when a new version is taken up, and never at run time.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

TARGET = Path(__file__).resolve().parent.parent / "scs_deploy" / "inventory" / "netbox" / "filters.json"
ENDPOINTS = (
    "dcim/devices",
    "dcim/interfaces",
    "dcim/device-roles",
    "ipam/ip-addresses",
    "ipam/prefixes",
    "virtualization/interfaces",
    "virtualization/virtual-machines",
)
NO_FILTERS = ("limit", "offset", "start", "ordering", "format", "fields", "omit", "exclude", "brief")


def main() -> None:
    """Extract and write."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    file = Path(sys.argv[1])
    schema = json.loads(gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes())
    # lookup variants (`name__ic`) follow from a base name and a few sets of suffixes: kept apart, the table is small
    table: dict[str, dict[str, list[str]]] = {}
    for endpoint in ENDPOINTS:
        names = {p["name"] for p in schema["paths"][f"/api/{endpoint}/"]["get"]["parameters"] if p["in"] == "query"}
        names -= set(NO_FILTERS)
        found: dict[str, list[str]] = {}
        for name in sorted(names):
            base, _, lookup = name.rpartition("__")
            if base in names:
                found.setdefault(base, []).append(lookup)
            else:
                found.setdefault(name, [])
        table[endpoint] = found
    lines = []
    for endpoint, found in table.items():
        variants: dict[str, list[str]] = {}
        for name, lookups in found.items():
            variants.setdefault(" ".join(sorted(lookups)), []).append(name)
        body = ",\n".join(f"    {json.dumps(k)}: {json.dumps(' '.join(v))}" for k, v in sorted(variants.items()))
        lines.append(f"  {json.dumps(endpoint)}: {{\n{body}\n  }}")
    version = str(schema["info"]["version"]).split()[0]
    TARGET.write_text(f'{{\n  "version": {json.dumps(version)},\n' + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
