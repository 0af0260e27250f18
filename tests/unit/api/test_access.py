# SPDX-License-Identifier: Apache-2.0
"""Login, sessions, and what a request without them gets."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from pathlib import Path

import pytest

from scs_deploy.api import access
from scs_deploy.api.access import LASTS, Password, Sessions, Throttle
from scs_deploy.api.guard import safe_path
from scs_deploy.base.errors import RefusedError
from scs_deploy.region.region import Region
from tests.support import page_site
from tests.support.page_region import PASSWORD
from tests.support.page_site import Running
from tests.unit.secrets.test_secrets import region as environment_in

PRIVATE = ("/", "/hosts", "/hosts/control-1", "/plan", "/runs", "/images", "/certificates", "/backups", "/alerts",
           "/services", "/services/nova", "/inventory", "/runbooks/haproxy", "/nosuch")  # fmt: skip


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_the_password_is_a_hash_that_only_its_owner_reads(tmp_path: Path) -> None:
    environment = environment_in(tmp_path)
    file = access.set_password(environment, PASSWORD)
    assert file.stat().st_mode & 0o777 == 0o600
    assert PASSWORD not in file.read_text()
    stored = access.load_password(environment)
    assert stored and stored.fits(PASSWORD) and not stored.fits(PASSWORD + "x") and not stored.fits("")
    before = json.loads(file.read_text())
    access.set_password(environment, PASSWORD)
    assert json.loads(file.read_text())["salt"] != before["salt"]


@pytest.mark.parametrize("text", ["", "x" * 11, "x" * 1025])
def test_a_short_or_endless_password_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(RefusedError, match="12 to 1024 characters"):
        access.set_password(environment_in(tmp_path), text)
    assert access.load_password(environment_in(tmp_path)) is None


def test_a_damaged_password_file_is_an_error_and_no_open_door(tmp_path: Path) -> None:
    environment = environment_in(tmp_path)
    access.set_password(environment, PASSWORD).write_text("{}")
    with pytest.raises(RefusedError, match=r"page\.json"):
        access.load_password(environment)


def made(salt: str = "00") -> Password:
    return Password(cost=2**14, block=8, lanes=1, salt=salt, hash="00")


def test_a_session_ends_by_itself_at_logout_and_with_its_password() -> None:
    clock = Clock()
    sessions = Sessions(clock)
    token, other = sessions.begin(made()), sessions.begin(made())
    assert sessions.valid(token, made())
    assert not sessions.valid("", made()) and not sessions.valid(token + "x", made())
    assert not sessions.valid(token, made("01")), "the password was changed"
    assert not sessions.valid(token, None)
    sessions.end(other)
    assert not sessions.valid(other, made())
    clock.now += LASTS - 1
    assert sessions.valid(token, made())
    clock.now += 1
    assert not sessions.valid(token, made())


def test_attempts_of_a_client_become_slower_and_others_are_not_concerned() -> None:
    clock = Clock()
    throttle = Throttle(clock)
    waits = []
    for _ in range(12):
        throttle.failed("192.0.2.1")
        waits.append(throttle.wait("192.0.2.1"))
        clock.now += waits[-1]
    assert waits == [0, 0, 0, 2, 4, 8, 16, 32, 64, 128, 256, 300]
    assert throttle.wait("192.0.2.2") == 0
    throttle.succeeded("192.0.2.1")
    throttle.failed("192.0.2.1")
    assert throttle.wait("192.0.2.1") == 0


def test_what_is_remembered_of_clients_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "CLIENTS", 10)
    throttle = Throttle(Clock())
    for number in range(50):
        throttle.failed(f"192.0.2.{number}")
    assert len(throttle._failed) == 10


@pytest.mark.parametrize(
    ("path", "goes"),
    [("/hosts/a.b-1", "/hosts/a.b-1"), ("//evil.example", "/"), ("https://evil.example", "/"), ("/\\evil", "/"),
     ("/x?y", "/"), ("", "/"), ("/a\nb", "/")],
)  # fmt: skip
def test_a_login_leads_to_this_page_only(path: str, goes: str) -> None:
    assert safe_path(path) == goes


def test_without_a_session_there_is_the_public_page_and_the_login(page: Running) -> None:
    stranger = page.visitor()
    for path in PRIVATE:
        answer = page.get(stranger, path)
        assert (answer.status_code, answer.headers["location"]) == (303, f"/login?next={path}"), path
        assert answer.text == ""
    assert page.get(stranger, "/events").status_code == 401
    assert page.get(stranger, "/hosts", **{"X-Part": "1"}).status_code == 401
    assert page.post(stranger, "/refresh", what="plan").status_code == 401
    assert page.post(stranger, "/logout").status_code == 401
    assert page.get(stranger, "/status").status_code == page.get(stranger, "/login").status_code == 200
    # not by another spelling of a public path
    for path in ("/static/../hosts", "/static/%2e%2e/hosts", "/status/../hosts", "//hosts", "/status/", "/STATUS"):
        raw_answer = raw(page, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert "control-1" not in raw_answer, path
        assert raw_answer.split()[1] in ("303", "404"), path


def test_a_host_header_opens_no_page(page: Running) -> None:
    """Frameworks put it into the URL that they show to the application."""
    for host in ("localhost/status?", "localhost/static/", "x/login#", "/status"):
        said = raw(page, f"GET /hosts HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
        assert "control-1" not in said and said.split()[1] in ("303", "400", "404"), host


def raw(page: Running, request: str) -> str:
    context = ssl.create_default_context(cafile=page.ca)
    port = int(page.url.rpartition(":")[2])
    with (
        socket.create_connection(("127.0.0.1", port), 10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        connection.sendall(request.encode())
        data = b""
        while part := connection.recv(65536):
            data += part
    return data.decode()


def test_login_and_logout(page: Running) -> None:
    session = page.visitor()
    done = page.post(session, "/login", password=PASSWORD, next="/runs")
    assert (done.status_code, done.headers["location"]) == (303, "/runs")
    cookie = done.headers["set-cookie"]
    for part in ("__Host-scs=", "Path=/", "Secure", "HttpOnly", "SameSite=Strict", "Max-Age=28800"):
        assert part in cookie
    assert page.get(session, "/runs").status_code == 200
    token = session.cookies["__Host-scs"]
    assert page.post(session, "/logout").headers["location"] == "/login"
    session.cookies.set("__Host-scs", token)
    assert page.get(session, "/runs").status_code == 303


def test_forms_of_other_pages_do_nothing(page: Running) -> None:
    session = page.visitor()
    for origin in (None, "null", "https://evil.example", page.url.replace("https", "http"), page.url + "0"):
        assert page.post(session, "/login", origin, password=PASSWORD).status_code == 403
    assert "__Host-scs" not in session.cookies
    operator = page.operator()
    before = len(page.looks)
    assert page.post(operator, "/refresh", "https://evil.example", what="plan").status_code == 403
    assert page.post(operator, "/logout", None).status_code == 403
    assert page.get(operator, "/").status_code == 200
    assert len(page.looks) == before
    assert operator.put(page.url + "/", timeout=10).status_code == 405
    assert page.post(operator, "/plan").status_code == 405


def test_guessing_is_slowed_down(region: Region, monkeypatch: pytest.MonkeyPatch) -> None:
    # longer than a slow machine takes for a hash
    monkeypatch.setattr(access, "FIRST_DELAY", 100.0)
    with page_site.serving(region, {}) as page:
        session = page.visitor()
        said = [page.post(session, "/login", password=f"guess {n}").status_code for n in range(6)]
        assert said == [403, 403, 403, 403, 429, 429]
        # the right one has to wait, too: it is no oracle
        right = page.post(session, "/login", password=PASSWORD)
        assert right.status_code == 429 and 1 <= int(right.headers["retry-after"]) <= 101
        assert "__Host-scs" not in session.cookies


def test_many_guesses_at_once_do_not_stop_the_page(region: Region) -> None:
    with page_site.serving(region, {}) as page:
        operator = page.operator()
        page.site.access.throttle.wait = lambda client: 0.0  # type: ignore[method-assign]
        threads = [
            threading.Thread(target=lambda: page.post(page.visitor(), "/login", password="x" * 20)) for _ in range(40)
        ]
        for thread in threads:
            thread.start()
        took = page.get(operator, "/runs").elapsed.total_seconds()
        for thread in threads:
            thread.join()
        assert took < 3


def test_large_and_broken_forms_are_refused(page: Running) -> None:
    session = page.visitor()
    assert page.post(session, "/login", password="x" * 9000).status_code == 413
    wrong = session.post(page.url + "/login", data=b"\xff\xfe=%", headers={"Origin": page.url}, timeout=10)
    assert wrong.status_code in (400, 403)


def test_security_headers_are_on_every_answer(page: Running) -> None:
    operator = page.operator()
    for session, path in ((operator, "/"), (operator, "/nosuch"), (page.visitor(), "/"), (page.visitor(), "/status"),
                          (page.visitor(), "/static/page.css"), (page.visitor(), "/events")):  # fmt: skip
        headers = page.get(session, path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert "server" not in headers
    assert page.get(operator, "/").headers["cache-control"] == "no-store"


def test_pages_need_nothing_that_the_policy_forbids(page: Running) -> None:
    """No style or script in a page, and nothing from elsewhere: it works without the internet."""
    operator = page.operator()
    for path in ("/", "/services/nova", "/runs", "/status", "/login"):
        text = page.get(operator, path).text
        for forbidden in (" style=", "<style", "onclick", "javascript:", 'src="http', 'href="http'):
            assert forbidden not in text, (path, forbidden)
        assert text.count("<script") == text.count('<script src="/static/page.js') == 1


def test_the_public_page_alone(region: Region) -> None:
    with page_site.serving(region, {}, public_only=True) as page:
        session = page.visitor()
        assert page.get(session, "/status").status_code == 200
        assert page.get(session, "/").headers["location"] == "/status"
        assert page.get(session, "/login").status_code == page.get(session, "/hosts").status_code == 404
        assert page.post(session, "/login", password=PASSWORD).status_code == 404
        assert "/login" not in page.get(session, "/status").text
        assert [k.value for k in page.looks] == ["answers"]
