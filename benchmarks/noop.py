# SPDX-License-Identifier: Apache-2.0
"""What a plan costs: on the deployed testbed with nothing to change, and with 1, 10, 30, 100 emulated hosts.

    .venv/bin/python benchmarks/noop.py [--runs 3] [--hosts 1,10,30,100]

The first row is the real no-change plan. An emulated host is a further compute host of the inventory whose SSH address
is the testbed's node: connection, observation, rendering and comparing are real, and as its files carry other
addresses, the differences are computed too, so the row is an upper bound of a no-change plan of that size.
Wall and CPU seconds (user + system, all processes on the manager) are medians.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from scs_deploy.environment import environment

SCS = [sys.executable, "-c", "from scs_deploy.cli.main import main; main()"]


def measure(variables: dict[str, str], name: str) -> tuple[float, float, int]:
    """(wall seconds, CPU seconds, exit code) of one plan."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    code = subprocess.run(
        [*SCS, "plan", "--json", "--exit-code", "-e", name],
        env={**os.environ, **variables},
        stdout=subprocess.DEVNULL,
        check=False,
    ).returncode
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, code


def emulate(region: environment.Environment, hosts: int, folder: Path) -> None:
    """A copy of the region with `hosts` hosts, all but the first emulated."""
    target = folder / region.name
    shutil.copytree(region.path, target, ignore=shutil.ignore_patterns("runs*", "lock"), symlinks=True)
    shutil.copytree(region.inventory, target / "inventory")
    settings = yaml.safe_load(region.file.read_text(encoding="utf-8"))
    settings["inventory"] = "inventory"
    # wider networks around the real ones: the API addresses stay, so the shared state is read as ever
    settings["networks"] = {
        n: {**v, "cidr": f"172.{i}.0.0/16"} for i, (n, v) in enumerate(settings["networks"].items(), 30)
    }
    (target / "environment.yml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    inventory = yaml.safe_load((target / "inventory" / "hosts.yml").read_text(encoding="utf-8"))
    groups = inventory["all"]["children"]
    first = next(iter(groups["control"]["hosts"]))
    own = yaml.safe_load((target / "inventory" / "host_vars" / f"{first}.yml").read_text(encoding="utf-8"))
    names = [first, *(f"emulated-{i}" for i in range(2, hosts + 1))]
    for i, name in enumerate(names, 1):
        networks = {
            n: {**v, "address": f"172.{30 + k}.{i // 250 + 4}.{i % 250 + 1}"}
            for k, (n, v) in enumerate(own["networks"].items())
        }
        # a name and a connection of its own, as a host of its own has; both lead to the one node
        real = own["ansible_host"]
        extra = f"-o HostName={real} -o HostKeyAlias={real} -o ControlPath={folder}/{i}.ssh"
        connection = {"ansible_host": real if name == first else name, "ansible_ssh_extra_args": extra}
        (target / "inventory" / "host_vars" / f"{name}.yml").write_text(
            yaml.safe_dump({**connection, "networks": networks}), encoding="utf-8"
        )
    for group in ("compute", "chassis"):
        if group in groups:
            groups[group] = {"hosts": dict.fromkeys(names)}
    (target / "inventory" / "hosts.yml").write_text(yaml.safe_dump(inventory), encoding="utf-8")


def certify(name: str, folder: Path) -> None:
    """Certificates for the emulated hosts."""
    command = [*SCS, "secrets", "init", "-e", name]
    subprocess.run(command, env={**os.environ, "SCS_ENVIRONMENTS": str(folder)}, check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--hosts", default="1,10,30,100")
    parser.add_argument("--environment", default=None)
    options = parser.parse_args()
    region = environment.load(options.environment)
    print(f"{'what':28} {'wall s':>8} {'cpu s':>8}  exit")

    def row(what: str, variables: dict[str, str]) -> None:
        found = [measure(variables, region.name) for _ in range(options.runs)]
        wall, cpu = (statistics.median(f[i] for f in found) for i in (0, 1))
        print(f"{what:28} {wall:8.2f} {cpu:8.2f}  {found[-1][2]}", flush=True)

    row("no change, real", {})
    for count in (int(n) for n in options.hosts.split(",")):
        with tempfile.TemporaryDirectory(prefix="scs-bench-") as folder:
            emulate(region, count, Path(folder))
            certify(region.name, Path(folder))
            known = Path(folder) / region.name / "state" / "ssh" / "known_hosts"
            known.parent.mkdir(parents=True, exist_ok=True)
            row(f"{count} emulated host{'s' if count > 1 else ''}", {"SCS_ENVIRONMENTS": folder})


if __name__ == "__main__":
    main()
