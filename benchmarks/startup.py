# SPDX-License-Identifier: Apache-2.0
"""What it costs to start: help, completion, and commands that contact no host.

    .venv/bin/python benchmarks/startup.py [--runs 10] [--environment testbed] [--online]

Wall and CPU seconds (user + system, with child processes) are medians. --online adds commands that contact the region.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time

SCS = [sys.executable, "-c", "from scs_deploy.cli.main import main; main()"]
OFFLINE = {
    "scs --help": ["--help"],
    "scs plan --help": ["plan", "--help"],
    "scs --version": ["--version"],
    "scs env list": ["env", "list"],
    "scs runs list": ["runs", "list"],
    "scs inventory show": ["inventory", "show"],
}
ONLINE = {
    "scs plan": ["plan"],
    "scs plan keystone": ["plan", "keystone"],
    "scs node list": ["node", "list"],
    "scs recover rabbitmq --plan": ["recover", "rabbitmq", "--plan"],
    "scs openstack token issue": ["openstack", "token", "issue"],
}
TAB = {"_SCS_COMPLETE": "complete_bash", "COMP_WORDS": "scs status keys", "COMP_CWORD": "2"}


def measure(arguments: list[str], variables: dict[str, str]) -> tuple[float, float]:
    """(wall seconds, CPU seconds) of one command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    done = subprocess.run([*SCS, *arguments], env={**os.environ, **variables}, capture_output=True, check=False)
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"scs {' '.join(arguments)}: exit {done.returncode}: {done.stderr.decode(errors='replace')}")
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print a row for each command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--environment", default="testbed")
    parser.add_argument("--online", action="store_true")
    options = parser.parse_args()
    chosen = {"SCS_ENVIRONMENT": options.environment}
    rows = {"one TAB": ([], chosen | TAB), **{k: (v, chosen) for k, v in OFFLINE.items()}}
    if options.online:
        rows |= {k: (v, chosen) for k, v in ONLINE.items()}
    print(f"{'command':<30} {'wall':>6} {'CPU':>6}")
    for name, (arguments, variables) in rows.items():
        taken = [measure(arguments, variables) for _ in range(options.runs)]
        wall, cpu = (statistics.median(column) for column in zip(*taken, strict=True))
        print(f"{name:<30} {wall:6.2f} {cpu:6.2f}")


if __name__ == "__main__":
    main()
