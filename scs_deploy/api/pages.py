# SPDX-License-Identifier: Apache-2.0
"""The pages for operators. They read what is known, and never wait for a host."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from scs_deploy.api import charts, markdown, shown, views
from scs_deploy.api.facts import Answers, Backups, Certificates, Containers, Differences, Drift, Kind, Monitored
from scs_deploy.api.knowledge import INTERVALS, Knowledge
from scs_deploy.api.phrases import speaker
from scs_deploy.api.watched import Watched
from scs_deploy.base import paths
from scs_deploy.base.errors import RefusedError
from scs_deploy.environment import release_lock
from scs_deploy.plan.change import Change
from scs_deploy.secrets.issuing import RENEW_DAYS
from scs_deploy.shared.monitoring import ALERTS
from scs_deploy.spec.service import Service
from scs_deploy.state.runs import Status

RUNS = 50
"""Of one page of the list."""

STEPS = 500
"""That the page of a run shows; all are in `scs runs show`."""


@dataclass(frozen=True)
class Pages:
    """Each method is the answer to one path."""

    knowledge: Knowledge
    watched: Watched

    def show(self, request: Request, template: str, *kinds: Kind, **values: Any) -> Response:
        """A page, with the age of the facts that it shows.

        :param kinds: that it shows
        """
        facts = {k.value: self.knowledge.known(k) for k in kinds}
        return shown.page(
            request, template, self.watched.region.environment.name, facts=facts, problem=self.watched.problem,
            intervals=INTERVALS, **values,
        )  # fmt: skip

    def _containers(self) -> Containers | None:
        return self.knowledge.of(Kind.CONTAINERS, Containers)

    def _drift(self) -> Drift | None:
        return self.knowledge.of(Kind.PLAN, Drift)

    def _monitored(self) -> Monitored | None:
        return self.knowledge.of(Kind.MONITORING, Monitored)

    def overview(self, request: Request) -> Response:
        """The state of the region at a glance."""
        region = self.watched.region
        kinds = [k for k in self.knowledge.kinds if k is not Kind.INVENTORY]
        containers, monitored = self._containers(), self._monitored()
        backups = self.knowledge.of(Kind.BACKUPS, Backups)
        certificates = self.knowledge.of(Kind.CERTIFICATES, Certificates)
        ends = [e.ends for e in certificates.entries if e.ends] if certificates else []
        return self.show(
            request, "overview.html", *kinds,
            settings=region.environment.settings,
            rows=views.host_rows(region, containers), containers=containers,
            failing=[s for s in containers.states if not views.works_well(s)] if containers else [],
            drift=self._drift(), monitored=monitored,
            calling=[a for a in monitored.alerts if a.counts] if monitored else [],
            has_monitoring=ALERTS in region.catalog.services,
            answers=self.knowledge.of(Kind.ANSWERS, Answers),
            certificates=certificates, first_end=min(ends, default=None),
            backups=backups, newest=backups.backups[-1] if backups and backups.backups else None,
            latest=next(iter(self.watched.runs().list(1)), None),
            announcements=self.watched.announcements(), left_out=region.left_out,
        )  # fmt: skip

    def hosts(self, request: Request) -> Response:
        """The map of the region."""
        rows = views.host_rows(self.watched.region, self._containers())
        return self.show(request, "hosts.html", Kind.CONTAINERS, racks=views.racks(rows), count=len(rows))

    def host(self, request: Request) -> Response:
        """One host."""
        name, region = request.path_params["name"], self.watched.region
        if name not in region.inventory.hosts:
            raise HTTPException(404)
        containers, drift, monitored = self._containers(), self._drift(), self._monitored()
        row = next(r for r in views.host_rows(region, containers) if r.host.name == name)
        with_lock = release_lock.current(region.environment).images
        return self.show(
            request, "host.html", Kind.CONTAINERS, Kind.PLAN, row=row, drift=drift,
            states=[s for s in containers.states if s.host == name] if containers else [],
            changes=views.on_host(drift.plan if drift else None, name),
            alerts=[a for a in monitored.alerts if a.counts and a.host == name] if monitored else [],
            last=self.watched.runs().last_done().get(name), images=image_of(region.catalog.services), locked=with_lock,
            versions=views.versions(region, with_lock),
        )  # fmt: skip

    def plan(self, request: Request) -> Response:
        """What `scs apply` would change."""
        drift = self._drift()
        return self.show(
            request, "plan.html", Kind.PLAN, drift=drift, kinds=views.kinds(drift.plan) if drift else {},
            inventory=self.watched.region.inventory.hash,
        )  # fmt: skip

    def runs(self, request: Request) -> Response:
        """The history of runs."""
        place = max(_number(request.query_params.get("page", "1")), 1)
        found = self.watched.runs().list(place * RUNS + 1)
        return self.show(
            request, "runs.html", runs=found[(place - 1) * RUNS : place * RUNS], place=place,
            more=len(found) > place * RUNS,
        )  # fmt: skip

    def run(self, request: Request) -> Response:
        """One run with its steps."""
        store = self.watched.runs()
        try:
            run = store.get(request.path_params["run"])
        except RefusedError:
            raise HTTPException(404) from None
        steps, measured = store.steps(run.id), store.probes(run.id)
        wrong = [s for s in steps if s.status in (Status.FAILED, Status.INTERRUPTED)]
        t = speaker(shown.language_of(request))
        gaps = [(s.kind, s.gap.seconds, s.failed > 0) for s in measured if s.regular]
        return self.show(
            request, "run.html", run=run, steps=steps[-STEPS:], left=max(len(steps) - STEPS, 0), wrong=wrong,
            going=[s for s in steps if s.status is Status.RUNNING], measured=measured,
            changes=[Change.model_validate(c) for c in store.planned(run.id)],
            seconds=run.seconds if run.finished else (datetime.now(UTC) - run.started).total_seconds(),
            gaps=charts.bars(gaps, t("gaps_chart"), charts.seconds),
            slow=charts.bars([(s.kind, s.p99, False) for s in measured if s.p99], t("p99_chart"), charts.seconds),
        )  # fmt: skip

    def images(self, request: Request) -> Response:
        """What the release lock says."""
        region = self.watched.region
        lock = release_lock.current(region.environment)
        users: dict[str, list[str]] = {}
        for container, image in image_of(region.catalog.services).items():
            users.setdefault(image, []).append(container)
        return self.show(
            request, "images.html", images=region.release.images, locked=lock.images, users=users,
            release=region.release, own={e.name: e for e in region.images_left_out},
        )  # fmt: skip

    def image(self, request: Request) -> Response:
        """The packages of an image."""
        name, region = request.path_params["name"], self.watched.region
        locked = release_lock.current(region.environment).images.get(name)
        if locked is None:
            raise HTTPException(404)
        return self.show(request, "image.html", name=name, locked=locked)

    def certificates(self, request: Request) -> Response:
        """CAs, issued certificates, and those that servers present."""
        found = self.knowledge.of(Kind.CERTIFICATES, Certificates)
        return self.show(request, "certificates.html", Kind.CERTIFICATES, found=found, soon=RENEW_DAYS)

    def backups(self, request: Request) -> Response:
        """Backups of databases and of the description."""
        return self.show(request, "backups.html", Kind.BACKUPS, found=self.knowledge.of(Kind.BACKUPS, Backups))

    def alerts(self, request: Request) -> Response:
        """What calls for somebody."""
        monitored = self._monitored()
        found = monitored.alerts if monitored else ()
        return self.show(
            request, "alerts.html", Kind.MONITORING, monitored=monitored, calling=[a for a in found if a.counts],
            quiet=[a for a in found if a.silenced or a.inhibited], runbooks=_runbooks(),
            has_monitoring=ALERTS in self.watched.region.catalog.services,
        )  # fmt: skip

    def runbook(self, request: Request) -> Response:
        """What to do about the alerts of a service."""
        name = request.path_params["name"]
        if name not in _runbooks():
            raise HTTPException(404)
        text = (paths.root() / "docs" / "runbooks" / f"{name}.md").read_text(encoding="utf-8")
        return self.show(request, "runbook.html", name=name, text=markdown.html(text, "/runbooks/"))

    def services(self, request: Request) -> Response:
        """The catalog."""
        rows = views.service_rows(self.watched.region, self._containers(), self._monitored())
        return self.show(request, "services.html", Kind.CONTAINERS, rows=rows)

    def service(self, request: Request) -> Response:
        """One service: all of it from its spec, so that a new one needs nothing here."""
        name, region = request.path_params["name"], self.watched.region
        if name not in region.catalog.services:
            raise HTTPException(404)
        monitored = self._monitored()
        view = views.service_view(region, name, self._containers(), monitored)
        answers = self.knowledge.of(Kind.ANSWERS, Answers)
        return self.show(
            request, "service.html", Kind.CONTAINERS, *([Kind.MONITORING] if monitored else []), view=view,
            answers=answers.reasons if answers else {}, monitored=monitored,
            charts=service_charts(view, monitored, speaker(shown.language_of(request))),
            api=region.environment.settings.api, runbook=name in _runbooks(),
            versions=views.versions(region, release_lock.current(region.environment).images),
        )  # fmt: skip

    def inventory(self, request: Request) -> Response:
        """What NetBox says that the inventory does not."""
        return self.show(
            request, "inventory.html", *([Kind.INVENTORY] if Kind.INVENTORY in self.knowledge.kinds else []),
            found=self.knowledge.of(Kind.INVENTORY, Differences), looked=Kind.INVENTORY in self.knowledge.kinds,
            inventory=self.watched.region.inventory, file=self.watched.region.environment.inventory,
        )  # fmt: skip


def service_charts(
    view: views.ServiceView, monitored: Monitored | None, t: Any
) -> list[tuple[str, Any, list[tuple[str, str, str]]]]:
    """Of a service: (title, chart, its curves as (style, name, last value)). Charts without points are left out."""
    containers, proxies = [c for c, _ in view.containers], [e.name for e in view.endpoints]
    wanted = (
        ("cpu", containers, charts.number), ("memory", containers, charts.mebibytes),
        ("requests", proxies, charts.per_second), ("errors", proxies, charts.per_second),
        ("latency", proxies, charts.seconds),
    )  # fmt: skip
    result = []
    for name, names, form in wanted:
        curves = charts.largest(views.chosen(monitored.charts.get(name, ()), names)) if monitored else ()
        if curves:
            title = t("chart_" + name)
            legend = [(f"s{n}", c.name, form(c.points[-1][1])) for n, c in enumerate(curves, 1)]
            result.append((title, charts.lines(curves, title, form), legend))
    return result


def image_of(services: dict[str, Service]) -> dict[str, str]:
    """container: its image's name."""
    return {c: spec.image or s.name for s in services.values() for c, spec in s.containers.items()}


def _runbooks() -> frozenset[str]:
    folder = paths.root() / "docs" / "runbooks"
    return frozenset(p.stem for p in folder.glob("*.md")) if folder.is_dir() else frozenset()


def _number(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 6 else 1
