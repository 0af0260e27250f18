# SPDX-License-Identifier: Apache-2.0
"""The prober's process: reads a job from stdin, probes until stdin ends or gets a line, and removes its resources.

It is a separate process so that the run's work does not delay it and a killed run leaves no resources behind.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from scs_deploy.prober.client import Client
from scs_deploy.prober.https import PROBLEMS, ApiError, say
from scs_deploy.prober.icmp import Ping
from scs_deploy.prober.model import PINGS, TOKENS, WRITES, News, ProbeJob, Target
from scs_deploy.prober.schedule import Schedule
from scs_deploy.state import measurement as record
from scs_deploy.state.measurement import Sample

NEWS = 2.0
"""Seconds between two reports."""

PATIENCE = 30.0
"""Seconds to remove the resources at the end."""

EARLIER = 40.0
"""Seconds to wait for the prober of a killed run, which finishes its requests and removes its resources."""

FAILURES = (ApiError, *PROBLEMS)


class Prober:
    """Probes one region and keeps every sample."""

    def __init__(self, job: ProbeJob) -> None:
        self.job = job
        self.client = Client(job)
        self.samples: dict[str, list[Sample]] = {}
        self.schedules: list[Schedule] = []
        self.begin = 0.0
        # each line is one write: threads need no lock, and the samples survive this process
        self.log = (job.samples or Path(os.devnull)).open("a", buffering=1, encoding="utf-8")

    def prepare(self) -> News:
        """Find out which targets respond. Only those are measured."""
        self._alone()
        try:
            self.client.discover()
        except FAILURES as error:
            return News(absent=say(error))
        unmeasured: dict[str, str] = {}
        for target in self.job.targets:
            try:
                self.client.list(target)
                if target.create:
                    self.client.clean(target)
            except FAILURES as error:
                unmeasured[target.name] = "not in the catalogue" if isinstance(error, KeyError) else say(error)
            else:
                self._add(target)
        self._schedule("token", TOKENS, self.client.issue)
        if self.job.ping:
            try:
                ping = Ping(self.job.ping)
                ping()
            except OSError as error:
                unmeasured["ping"] = say(error)
            else:
                self._schedule("ping", PINGS, ping)
        return News(unmeasured=unmeasured)

    def _alone(self) -> None:
        """Wait for other probers to end. All use the same names, so each would remove the other's resources."""
        if self.job.lock is None:
            return
        # locked until this process ends
        self.held = self.job.lock.open("a", encoding="utf-8")
        end = time.monotonic() + EARLIER
        while time.monotonic() < end:
            with suppress(BlockingIOError):
                fcntl.flock(self.held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            time.sleep(0.2)

    def _add(self, target: Target) -> None:
        self._schedule(f"{target.name} list", self.job.interval, partial(self.client.list, target))
        if target.create:
            kind = f"{target.name} write"
            self.samples[kind] = []
            write = partial(self.client.write, target, partial(self._sample, kind))
            self.schedules.append(Schedule(kind, WRITES, WRITES, write))

    def _schedule(self, kind: str, interval: float, work: Callable[[], object]) -> None:
        self.samples[kind] = []
        self.schedules.append(Schedule(kind, interval, self.job.timeout, lambda: self._sample(kind, work)))

    def _sample(self, kind: str, work: Callable[[], Any]) -> Any:
        start, clock = time.time(), time.monotonic()
        error, answer = "", None
        try:
            answer = work()
        except FAILURES as problem:
            error = say(problem)
        sample = Sample(kind=kind, start=start, seconds=time.monotonic() - clock, error=error)
        self.samples[kind].append(sample)
        self.log.write(sample.model_dump_json(exclude_defaults=True) + "\n")
        return answer

    def start(self) -> None:
        """Start probing."""
        self.begin = time.time()
        for schedule in self.schedules:
            schedule.start()

    def stop(self) -> News:
        """Stop probing: finish the pending requests and remove all resources."""
        for schedule in self.schedules:
            schedule.stop()
        end = time.time()
        for schedule in self.schedules:
            schedule.join(3 * self.job.timeout)
        return self.news(end).model_copy(update={"final": True, "left": self.client.clean_all(PATIENCE)})

    def news(self, end: float = 0.0) -> News:
        """The sums so far."""
        until = end or time.time()
        return News(summaries=tuple(record.summary(k, s[:], self.begin, until) for k, s in self.samples.items()))


def main() -> int:
    """Entry point. The first line of stdin is the job."""
    # Ctrl-C is meant for the run, which ends this process by closing stdin
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    prober = Prober(ProbeJob.model_validate_json(sys.stdin.readline()))
    first = prober.prepare()
    tell(first)
    if first.absent:
        return 0
    over = threading.Event()

    def wait() -> None:
        sys.stdin.readline()
        over.set()

    threading.Thread(target=wait, daemon=True).start()
    prober.start()
    while not over.wait(NEWS):
        tell(prober.news())
    tell(prober.stop())
    return 0


def tell(news: News) -> None:
    """Send one line to the run, which may have ended."""
    try:
        sys.stdout.write(news.model_dump_json() + "\n")
        sys.stdout.flush()
    except OSError:
        # prevents another attempt when the interpreter exits
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123


if __name__ == "__main__":
    sys.exit(main())
