# SPDX-License-Identifier: Apache-2.0
"""A region's log stores: the lines of all its hosts, by service, level, request and words.

Each store has every line, so that the first one that answers is asked.

Sources: https://docs.victoriametrics.com/victorialogs/logsql/,
https://docs.victoriametrics.com/victorialogs/querying/#querying-logs
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.base.model import Model
from scs_deploy.region.region import Region
from scs_deploy.shared.monitoring import CURL, GROUP, Run, first_answer

SERVICE = "victorialogs"
"""And its container."""

QUERY = "http://127.0.0.1:9428/select/logsql/query"

KNOWN = ("_time", "_msg", "host", "service", "container", "level")


class Line(Model):
    """A line of a log."""

    time: str
    """RFC 3339, UTC"""
    host: str
    service: str
    """of scs; of a host's journal its systemd unit"""
    container: str
    """empty: it is of the host's journal"""
    level: str
    text: str
    fields: dict[str, str]
    """what it says else: request_id, project, user, server, logger, ..."""


class Search(Model):
    """What is looked for; empty: anything."""

    service: str = ""
    container: str = ""
    unit: str = ""
    host: str = ""
    levels: tuple[str, ...] = ()
    request: str = ""
    """id of a request, which services hand on to others"""
    grep: str = ""
    """regular expression"""
    since: datetime | None = None
    until: datetime | None = None
    lines: int | None = None
    """the newest of them; None: all"""

    def logsql(self) -> str:
        """The query."""
        streams = {"service": self.service or self.unit, "container": self.container, "host": self.host}
        said = [f"{name}={json.dumps(value)}" for name, value in streams.items() if value]
        words = [f"{{{','.join(said)}}}"] if said else []
        if self.levels:
            words.append(f"level:in({','.join(self.levels)})")
        if self.request:
            words.append(f"_msg:{json.dumps(self.request)}")
        if self.grep:
            words.append(f"_msg:~{json.dumps(self.grep)}")
        return " ".join(words) or "*"


class LogStore:
    """The log stores of a region.

    :param run: how commands get into containers
    :raises RefusedError: the region has none
    """

    def __init__(self, region: Region, run: Run) -> None:
        self._run = run
        if SERVICE not in region.catalog.services:
            raise RefusedError(
                f"this region keeps no logs: no host is in group {GROUP}",
                f"add two hosts to the inventory's group {GROUP}: docs/how-to/monitoring.md",
            )
        self.hosts = tuple(h.name for h in region.hosts_of(SERVICE))

    def find(self, search: Search) -> list[Line]:
        """The lines that match, the oldest first.

        :raises ScsError: no store answers, or it does not understand the query
        """
        words = ["--data-urlencode", f"query={search.logsql()}"]
        for name, time in (("start", search.since), ("end", search.until)):
            if time:
                words += ["--data-urlencode", f"{name}={time.isoformat()}"]
        if search.lines is not None:
            words += ["--data-urlencode", f"limit={search.lines}"]
        return sorted((_line(json.loads(row)) for row in self._ask(words).splitlines() if row), key=lambda r: r.time)

    def newest(self) -> dict[str, dict[str, str]]:
        """store's host: {host: time of its newest line in the last hour}; an empty mapping for a store that is silent.

        :raises ScsError: a store does not answer
        """
        words = ["--data-urlencode", "query=_time:1h | stats by (host) max(_time) newest"]
        found = {}
        for store in self.hosts:
            rows = [json.loads(row) for row in self._ask(words, (store,)).splitlines() if row]
            found[store] = {row["host"]: row["newest"] for row in rows if "host" in row}
        return found

    def _ask(self, words: Iterable[str], hosts: tuple[str, ...] = ()) -> str:
        # --fail would hide what is wrong with a query
        argv = (*(w for w in CURL if w != "--fail"), *words, QUERY)
        host, output = first_answer(self._run, hosts or self.hosts, SERVICE, argv, "log store")
        if output.strip() and not output.startswith("{"):
            raise ScsError(f"{host}: the log store refuses the search: {output.strip()}")
        return output


def _line(row: Mapping[str, str]) -> Line:
    return Line(
        time=row["_time"], host=row.get("host", ""), service=row.get("service", ""), container=row.get("container", ""),
        level=row.get("level", ""), text=row.get("_msg", ""),
        fields={n: v for n, v in row.items() if n not in KNOWN and not n.startswith("_stream")},
    )  # fmt: skip
