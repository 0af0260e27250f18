# SPDX-License-Identifier: Apache-2.0
"""Alerts during a run: nobody is told of those that it causes, and others can pause it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial

from scs_deploy.base.errors import ScsError
from scs_deploy.desired.endpoints import endpoints
from scs_deploy.engine import remote
from scs_deploy.plan.change import REGION
from scs_deploy.plan.region import Plan
from scs_deploy.region.region import Region
from scs_deploy.shared.monitoring import ALERTS, Alert, Monitoring, any_of, of_services
from scs_deploy.state import process

INTERVAL = 30.0
"""Seconds between two questions for new alerts."""

LENGTH = timedelta(hours=1)
"""Of a silence, which is made longer while the run goes on: one whose run was killed ends by itself."""

AFTER = timedelta(minutes=5)
"""From the end of the run: what it caused is over, and Prometheus notices."""

DRAINED = timedelta(days=1)
"""From the end of a drain: the host may go down, and comes back with another operation."""


def expected(region: Region, plan: Plan) -> list[dict[str, str]]:
    """Labels of the alerts that a plan may cause, a mapping for each silence.

    Those of each changed service on the hosts where it changes, and of its API.
    """
    hosts_of: dict[str, set[str]] = {}
    for change in plan.changes:
        if change.host != REGION and change.service:
            hosts_of.setdefault(change.service, set()).add(change.host)
    together: dict[str, list[str]] = {}
    for service, hosts in hosts_of.items():
        together.setdefault(any_of(hosts), []).append(service)
    found = [m for hosts, services in together.items() for m in of_services(services, host=hosts)]
    if proxies := {e.name for e in endpoints(region) if e.service in hosts_of}:
        found.append({"proxy": any_of(proxies)})
    return found


class AlertWatch:
    """The silences of a run, and the alerts that were there before it.

    :param comment: of the silences; earlier ones with the same comment end with these
    """

    def __init__(self, monitoring: Monitoring, silences: Sequence[Mapping[str, str]], comment: str) -> None:
        self._monitoring = monitoring
        self._silences: list[tuple[str, Mapping[str, str]]] = []
        self._until = datetime.now(UTC) + LENGTH
        self._comment = comment
        self._earlier = [s.id for s in monitoring.silences() if s.comment == comment]
        self._known = {_key(a) for a in monitoring.alerts() if a.counts}
        for matchers in silences:
            self._silences.append((self._silence(matchers), matchers))

    def unexpected(self) -> list[Alert]:
        """Critical alerts that are new since the run began and that it does not explain.

        :raises ScsError: no Alertmanager answers
        """
        self._prolong()
        alerts = [a for a in self._monitoring.alerts() if a.counts and a.severity == "critical"]
        return [a for a in alerts if _key(a) not in self._known]

    def end(self, after: timedelta = AFTER) -> None:
        """Have the silences end.

        :raises ScsError: no Alertmanager answers
        """
        self._until = datetime.now(UTC) + after
        earlier = [partial(self._monitoring.end_silence, i) for i in self._earlier]
        _each([*self._lasting(), *earlier])

    def _prolong(self) -> None:
        if self._until - datetime.now(UTC) < LENGTH / 2:
            self._until = datetime.now(UTC) + LENGTH
            _each(self._lasting())

    def _lasting(self) -> list[Callable[[], None]]:
        return [partial(self._last_until, n) for n in range(len(self._silences))]

    def _last_until(self, number: int) -> None:
        """Have a silence last until `_until`. Alertmanager makes another one of it, whose id only its answer tells."""
        identifier, matchers = self._silences[number]
        self._silences[number] = self._silence(matchers, identifier), matchers

    def _silence(self, matchers: Mapping[str, str], identifier: str = "") -> str:
        now = datetime.now(UTC)
        return self._monitoring.silence(matchers, now, self._until, process.owner(), self._comment, identifier)


def _each(requests: Iterable[Callable[[], None]]) -> None:
    """Make all requests, whichever fail.

    :raises ScsError: the first failure
    """
    failed: list[ScsError] = []
    for request in requests:
        try:
            request()
        except ScsError as error:
            failed.append(error)
    if failed:
        raise failed[0]


def _key(alert: Alert) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(alert.labels.items()))


@contextmanager
def watched(
    region: Region, silences: Sequence[Mapping[str, str]], comment: str, say: Callable[[str], None],
    limit: int | None = None, pause: Callable[[str], None] = lambda _why: None, after: timedelta = AFTER,
) -> Iterator[None]:  # fmt: skip
    """Silence what a run may cause until the block ends.

    A region whose Alertmanager does not answer, e.g. a new one, goes without.

    :param silences: labels of the alerts, a mapping for each silence
    :param comment: of the silences; earlier ones with the same comment end with them
    :param say: takes what could not be done
    :param limit: pause once more unexpected critical alerts than this are there; None: never
    :param pause: called once, with the reason
    :param after: how long the silences last after a block that succeeds
    """
    if (not silences and limit is None) or ALERTS not in region.catalog.services:
        yield
        return
    try:
        watch = AlertWatch(Monitoring(region, remote.runner_in(region)), silences, comment)
    except ScsError as error:
        if limit is not None:
            say(f"alerts are neither silenced nor watched: {error.message}")
        yield
        return
    over = threading.Event()
    thread = threading.Thread(target=_follow, args=(watch, over, limit, pause), name="alerts", daemon=True)
    thread.start()
    lasting = AFTER
    try:
        yield
        lasting = after
    finally:
        over.set()
        thread.join(60)
        try:
            watch.end(lasting)
        except ScsError:
            say(f"could not end the silences of this run: they end by themselves in {LENGTH.seconds // 3600} h")


def _follow(watch: AlertWatch, over: threading.Event, limit: int | None, pause: Callable[[str], None]) -> None:
    paused = False
    while not over.wait(INTERVAL):
        try:
            found = watch.unexpected()
        except (ScsError, ValueError, KeyError):
            # it may be Alertmanager's own turn
            continue
        if limit is not None and len(found) > limit and not paused:
            paused = True
            pause(explain(found, limit))


def explain(alerts: list[Alert], limit: int) -> str:
    """The alerts, on one line."""
    told = "; ".join(f"{a.name}: {a.summary}" for a in alerts[:3])
    more = f"; and {len(alerts) - 3} more" if len(alerts) > 3 else ""
    return f"{len(alerts)} unexpected critical alerts, {limit} allowed ({told}{more})"
