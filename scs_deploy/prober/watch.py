# SPDX-License-Identifier: Apache-2.0
"""Runs a prober beside a run: starts it, keeps its sums in the run's record, pauses the run when too much fails."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from pydantic import ValidationError

from scs_deploy.base.model import Model
from scs_deploy.desired.endpoints import endpoints
from scs_deploy.engine.events import ProbeNote, ProbeResult
from scs_deploy.engine.events import Watch as Show
from scs_deploy.prober.model import News, Order, Target
from scs_deploy.region.region import Region
from scs_deploy.state.runs import RunRecord

FIRST = 60.0
"""Seconds for the first round of questions; a region that answers takes a few."""

LAST = 90.0
"""Seconds for requests under way and the removal of what was made."""


class Options(Model):
    """What the operator wants of the prober."""

    enabled: bool = True
    max_failed: int | None = None
    """pause when more requests than these have failed; None: never"""
    ping: str = ""
    """address of a test VM"""


class Watch:
    """What is known of the prober's findings so far."""

    def __init__(self) -> None:
        self.news = News()
        self.unmeasured: dict[str, str] = {}


def order(region: Region, ping: str = "") -> Order:
    """What to ask of a region: every endpoint whose spec says how, and that users reach."""
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
    return Order(
        auth_url=f"https://{name}:{port}/v3",
        password=region.secrets["keystone_admin_password"],
        ca=region.environment.ca_file,
        addresses={name: str(settings.api.external.address)},
        targets=tuple(targets),
        ping=ping,
    )


@contextmanager
def watching(
    what: Order,
    options: Options,
    record: RunRecord,
    show: Show,
    pause: Callable[[str], None],
) -> Iterator[Watch]:
    """`with watching(...):` - the region is measured until the block ends, however it ends.

    :param pause: called once, with the reason, when more than `options.max_failed` requests have failed
    """
    watch = Watch()
    if not options.enabled:
        yield watch
        return
    show(ProbeNote("looking what answers"))
    # stderr is the terminal's: an error of the prober itself is nothing to hide
    process = subprocess.Popen(
        [sys.executable, "-m", "scs_deploy.prober"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdin and process.stdout
    ready = threading.Event()
    thread = threading.Thread(
        target=_listen, args=(process.stdout, watch, options, record, pause, ready), name="prober", daemon=True
    )
    thread.start()
    try:
        with suppress(OSError):
            # a password in the process's input is seen by nobody else
            process.stdin.write(what.model_dump_json() + "\n")
            process.stdin.flush()
        ready.wait(FIRST)
        for name, why in watch.unmeasured.items():
            show(ProbeNote(f"{name} is not measured: {why}"))
        if watch.news.absent:
            show(ProbeNote(f"nothing is measured: Keystone did not answer before the run: {watch.news.absent}"))
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
            show(ProbeNote("ended before the run did: its numbers are incomplete"))
        for thing in watch.news.left:
            show(ProbeNote(f"not removed: {thing}"))
        if watch.news.summaries:
            show(ProbeResult(tuple(watch.news.summaries)))


def _listen(
    lines: Any,
    watch: Watch,
    options: Options,
    record: RunRecord,
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
            record.measured(news.summaries)
        if options.max_failed is not None and news.failed > options.max_failed and not paused:
            paused = True
            pause(explain(news, options.max_failed))
    ready.set()


def explain(news: News, limit: int) -> str:
    """Which requests failed, and how, on one line."""
    kinds = [
        f"{s.kind}: {', '.join(f'{error} x{count}' for error, count in s.errors.items())}"
        for s in news.summaries
        if s.failed
    ]
    return f"{news.failed} requests failed, {limit} are allowed ({'; '.join(kinds)})"
