# SPDX-License-Identifier: Apache-2.0
"""Asks a region all the time, writes to it, and looks afterwards whether everything that it acknowledged is there.

python -m tests.fault.prober --seconds 60
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import math
import secrets as random
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pymysql
from rich.console import Console
from rich.table import Table

from scs_deploy.base.errors import ScsError
from scs_deploy.prober.https import TIMEOUT, ApiError, Https
from scs_deploy.prober.schedule import Schedule
from scs_deploy.region.region import Region
from scs_deploy.state import measurement as record
from scs_deploy.state.measurement import Gap, Sample, Summary
from scs_deploy.validate.objects import SERVICE
from scs_deploy.validate.s3 import S3, Credentials
from tests.fault.bucket import Bucket
from tests.fault.client import database, say
from tests.fault.record import discrepancies

SCHEMA = "scs_prober"
WRITES = "database write"
PROJECTS = "project create"
NETWORKS = "network create"
OBJECTS = "object put"
INTERVALS = {
    "token issue": 2.0,  # Keystone hashes the password with bcrypt: a third of a second of processor
    "server list": 0.7,
    "network list": 0.6,
    "image list": 0.4,
    WRITES: 0.5,
    PROJECTS: 5.0,
    NETWORKS: 5.0,
    OBJECTS: 1.0,
}
"""kind: seconds between two requests. The first four are together 6.1 per second; the last only with object storage."""
PROBES = tuple(INTERVALS)[:5]
"""Kinds whose longest gap says how long the region did not answer."""


PROBLEMS = (OSError, pymysql.Error, ApiError, http.client.HTTPException, ValueError, LookupError, RuntimeError)
"""What a request fails with; the last three are answers that make no sense."""
T = TypeVar("T")


class Writes:
    """Numbered writes of one kind: what was tried, and what was acknowledged with which id."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self.attempted: list[int] = []
        self.acknowledged: dict[int, str] = {}

    def next(self) -> int:
        """Number of a new attempt."""
        number = next(self._numbers)
        self.attempted.append(number)
        return number


class Prober:
    """Probes a region from `start` to `stop`; a context manager that also removes what it made.

    :raises ApiError, OSError, pymysql.Error: on entering: the region does not work before anything was done to it
    """

    def __init__(self, inputs: Region) -> None:
        environment = inputs.environment
        self._context, self._ca = inputs, environment.ca_file
        self._password = inputs.secrets["keystone_admin_password"]
        self._database_password = inputs.secrets["mariadb_root_password"]
        api = environment.settings.api
        self._database = str(api.internal.address)
        self._auth_url = f"https://{api.external.name}:5000/v3"
        self.members = {h.name: h.management for h in inputs.hosts_of("mariadb")}
        self.https = Https(self._ca)
        self.id = random.token_hex(4)
        self.prefix = f"scs-prober-{self.id}-"
        self.samples: list[Sample] = []
        self.writes = {kind: Writes() for kind in (WRITES, PROJECTS, NETWORKS)}
        self.begin = self.end = 0.0
        self.urls: dict[str, str] = {}
        self._token: tuple[str, float] = ("", 0.0)
        self._token_lock = threading.Lock()
        self._project = ""
        self._credential = ""
        self.bucket: Bucket | None = None
        """None: the region has no object storage"""
        self._schedules: list[Schedule] = []

    def __enter__(self) -> Prober:
        try:
            return self._enter()
        except BaseException:
            if self.urls:
                self.clean(0)
            raise

    def _enter(self) -> Prober:
        self.urls = self._catalogue()
        self._project = self._create("project", "home")
        # the default quota of networks would end a long test
        self.https("PUT", f"{self.urls['network']}/v2.0/quotas/{self._project}", self.token(),
                   {"quota": {"network": -1}}, 30)  # fmt: skip
        with self.session(timeout=30) as session, session.cursor() as cursor:
            cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
            cursor.execute(
                f"CREATE TABLE {SCHEMA}.writes_{self.id} (number BIGINT PRIMARY KEY, at DOUBLE NOT NULL, "
                "filler VARCHAR(200) NOT NULL) ENGINE=InnoDB"
            )
        if SERVICE in self.urls:
            self._make_bucket(self.urls[SERVICE])
        return self

    def _make_bucket(self, url: str) -> None:
        """Credentials of the administrator for EC2, and a bucket."""
        made = Credentials(f"{self.prefix}s3", random.token_hex(24))
        headers, answer = self._authenticate()
        mine = answer["token"]
        body = {
            "type": "ec2", "user_id": mine["user"]["id"], "project_id": mine["project"]["id"],
            "blob": json.dumps({"access": made.access, "secret": made.secret}),
        }  # fmt: skip
        token = headers["x-subject-token"]
        _, answer = self.https("POST", f"{self.urls['identity']}/credentials", token, {"credential": body}, 30)
        self._credential = str(answer["credential"]["id"])
        parts = urlsplit(url)
        region = self._context.environment.settings.region
        user = S3(f"{parts.scheme}://{parts.netloc}", made, region, self._ca, TIMEOUT)
        bucket = Bucket(user, f"{self.prefix}objects")
        bucket.make()
        self.bucket, self.writes[OBJECTS] = bucket, Writes()

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.clean()

    # -- probing

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of requests that this region takes."""
        return tuple(k for k in INTERVALS if k != OBJECTS or self.bucket)

    def start(self) -> None:
        """Begin to probe."""
        work: dict[str, Callable[[], object]] = {
            "token issue": self._issue,
            "server list": lambda: self._list("compute", "/servers?limit=10"),
            "network list": lambda: self._list("network", "/v2.0/networks?limit=10&fields=id"),
            "image list": lambda: self._list("image", "/v2/images?limit=10"),
            WRITES: self._write,
            PROJECTS: lambda: self._acknowledge(PROJECTS, "project"),
            NETWORKS: lambda: self._acknowledge(NETWORKS, "network"),
            OBJECTS: self._put,
        }
        self._schedules = [
            Schedule(kind, INTERVALS[kind], TIMEOUT, lambda kind=kind: self._sample(kind, work[kind]))  # type: ignore[misc]
            for kind in self.kinds
        ]
        self.begin = time.time()
        for schedule in self._schedules:
            schedule.start()

    def stop(self) -> None:
        """End probing; requests under way are waited for."""
        if self.end or not self.begin:
            return
        for schedule in self._schedules:
            schedule.stop()
        # before the last requests return: one that comes back late must not shorten the last gap
        self.end = time.time()
        for schedule in self._schedules:
            schedule.join(3 * TIMEOUT)

    def _sample(self, kind: str, work: Callable[[], object]) -> None:
        start, clock = time.time(), time.monotonic()
        error = ""
        try:
            work()
        except PROBLEMS as problem:
            error = say(problem)
        self.samples.append(Sample(kind=kind, start=start, seconds=time.monotonic() - clock, error=error))

    def _issue(self) -> str:
        headers, _ = self._authenticate()
        return headers["x-subject-token"]

    def _authenticate(self) -> tuple[dict[str, str], Any]:
        domain = {"id": "default"}
        user = {"name": "admin", "domain": domain, "password": self._password}
        body = {
            "auth": {
                "identity": {"methods": ["password"], "password": {"user": user}},
                "scope": {"project": {"name": "admin", "domain": domain}},
            }
        }
        return self.https("POST", f"{self._auth_url}/auth/tokens?nocatalog", body=body)

    def token(self) -> str:
        """A token that is used for a while, as clients do: issuing one is a probe of its own."""
        with self._token_lock:
            token, until = self._token
            if time.monotonic() > until:
                token = self._issue()
                self._token = (token, time.monotonic() + 600)
            return token

    def _list(self, service: str, path: str) -> None:
        try:
            self.https("GET", self.urls[service] + path, self.token())
        except ApiError as error:
            if error.status == 401:
                self._token = ("", 0.0)
            raise

    def _write(self) -> None:
        writes = self.writes[WRITES]
        number = writes.next()
        session = self.session()
        try:
            with session.cursor() as cursor:
                cursor.execute(
                    f"INSERT INTO {SCHEMA}.writes_{self.id} VALUES (%s, %s, %s)", (number, time.time(), "x" * 200)
                )
            session.commit()
            writes.acknowledged[number] = str(number)
        finally:
            session.close()

    def _acknowledge(self, kind: str, resource: str) -> None:
        number = self.writes[kind].next()
        self.writes[kind].acknowledged[number] = self._create(resource, str(number))

    def _put(self) -> None:
        assert self.bucket
        number = self.writes[OBJECTS].next()
        self.bucket.put(number)
        self.writes[OBJECTS].acknowledged[number] = str(number)

    def _create(self, resource: str, suffix: str) -> str:
        body: dict[str, Any] = {"name": self.prefix + suffix}
        if resource == "project":
            url = f"{self.urls['identity']}/projects"
        else:
            url = f"{self.urls['network']}/v2.0/networks"
            body["project_id"] = self._project
        _, answer = self.https("POST", url, self.token(), {resource: body})
        return str(answer[resource]["id"])

    def _catalogue(self) -> dict[str, str]:
        _, answer = self.https("GET", f"{self._auth_url}/auth/catalog", self.token(), timeout=30)
        return {
            service["type"]: endpoint["url"].rstrip("/")
            for service in answer["catalog"]
            for endpoint in service["endpoints"]
            if endpoint["interface"] == "public"
        }

    def session(self, host: str = "", timeout: float = TIMEOUT) -> Any:
        """A session with a member's address, by default with the load balancer.

        :raises pymysql.Error, OSError: no session in time
        """
        return database(host or self._database, self._database_password, self._ca, timeout)

    # -- afterwards

    def summaries(self) -> list[Summary]:
        """What every kind saw."""
        return [record.summary(kind, self.samples, self.begin, self.end) for kind in self.kinds]

    def longest_gap(self, since: float = 0.0, until: float = math.inf) -> Gap:
        """The longest gap of all probes: no kind had a longer one.

        :param since, until: of gaps that began then, `until` excluded; a gap is never cut short
        """
        found = [
            gap
            for kind in PROBES
            for gap in record.gaps(kind, self.samples, self.begin, self.end)
            if since <= gap.begin < until
        ]
        return max(found, key=lambda g: g.seconds, default=Gap(kind="none", begin=self.end, seconds=0))

    def pause(self, kind: str) -> Gap:
        """The longest gap of one kind."""
        return record.longest_gap(kind, self.samples, self.begin, self.end)

    @property
    def cpu(self) -> float:
        """Seconds of processor that the probing took; known after `stop`."""
        return sum(s.cpu for s in self._schedules)

    def verify(self, patience: float = 60) -> list[str]:
        """Compare what was acknowledged with what is there: rows on every member, projects, networks, objects.
        Empty: all well.

        :param patience: seconds to wait for a region or a member that does not answer
        :raises ScsError: it does not answer in that time
        """
        return _patiently(self._verify, patience)

    def _verify(self) -> list[str]:
        rows = self.writes[WRITES]
        problems: list[str] = []
        for name, address in self.members.items():
            with self.session(address, 60) as session, session.cursor() as cursor:
                # a read that waits for what the cluster has committed so far
                cursor.execute("SET SESSION wsrep_sync_wait = 1")
                cursor.execute(f"SELECT number FROM {SCHEMA}.writes_{self.id}")
                found = [int(n) for (n,) in cursor.fetchall()]
            problems += discrepancies(f"rows on {name}", rows.attempted, rows.acknowledged, found)
        for kind, resources in ((PROJECTS, self._projects()), (NETWORKS, self._networks())):
            writes = self.writes[kind]
            numbers = [int(n) for n in resources.values() if n.isdecimal()]
            problems += discrepancies(kind, writes.attempted, writes.acknowledged, numbers, repeats=kind == NETWORKS)
            other = sorted(n for n, i in writes.acknowledged.items() if n in numbers and i not in resources)
            if other:
                problems.append(f"{kind}: {len(other)} have another id than was acknowledged: {other[:10]}")
        return problems + self._verify_objects()

    def _verify_objects(self) -> list[str]:
        if not self.bucket:
            return []
        writes, found = self.writes[OBJECTS], self.bucket.numbers()
        problems = discrepancies("objects", writes.attempted, writes.acknowledged, found)
        if spoiled := self.bucket.spoiled(sorted(writes.acknowledged.keys() & set(found))):
            problems.append(f"objects: {len(spoiled)} are listed and not returned as they were put: {spoiled[:10]}")
        return problems

    def networks_of_acknowledged(self) -> set[str]:
        """Ids of the networks that were acknowledged."""
        return set(self.writes[NETWORKS].acknowledged.values())

    def _own(self, url: str, key: str) -> dict[str, str]:
        """id: what follows the prefix in its name"""
        _, answer = self.https("GET", url, self.token(), timeout=60)
        return {r["id"]: r["name"][len(self.prefix) :] for r in answer[key] if r["name"].startswith(self.prefix)}

    def _projects(self) -> dict[str, str]:
        return self._own(f"{self.urls['identity']}/projects", "projects")

    def _networks(self) -> dict[str, str]:
        return self._own(
            f"{self.urls['network']}/v2.0/networks?project_id={self._project}&fields=id&fields=name", "networks"
        )

    def clean(self, patience: float = 60) -> None:
        """Remove the table, the networks, the projects and the bucket.

        :raises ScsError: the region does not answer in `patience` seconds
        """
        _patiently(self._clean, patience)

    def _clean(self) -> None:
        if self.bucket:
            self.bucket.remove()
            self.bucket = None
        if self._credential:
            self.https("DELETE", f"{self.urls['identity']}/credentials/{self._credential}", self.token(), timeout=60)
            self._credential = ""
        for network in self._networks():
            self.https("DELETE", f"{self.urls['network']}/v2.0/networks/{network}", self.token(), timeout=60)
        self.https("DELETE", f"{self.urls['network']}/v2.0/quotas/{self._project}", self.token(), timeout=60)
        for project in self._projects():
            self.https("DELETE", f"{self.urls['identity']}/projects/{project}", self.token(), timeout=60)
        with self.session(timeout=60) as session, session.cursor() as cursor:
            for table in ("writes", "growth"):
                cursor.execute(f"DROP TABLE IF EXISTS {SCHEMA}.{table}_{self.id}")
            cursor.execute("SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = %s", (SCHEMA,))
            if cursor.fetchone() == (0,):
                cursor.execute(f"DROP SCHEMA {SCHEMA}")


def _patiently(work: Callable[[], T], patience: float) -> T:
    deadline = time.monotonic() + patience
    while True:
        try:
            return work()
        except PROBLEMS as error:
            if time.monotonic() > deadline:
                raise ScsError(f"prober: {say(error)}, for {patience:g} s", "scs status") from None
            time.sleep(1)


def table(prober: Prober) -> Table:
    """Summaries as a person reads them."""
    found = Table("Request", "Number", "Per second", "Failed", "Median", "Longest gap", "Errors", box=None)
    for s in prober.summaries():
        errors = "; ".join(f"{text} x{count}" for text, count in s.errors.items())
        found.add_row(
            s.kind, str(s.requests), f"{s.per_second:.2f}", str(s.failed), f"{s.p50 * 1000:.0f} ms",
            str(s.gap).replace(f"{s.kind}, ", ""), errors,
        )  # fmt: skip
    return found


def main(arguments: list[str] | None = None) -> int:
    """Probe for a while, print what was seen; exit code 1 when an acknowledged write is lost."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fault.prober",
        description="Probe a region: requests, database writes, created resources; then check that all are there.",
        epilog="Example: SCS_ENVIRONMENT=testbed-ha python -m tests.fault.prober --seconds 60",
    )
    parser.add_argument("--seconds", type=float, default=60, help="how long (default: 60); Ctrl-C ends it earlier")
    parser.add_argument("--environment", help="default: SCS_ENVIRONMENT")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every request to a file")
    chosen = parser.parse_args(arguments)
    try:
        return probe(chosen.environment, chosen.seconds, chosen.json)
    except (ScsError, *PROBLEMS) as error:
        print(f"error: {error if isinstance(error, ScsError) else say(error)}", file=sys.stderr)
        return error.exit_code if isinstance(error, ScsError) else 1


def probe(environment: str | None, duration: float, file: Path | None) -> int:
    """Probe a region for `duration` seconds; exit code."""
    console = Console()
    with Prober(Region.load(environment)) as prober:
        prober.start()
        try:
            with console.status("") as status:
                while (left := prober.begin + duration - time.time()) > 0:
                    failed = sum(bool(s.error) for s in prober.samples[:])
                    status.update(f"probing, {left:.0f} s left: {len(prober.samples)} requests, {failed} failed")
                    time.sleep(min(left, 0.5))
        except KeyboardInterrupt:
            pass
        prober.stop()
        console.print(table(prober))
        seconds = prober.end - prober.begin
        console.print(
            f"longest gap {prober.longest_gap()}; the prober used {100 * prober.cpu / seconds:.1f} % of one processor"
        )
        if file:
            file.write_text(json.dumps([s.model_dump() for s in prober.samples]) + "\n", encoding="utf-8")
        problems = prober.verify()
        for problem in problems:
            console.print(f"[red]{problem}[/]")
        console.print(
            ", ".join(f"{len(w.acknowledged)} of {len(w.attempted)} {k}s acknowledged"
                      for k, w in prober.writes.items())
        )  # fmt: skip
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
