# SPDX-License-Identifier: Apache-2.0
"""Measure a region during a run: start the prober, record its sums, and pause the run after too many failures."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from pydantic import ValidationError

from scs_deploy.base.model import Model
from scs_deploy.desired.endpoints import endpoints
from scs_deploy.engine import events
from scs_deploy.engine.events import ProbeNote, ProbeResult
from scs_deploy.prober.model import News, ProbeJob, Target
from scs_deploy.region.region import Region
from scs_deploy.state.measurement import Summary
from scs_deploy.state.runs import RunRecord

FIRST = 60.0
"""Seconds for the first round of requests. A responsive region takes a few seconds."""

LAST = 90.0
"""Seconds to finish pending requests and remove resources."""


class ProbeOptions(Model):
    """The operator's options for the prober."""

    enabled: bool = True
    max_failed: int | None = None
    """pause the run when more requests than this have failed; None: never"""
    ping: str = ""
    """address of a test VM"""
    max_alerts: int | None = None
    """pause the run when more unexpected critical alerts than this are there; None: never"""


class Watch:
    """The prober's latest report."""

    def __init__(self) -> None:
        self.news = News()
        self.unmeasured: dict[str, str] = {}


def probe_job(region: Region, ping: str = "") -> ProbeJob:
    """The job for a region: every public endpoint whose spec defines a probe."""
    settings = region.environment.settings
    name = settings.api.external.name
    targets = []
    port = 5000
    for endpoint in endpoints(region):
        spec = region.catalog.services[endpoint.service].endpoints[endpoint.name]
        if endpoint.name == "identity":
            port = endpoint.port
        if spec.probe and endpoint.public:
            url = "" if endpoint.catalogue else f"https://{name}:{endpoint.port}{endpoint.path}"
            targets.append(Target(name=endpoint.name, url=url, **spec.probe.model_dump()))
    return ProbeJob(
        auth_url=f"https://{name}:{port}/v3",
        password=region.secrets["keystone_admin_password"],
        ca=region.environment.ca_file,
        addresses={name: str(settings.api.external.address)},
        targets=tuple(targets),
        ping=ping,
    )


@contextmanager
def watching(
    job: ProbeJob,
    options: ProbeOptions,
    record: RunRecord,
    show: events.Watch,
    pause: Callable[[str], None],
) -> Iterator[Watch]:
    """Measure the region until the `with` block ends.

    :param pause: called once, with the reason, if more than `options.max_failed` requests have failed
    """
    watch = Watch()
    if not options.enabled:
        yield watch
        return
    show(ProbeNote("checking which services respond"))
    # stderr stays connected to the terminal, so that errors of the prober itself are visible
    process = subprocess.Popen(
        [sys.executable, "-m", "scs_deploy.prober"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdin and process.stdout
    ready = threading.Event()
    thread = threading.Thread(
        target=_listen,
        args=(process.stdout, watch, options, record.measuring(), pause, ready),
        name="prober",
        daemon=True,
    )
    thread.start()
    try:
        with suppress(OSError):
            # stdin keeps the password hidden from other processes
            process.stdin.write(job.model_dump_json() + "\n")
            process.stdin.flush()
        ready.wait(FIRST)
        for name, reason in watch.unmeasured.items():
            show(ProbeNote(f"{name} is not measured: {reason}"))
        if watch.news.absent:
            show(ProbeNote(f"nothing is measured: Keystone did not respond before the run: {watch.news.absent}"))
        yield watch
    finally:
        with suppress(OSError):
            process.stdin.close()
        try:
            process.wait(LAST)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        thread.join(5)
        if not watch.news.final and not watch.news.absent:
            show(ProbeNote("the prober ended before the run: its results are incomplete"))
        for resource in watch.news.left:
            show(ProbeNote(f"could not remove {resource}"))
        if watch.news.summaries:
            show(ProbeResult(tuple(watch.news.summaries)))


def _listen(
    lines: Any,
    watch: Watch,
    options: ProbeOptions,
    measured: Callable[[Iterable[Summary]], None],
    pause: Callable[[str], None],
    ready: threading.Event,
) -> None:
    paused = False
    for line in lines:
        try:
            news = News.model_validate_json(line)
        except ValidationError:
            continue
        watch.news = news
        if not ready.is_set():
            watch.unmeasured = news.unmeasured
            ready.set()
        if news.summaries:
            measured(news.summaries)
        if options.max_failed is not None and news.failed > options.max_failed and not paused:
            paused = True
            pause(explain(news, options.max_failed))
    ready.set()


def explain(news: News, limit: int) -> str:
    """The failed requests and their errors, on one line."""
    kinds = [
        f"{s.kind}: {', '.join(f'{error} x{count}' for error, count in s.errors.items())}"
        for s in news.summaries
        if s.failed
    ]
    return f"{news.failed} requests failed, {limit} allowed ({'; '.join(kinds)})"
