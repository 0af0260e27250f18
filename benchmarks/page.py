# SPDX-License-Identifier: Apache-2.0
"""What the page of `scs serve` costs: a region of 300 hosts in a temporary folder, asked over TLS as a browser asks.

    .venv/bin/python benchmarks/page.py [--hosts 300] [--runs 5] [--strict]

Everything is real but the looks, whose results are generated: nothing answers at the hosts' addresses. `first` is the
time from a new connection to the last byte of the overview, its style and its script, after which a browser paints;
the others are the time of one page on an open connection. Wall seconds, medians. `--strict` exits 1 when a limit of the
project is exceeded: 1 s for the first, 2 s for every page.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import requests

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.support import page_region, page_site
from tests.support.page_site import Running

FIRST, PAGE = 1.0, 2.0
"""Seconds: until a browser can paint, and for any page."""


def median(runs: int, work: Callable[[], None]) -> float:
    """Seconds that it takes."""
    took = []
    for _ in range(runs):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return round(statistics.median(took), 3)


def first(page: Running, cookies: dict[str, str]) -> None:
    """The overview and what it needs, over a new connection."""
    session = page.visitor()
    session.cookies.update(cookies)
    for path in ("/", "/static/page.css", "/static/page.js"):
        assert page.get(session, path).status_code == 200


def main() -> None:
    """Measure and print one JSON document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hosts", type=int, default=300)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--strict", action="store_true", help="exit 1 when a limit is exceeded")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="scs-page-") as name, page_region.environments(Path(name)):
        page_region.describe(Path(name), arguments.hosts)
        region = page_region.with_authority(Path(name))
        with page_site.serving(region, page_region.of_hosts(region)) as page:
            operator = page.operator()
            cookies = operator.cookies.get_dict()
            result: dict[str, float] = {
                "hosts": len(region.inventory.hosts), "first": median(arguments.runs, lambda: first(page, cookies))
            }  # fmt: skip
            for path in ("/", "/hosts", "/hosts/compute-1", "/services", "/services/nova", "/runs", "/status"):
                answers: list[requests.Response] = []
                result[path] = median(arguments.runs, lambda p=path, a=answers: a.append(page.get(operator, p)))  # type: ignore[misc]
                assert all(a.status_code == 200 for a in answers), path
                result[f"{path} KiB"] = round(len(answers[0].content) / 1024)
    print(json.dumps(result, indent=2))
    above = [f"first: {result['first']} s > {FIRST} s"] if result["first"] > FIRST else []
    above += [f"{p}: {s} s > {PAGE} s" for p, s in result.items() if p.startswith("/") and "KiB" not in p and s > PAGE]
    if arguments.strict and above:
        sys.exit("; ".join(above))


if __name__ == "__main__":
    main()
