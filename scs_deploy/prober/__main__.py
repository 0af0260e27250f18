# SPDX-License-Identifier: Apache-2.0
"""The prober's process: reads an order from its input, probes until that ends or says `stop`, removes what it made.

A process of its own, so that neither the run's work delays its clock nor a killed run leaves its resources behind.
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
from scs_deploy.prober.model import PINGS, TOKENS, WRITES, News, Order, Target
from scs_deploy.prober.schedule import Schedule
from scs_deploy.state import measurement as record
from scs_deploy.state.measurement import Sample

NEWS = 2.0
"""Seconds between two reports."""

PATIENCE = 30.0
"""Seconds for removing what was made, at the end."""

EARLIER = 40.0
"""Seconds for the prober of a killed run to end: it waits for its requests and removes what it made."""

FAILURES = (ApiError, *PROBLEMS)


class Prober:
    """Probes one region and keeps every sample."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.client = Client(order)
        self.samples: dict[str, list[Sample]] = {}
        self.schedules: list[Schedule] = []
        self.begin = 0.0
        # a line is one write: threads need no lock, and what was seen outlives this process
        self.log = (order.samples or Path(os.devnull)).open("a", buffering=1, encoding="utf-8")

    def prepare(self) -> News:
        """See what answers; only that is measured."""
        self._alone()
        try:
            self.client.discover()
        except FAILURES as error:
            return News(absent=say(error))
        unmeasured: dict[str, str] = {}
        for target in self.order.targets:
            try:
                self.client.list(target)
                if target.create:
                    self.client.clean(target)
            except FAILURES as error:
                unmeasured[target.name] = "not in the catalogue" if isinstance(error, KeyError) else say(error)
            else:
                self._add(target)
        self._schedule("token", TOKENS, self.client.issue)
        if self.order.ping:
            try:
                ping = Ping(self.order.ping)
                ping()
            except OSError as error:
                unmeasured["ping"] = say(error)
            else:
                self._schedule("ping", PINGS, ping)
        return News(unmeasured=unmeasured)

    def _alone(self) -> None:
        """Wait until no other prober is at work: all use the same names, and each would remove the other's things."""
        if self.order.lock is None:
            return
        # held until this process ends, however it ends
        self.held = self.order.lock.open("a", encoding="utf-8")
        end = time.monotonic() + EARLIER
        while time.monotonic() < end:
            with suppress(BlockingIOError):
                fcntl.flock(self.held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            time.sleep(0.2)

    def _add(self, target: Target) -> None:
        self._schedule(f"{target.name} list", self.order.interval, partial(self.client.list, target))
        if target.create:
            kind = f"{target.name} write"
            self.samples[kind] = []
            write = partial(self.client.write, target, partial(self._sample, kind))
            self.schedules.append(Schedule(kind, WRITES, WRITES, write))

    def _schedule(self, kind: str, interval: float, work: Callable[[], object]) -> None:
        self.samples[kind] = []
        self.schedules.append(Schedule(kind, interval, self.order.timeout, lambda: self._sample(kind, work)))

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
        """Begin."""
        self.begin = time.time()
        for schedule in self.schedules:
            schedule.start()

    def stop(self) -> News:
        """End; requests under way are waited for, and what was made is removed."""
        for schedule in self.schedules:
            schedule.stop()
        end = time.time()
        for schedule in self.schedules:
            schedule.join(3 * self.order.timeout)
        found = self.news(end)
        return found.model_copy(update={"final": True, "left": self.client.clean_all(PATIENCE)})

    def news(self, end: float = 0.0) -> News:
        """The sums so far."""
        until = end or time.time()
        return News(summaries=tuple(record.summary(k, s[:], self.begin, until) for k, s in self.samples.items()))


def main() -> int:
    """Entry point: the first line of the input is the order."""
    # Ctrl-C is for the run; it ends this process by closing the input
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    prober = Prober(Order.model_validate_json(sys.stdin.readline()))
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
    """One line for the run; nobody may be there any more."""
    try:
        sys.stdout.write(news.model_dump_json() + "\n")
        sys.stdout.flush()
    except OSError:
        # do not try again when the interpreter ends
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123


if __name__ == "__main__":
    sys.exit(main())
