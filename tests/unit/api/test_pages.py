# SPDX-License-Identifier: Apache-2.0
"""What operators and everybody else see, over HTTP with TLS."""

from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser

import pytest
import requests
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from scs_deploy.api.facts import Drift, Kind
from scs_deploy.region.region import Region
from scs_deploy.secrets import pki, store, vault
from tests.support import page_region, page_site
from tests.support.page_region import PASSWORD
from tests.support.page_site import Running


class Links(HTMLParser):
    """Addresses of this page in a document."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [v for k, v in attrs if k in ("href", "src", "action") and v and v.startswith("/")]


def crawl(page: Running, session: requests.Session, *first: str) -> dict[str, requests.Response]:
    """Every page that links lead to, by its path."""
    found: dict[str, requests.Response] = {}
    left = list(first)
    while left:
        path = left.pop().partition("#")[0]
        if path in found or path in ("/logout", "/refresh", "/login"):
            continue
        answer = found[path] = page.get(session, path)
        if "html" in answer.headers.get("content-type", ""):
            left += Links(answer.text).found
    return found


def text_of(answer: requests.Response) -> str:
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.text)))


@pytest.fixture(scope="module")
def crawled(page: Running) -> dict[str, requests.Response]:
    return crawl(page, page.operator(), "/", "/?lang=de", "/runs?page=2")


def test_every_link_leads_somewhere(crawled: dict[str, requests.Response], region: Region) -> None:
    assert {p: a.status_code for p, a in crawled.items() if a.status_code != 200} == {}
    wanted = {f"/services/{s}" for s in region.catalog.services} | {f"/hosts/{h}" for h in region.inventory.hosts}
    assert wanted | {"/plan", "/runs", "/alerts", "/backups", "/runbooks/haproxy", "/images/nova"} <= crawled.keys()


def test_no_secret_is_in_any_answer(crawled: dict[str, requests.Response], region: Region) -> None:
    """Of the vault, in the words that a page would show them in, nor the keys and passwords of this manager."""
    environment = region.environment
    values = list(store.load(environment).values())
    values += [leaf.key for leaf in pki.load(environment).leaves.values()]
    values += [vault.password(environment).decode(), PASSWORD]
    values += [line for file in environment.state.glob("*.json") if file.name == "page.json"
               for line in re.findall(r'"(?:salt|hash)":"(\w+)"', file.read_text())]  # fmt: skip
    secrets = {v.strip() for v in values if len(v) >= 4}
    secrets |= {line for v in values if "KEY-----" in v for line in v.splitlines()[1:-1]}
    assert len(secrets) > 100
    leaks = [
        (path, secret[:3])
        for path, answer in crawled.items()
        for secret in secrets
        if secret in answer.text or secret in unescape(answer.text) or secret in str(answer.headers)
    ]
    assert leaks == []
    # the crawl has seen what could hold them
    assert "***" in crawled["/runs"].text or any("***" in a.text for a in crawled.values())


def test_the_plan_has_the_words_of_the_command(page: Running) -> None:
    said = text_of(page.get(page.operator(), "/plan"))
    drift = page.site.knowledge.of(Kind.PLAN, Drift)
    assert drift
    for change in drift.plan.changes:
        assert " ".join(change.reason.split()) in said
        assert f"{change.kind.value} {change.subject} {change.impact.value}" in said
    assert "control-3; scs node undrain control-3" in said
    assert "Unavailable meanwhile: haproxy" in said


def test_the_overview(page: Running) -> None:
    said = text_of(page.get(page.operator(), "/"))
    for part in (
        "1 open", "HAProxyServerErrors", "9 of 10 answer", "image: connection refused", "3 of 3 hosts respond",
        "1 of ", "1 OSD is down", " changes", "failed", "scs restart nova", "Newest: 5 h ago", "verified",
    ):  # fmt: skip
        assert part in said, part


def test_hosts_and_their_containers(page: Running) -> None:
    session = page.operator()
    first = next(s for s in page.site.knowledge.known(Kind.CONTAINERS).value.states if s.state == "exited")  # type: ignore[union-attr]
    said = text_of(page.get(session, "/hosts"))
    assert re.search(rf"control-1 ✗ \d+ of \d+ work .* ✗ {first.service} ", said)
    assert "Rack rack-0" in said
    host = text_of(page.get(session, f"/hosts/{first.host}"))
    assert f"{first.container} {first.service} ✗ exited" in host
    assert re.search(r"nova_compute nova ✓ running healthy 0 \S+ \S+ nova-compute 33.0 nova-compute sha256:", host)


def test_a_run_with_its_steps_and_measurement(page: Running) -> None:
    session = page.operator()
    runs = page.site.watched.runs().list()
    failed, done = (text_of(page.get(session, f"/runs/{r.id}")) for r in runs)
    assert "control-2: said ***" in failed
    assert "no answer to *** <b>" in failed
    assert "Replace keystone control-1" in done
    assert "compute list 100 ✗ 1 1.9 s" in done
    assert 'class="bar bad"' in page.get(session, f"/runs/{runs[1].id}").text
    assert "Plan: 5 changes" in done


def test_a_service_has_all_of_its_spec(page: Running, region: Region) -> None:
    """Whatever the catalog holds: a new service needs no page of its own."""
    session = page.operator()
    for service in region.catalog.services.values():
        answer = page.get(session, f"/services/{service.name}")
        said = text_of(answer)
        for name in (*service.containers, *service.endpoints):
            assert name in said, (service.name, name)
        charts = 2 + 3 * bool(service.endpoints)
        assert answer.text.count('<svg class="chart" viewBox') == charts, service.name


def test_alerts_and_their_runbook(page: Running) -> None:
    session = page.operator()
    answer = page.get(session, "/alerts")
    assert '<a href="/runbooks/haproxy#haproxyservererrors">' in answer.text
    assert "Silenced" in text_of(answer)
    runbook = page.get(session, "/runbooks/haproxy").text
    assert "id='haproxyservererrors'" in runbook
    assert "<code>scs restart SERVICE --host HOST</code>" in runbook


def test_what_cannot_be_looked_at_is_said_and_everything_else_works(region: Region) -> None:
    with page_site.serving(region, {Kind.ANSWERS: page_region.all_facts(region)[Kind.ANSWERS]}) as page:
        session = page.operator()
        for path in ("", "hosts", "hosts/control-1", "plan", "services/nova", "alerts", "certificates", "backups"):
            answer = page.get(session, f"/{path}")
            assert answer.status_code == 200
            assert "not known yet" in text_of(answer), path
        assert "The latest look failed: no host answers (scs status)" in text_of(page.get(session, "/plan"))


def test_the_public_page_says_nothing_else(page: Running, region: Region) -> None:
    answer = page.get(page.visitor(), "/status")
    said = text_of(answer)
    assert "Some APIs do not answer" in said
    assert re.search(r"compute ! answers, with problems", said)
    assert re.search(r"image ✗ does not answer", said)
    assert "New memory" in said and "Long ago" not in said
    hidden = [*region.inventory.hosts, "10.30.", "443c221b", "2025.1", "berlin", "refused", "HAProxy", "control"]
    assert [h for h in hidden if h in answer.text] == []
    german = text_of(page.get(page.visitor(), "/status", **{"Accept-Language": "de-AT,de;q=0.9,en;q=0.5"}))
    assert "Neuer Speicher" in german and "antwortet nicht" in german


def test_announcements_with_an_error_are_told_to_operators_only(page: Running, region: Region) -> None:
    file = region.environment.path / "announcements.yml"
    good = file.read_text(encoding="utf-8")
    try:
        file.write_text("announcements:\n  - from: yesterday\n", encoding="utf-8")
        assert "announcements.yml:2: announcements.0.from" in text_of(page.get(page.operator(), "/"))
        public = text_of(page.get(page.visitor(), "/status"))
        assert "yesterday" not in public and "New memory" in public
    finally:
        file.write_text(good, encoding="utf-8")


def test_languages(page: Running) -> None:
    session = page.operator()
    assert "Überblick" in page.get(session, "/", **{"Accept-Language": "de"}).text
    english = page.get(session, "/", **{"Accept-Language": "fr"})
    assert '<html lang="en">' in english.text and english.headers["content-language"] == "en"
    # the choice counts more than the browser's wish, and stays
    assert '<html lang="de">' in page.get(session, "/?lang=de").text
    assert '<html lang="de">' in page.get(session, "/plan", **{"Accept-Language": "en"}).text


def test_a_key_that_a_page_shows_is_no_key(region: Region) -> None:
    """The crawl compares with real keys: the fixture's are."""
    leaf = pki.load(region.environment).leaf("api-external")
    assert load_pem_private_key(leaf.key.encode(), password=None)
