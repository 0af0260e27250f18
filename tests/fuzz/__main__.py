# SPDX-License-Identifier: Apache-2.0
"""Run cases and print those that fail."""

from __future__ import annotations

import argparse
import collections
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# what a check imports late: forks share it
import ansible.inventory.manager
import ansible.parsing.dataloader
import ansible.template
import ansible.vars.manager  # noqa: F401

from scs_deploy.desired import check  # noqa: F401
from tests.fuzz.case import Case
from tests.fuzz.region import Tree, build


@contextmanager
def region() -> Iterator[tuple[Tree, Path]]:
    """A region, and a copy of it."""
    with tempfile.TemporaryDirectory(prefix="scs-fuzz-region-") as folder:
        tree = build(Path(folder) / "region")
        clean = Path(folder) / "clean"
        shutil.copytree(tree.top, clean, symlinks=True)
        yield tree, clean


def run(seed: int, numbers: range, keep: Path | None = None) -> dict[int, list[str]]:
    """The failed cases: number: what is wrong. Prints them.

    :param keep: copy the mutated region here
    """
    failed = {}
    with region() as (tree, clean):
        kinds: collections.Counter[str] = collections.Counter()
        start = time.monotonic()
        for number in numbers:
            with Case(tree, clean, f"{seed}/{number}") as case:
                if keep:
                    # pipes too
                    subprocess.run(["cp", "--archive", tree.top, keep], check=True)
                if wrong := case.run():
                    failed[number] = wrong
                    print(f"case {number}: {'; '.join(case.changes)}", *wrong, sep="\n  ", flush=True)
            kinds.update(change.split()[0] for change in case.changes)
            if number and number % 100 == 0:
                print(f"{number}: {len(failed)} failed, {time.monotonic() - start:.0f} s", flush=True)
        print(f"mutations: {dict(sorted(kinds.items()))}")
    return failed


def main() -> int:
    """Exit code 1 if a case failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="default: the time")
    parser.add_argument("--number", type=int, default=10000, help="of cases")
    parser.add_argument("--start", type=int, default=0, help="first case")
    parser.add_argument("--case", type=int, help="only this case; its files are kept")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    keep, numbers = None, range(arguments.start, arguments.start + arguments.number)
    if arguments.case is not None:
        numbers = range(arguments.case, arguments.case + 1)
        keep = Path(tempfile.mkdtemp(prefix="scs-fuzz-case-")) / "region"
        print(f"files: {keep}")
    failed = run(arguments.seed, numbers, keep)
    for number in failed:
        print(f"repeat: python -m tests.fuzz --seed {arguments.seed} --case {number}")
    print(f"{len(failed)} of {len(numbers)} cases failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
