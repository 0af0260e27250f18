# SPDX-License-Identifier: Apache-2.0
"""What NetBox costs: a sync of the recorded site of 1000 devices, and rendering the region that it gives.

    .venv/bin/python benchmarks/netbox.py [--runs 3]

NetBox is the replay server of the tests, in a process of its own: its answers are the recorded ones of NetBox 4.6.8, it
takes no time to think of them. Wall and CPU seconds (user + system) and the largest resident size are those of the scs
process alone, interpreter start included; medians. `--strict` exits 1 when a limit of the project is exceeded.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
SCS = [sys.executable, "-c", "from scs_deploy.cli.main import main; main()"]
LIMITS = {"sync": {"wall_s": 5.0, "requests": 12, "rss_mib": 300}, "plan --offline": {"cpu_s": 30.0}}
"""What must hold on two cores: a sync under 5 s, 12 requests and 300 MB; rendering under 30 s of CPU."""


def run(arguments: list[str], folder: Path) -> tuple[dict[str, float], str]:
    """One command: what it took, and what it printed.

    :raises SystemExit: it failed
    """
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "SCS_ROOT": str(ROOT), "SCS_ENVIRONMENTS": str(folder)}
    with tempfile.TemporaryFile() as output:
        began = time.perf_counter()
        process = subprocess.Popen([*SCS, *arguments], env=variables, stdout=output, stdin=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
        output.seek(0)
        text = output.read().decode()
    if os.waitstatus_to_exitcode(status) != 0:
        sys.exit(f"scs {' '.join(arguments)} failed: {text}")
    return {"wall_s": wall, "cpu_s": usage.ru_utime + usage.ru_stime, "rss_mib": usage.ru_maxrss / 1024}, text


def prepare(folder: Path, url: str) -> None:
    """The environment of the tests, with secrets, certificates and a lock whose images nobody built."""
    sys.path.insert(0, str(ROOT))
    from tests.netbox.replay import READ_ONLY

    target = folder / "scale"
    shutil.copytree(ROOT / "tests/netbox/environments/scale", target)
    mapping = yaml.safe_load((target / "netbox.yml").read_text(encoding="utf-8"))
    (target / "netbox.yml").write_text(yaml.safe_dump({**mapping, "url": url}), encoding="utf-8")
    (target / "token").write_text(READ_ONLY, encoding="utf-8")
    (target / "vault_password").write_text("benchmark only\n", encoding="utf-8")
    names = yaml.safe_load((ROOT / "releases/2025.1.yml").read_text(encoding="utf-8"))["images"]
    locked = {n: {"reference": f"scs/{n}", "digest": f"sha256:{i:064x}", "size": 1} for i, n in enumerate(names)}
    lock = {"release": "2025.1", "images": locked}
    (target / "release.lock.yml").write_text(yaml.safe_dump(lock), encoding="utf-8")


def median(rows: list[dict[str, float]]) -> dict[str, float]:
    """Of each figure."""
    return {key: round(statistics.median(r[key] for r in rows), 2) for key in rows[0]}


def main() -> None:
    """Measure and print one JSON document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--strict", action="store_true", help="exit 1 when a limit is exceeded")
    arguments = parser.parse_args()
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.netbox.replay"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        with tempfile.TemporaryDirectory(prefix="scs-netbox-") as name:
            folder = Path(name)
            prepare(folder, url)
            result: dict[str, Any] = {}
            rows = []
            for _ in range(arguments.runs):
                (folder / "scale" / "inventory.yml").unlink(missing_ok=True)
                row, text = run(["inventory", "sync", "--json", "-e", "scale"], folder)
                done = json.loads(text)
                rows.append({**row, "requests": done["requests"]})
            result["hosts"], result["hash"] = done["hosts"], done["hash"]
            result["sync"] = median(rows)
            run(["secrets", "init", "-e", "scale"], folder)
            plans = [run(["plan", "--offline", "--json", "-e", "scale"], folder) for _ in range(arguments.runs)]
            result["plan --offline"] = median([row for row, _ in plans])
            result["files"] = sum(len(h["files"]) for h in json.loads(plans[0][1])["hosts"])
    finally:
        server.terminate()
        server.wait()
    print(json.dumps(result, indent=2))
    above = [
        f"{c}: {k} {result[c][k]} > {v}" for c, limits in LIMITS.items() for k, v in limits.items() if result[c][k] > v
    ]
    if arguments.strict and above:
        sys.exit("; ".join(above))


if __name__ == "__main__":
    main()
