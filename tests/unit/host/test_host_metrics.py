# SPDX-License-Identifier: Apache-2.0
"""A host writes for monitoring what runs there, is healthy, exits by itself, and how long certificates last."""

from __future__ import annotations

import json
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO

import pytest

from scs_deploy.base import paths
from scs_deploy.secrets import issuing
from scs_deploy.secrets.issuing import Wanted
from tests.support import fake_engine
from tests.support.fake_engine import FakeEngine
from tests.support.peer_hosts import eventually

PROGRAM = paths.layer("host") / "roles" / "metrics" / "files" / "scs_metrics.py"
STATS = {
    "cpu_stats": {"cpu_usage": {"total_usage": 12_500_000_000}},
    "memory_stats": {"usage": 300_000_000, "stats": {"inactive_file": 100_000_000}},
}

Start = Callable[[], AbstractContextManager[IO[str]]]
"""Gives what the program says on stderr."""


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FakeEngine]:
    with fake_engine.serving(tmp_path) as served:
        served.states = {
            "keystone": {"Status": "running", "Shown": "Up 2 hours (healthy)", "Stats": STATS},
            "nova_api": {"Status": "running", "Shown": "Up 2 hours (unhealthy)", "Stats": STATS},
            "glance": {"Status": "running", "Shown": "Up 2 seconds (health: starting)", "Stats": STATS},
            "mariadb": {"Status": "exited", "Shown": "Exited (137) 3 minutes ago"},
        }
        yield served


@pytest.fixture
def start(engine: FakeEngine, tmp_path: Path) -> Start:
    """Runs the program on a host whose folders are the test's, until it is left."""
    program = PROGRAM.read_text(encoding="utf-8").replace("INTERVAL = 60", "INTERVAL = 0.2")
    for old, new in (("/var/run/docker.sock", engine.socket), ("/var/lib/scs", tmp_path), ("/etc/scs", tmp_path)):
        program = program.replace(f'"{old}', f'"{new}')

    @contextmanager
    def run() -> Iterator[IO[str]]:
        with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr
            yield process.stderr
            process.kill()
            assert process.stderr.read() == ""

    return run


def samples(folder: Path) -> dict[str, float]:
    file = folder / "metrics" / "scs.prom"
    lines = file.read_text().splitlines() if file.exists() else []
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


def of(metric: str, container: str) -> str:
    service = container.partition("_")[0]
    return f'{metric}{{container="{container}",container_service="{service}"}}'


def test_it_tells_what_runs_and_is_healthy(start: Start, tmp_path: Path) -> None:
    (tmp_path / "stopped").mkdir()
    (tmp_path / "stopped" / "mariadb").touch()
    with start():
        eventually(lambda: bool(samples(tmp_path)))
    found = samples(tmp_path)
    running = {n: found[of("scs_container_running", n)] for n in ("keystone", "nova_api", "glance", "mariadb")}
    assert running == {"keystone": 1, "nova_api": 1, "glance": 1, "mariadb": 0}
    healthy = {n: found.get(of("scs_container_healthy", n)) for n in running}
    assert healthy == {"keystone": 1, "nova_api": 0, "glance": None, "mariadb": None}, "one that starts is neither"
    assert found[of("scs_container_stopped", "mariadb")] == 1
    assert found[of("scs_container_stopped", "keystone")] == 0
    assert found[of("scs_container_cpu_seconds_total", "keystone")] == 12.5
    assert found[of("scs_container_memory_bytes", "keystone")] == 200_000_000, "without the page cache"


def test_it_counts_recent_exits_that_scs_did_not_cause(start: Start, tmp_path: Path) -> None:
    (tmp_path / "exits").mkdir()
    now = time.time()
    exits = [(now - 7200, False), (now - 60, False), (now - 30, False), (now - 10, True)]
    lines = [json.dumps({"time": t, "code": 1, "scs": scs}) for t, scs in exits]
    (tmp_path / "exits" / "keystone").write_text("\n".join(lines) + "\n")
    with start():
        eventually(lambda: samples(tmp_path).get(of("scs_container_exits_recent", "keystone")) == 2)


def test_it_tells_when_certificates_end_and_notices_new_ones(start: Start, tmp_path: Path) -> None:
    ca = issuing.new_ca("test")
    folder = tmp_path / "haproxy" / "tls"
    folder.mkdir(parents=True)
    (folder / "ca.crt").write_text(ca.cert)
    (folder / "host.crt").write_text(issuing.issue(ca, Wanted(names=("a",))).cert)
    (tmp_path / "haproxy" / "internal.pem").write_text("no certificate")
    name = 'scs_certificate_not_after_timestamp_seconds{container="haproxy",certificate="host"}'
    year = 365 * 86400
    with start():
        eventually(lambda: name in samples(tmp_path))
        found = samples(tmp_path)
        assert abs(found[name] - time.time() - year) < 86400
        assert [n for n in found if n.startswith("scs_certificate")] == [name], "no CA, and nothing that is none"
        (folder / "new").write_text(ca.cert)
        (folder / "new").replace(folder / "host.crt")
        eventually(lambda: samples(tmp_path).get(name, 0) > found[name] + year)


def test_without_an_engine_the_last_samples_stay(start: Start, engine: FakeEngine, tmp_path: Path) -> None:
    """Their age tells that they are old; an empty file would say that nothing runs."""
    with start():
        eventually(lambda: bool(samples(tmp_path)))
    before = samples(tmp_path)
    engine.socket.rename(tmp_path / "gone")
    with pytest.raises(AssertionError, match="no metrics: "), start() as said:
        select.select([said], [], [], 20)
    assert samples(tmp_path) == before


def test_prometheus_reads_it(start: Start, tmp_path: Path) -> None:
    """Each name is described and typed once, before its samples."""
    with start():
        eventually(lambda: bool(samples(tmp_path)))
    text = (tmp_path / "metrics" / "scs.prom").read_text()
    assert text.endswith("\n")
    order = [line.split()[2] if line.startswith("#") else line.partition("{")[0] for line in text.splitlines()]
    groups = [name for i, name in enumerate(order) if i == 0 or order[i - 1] != name]
    assert len(groups) == len(set(groups))
    assert (tmp_path / "metrics" / "scs.prom").stat().st_mode & 0o777 == 0o644
