# SPDX-License-Identifier: Apache-2.0
"""The client against the replay server: pages, retries, rate limits, tokens, and every error of NetBox."""

from __future__ import annotations

import http.server
import threading
import time
from pathlib import Path

import pytest

from scs_deploy.base.errors import RefusedError, ScsError
from scs_deploy.inventory.netbox.client import ATTEMPTS, Listing, Netbox
from tests.netbox.replay import READ_ONLY, V1, WRITER, Behaviour, Replay

SMALL = {
    "devices": Listing("dcim/devices", (("site", "testbed"),), recheck=True),
    "interfaces": Listing("dcim/interfaces", (("site", "testbed"),), recheck=True),
}


def quiet(_done: int, _total: int) -> None:
    """No progress."""


def test_a_list_of_one_page_is_read_and_counted_again() -> None:
    with Replay() as server:
        found = Netbox(server.url, READ_ONLY).read(SMALL, quiet)
    assert (len(found["devices"]), len(found["interfaces"])) == (11, 126)
    assert len(server.requests) == 4
    assert [r.endswith("limit=1") for r in server.requests[2:]] == [True, True]


@pytest.mark.parametrize(("maximum", "requests"), [(100, 4), (60, 5), (25, 8), (7, 2 + 1 + 18)])
def test_a_smaller_page_limit_of_the_server_is_respected(maximum: int, requests: int) -> None:
    """Whatever is asked for, the server cuts: all objects come, each once, and the last page recounts the list."""
    with Replay(Behaviour(maximum=maximum)) as server:
        netbox = Netbox(server.url, READ_ONLY)
        found = netbox.read(SMALL, quiet)
    assert sorted(o["id"] for o in found["interfaces"]) == sorted({o["id"] for o in found["interfaces"]})
    assert len(found["interfaces"]) == 126
    assert len(found["devices"]) == 11
    assert len(server.requests) == netbox.requests <= requests + 1


def test_progress_ends_at_all_requests() -> None:
    seen: list[tuple[int, int]] = []
    with Replay(Behaviour(maximum=25)) as server:
        Netbox(server.url, READ_ONLY).read(SMALL, lambda d, t: seen.append((d, t)))
    assert seen[-1][0] == seen[-1][1] == len(server.requests)
    assert [d for d, _ in seen] == list(range(1, len(seen) + 1))


@pytest.mark.parametrize("after", [2, 3, 5, 7])
def test_a_list_that_changes_while_it_is_read_is_refused(after: int) -> None:
    with (
        Replay(Behaviour(maximum=25, vanish_after=after)) as server,
        pytest.raises(RefusedError, match=r"NetBox changed meanwhile: (126|11) objects became (125|10)"),
    ):
        Netbox(server.url, READ_ONLY).read(SMALL, quiet)


def test_a_list_of_one_page_that_changes_before_the_end_is_refused() -> None:
    with (
        Replay(Behaviour(vanish_after=2)) as server,
        pytest.raises(RefusedError, match=r"dcim/devices: NetBox changed meanwhile: 11 objects became 10"),
    ):
        Netbox(server.url, READ_ONLY).read(SMALL, quiet)


def test_objects_that_move_between_pages_are_detected() -> None:
    """The count stays, but one object comes twice and another never."""

    class Moving(Replay):
        def page(self, path: str, query: list[tuple[str, str]], authorization: str, number: int = 1):  # type: ignore[no-untyped-def]
            given = dict(query)
            if path.endswith("interfaces/") and given.get("offset") == "25":
                query = [(k, "24" if k == "offset" else v) for k, v in query]
            return super().page(path, query, authorization, number)

    with (
        Moving(Behaviour(maximum=25)) as server,
        pytest.raises(RefusedError, match="objects moved between pages"),
    ):
        Netbox(server.url, READ_ONLY).read(SMALL, quiet)


def test_dropped_idle_connections_are_not_an_error() -> None:
    with Replay(Behaviour(drop=3)) as server:
        found = Netbox(server.url, READ_ONLY).read(SMALL, quiet)
    assert len(found["devices"]) == 11
    assert sum("(dropped)" in r for r in server.requests) == 3


def test_a_server_that_always_drops_connections_is_reported_after_some_attempts() -> None:
    with Replay(Behaviour(drop=99)) as server, pytest.raises(ScsError, match="NetBox does not respond") as error:
        Netbox(server.url, READ_ONLY, connections=1).get("dcim/sites")
    assert error.value.exit_code == 1
    assert len(server.requests) == ATTEMPTS


def test_a_rate_limit_is_respected() -> None:
    with Replay(Behaviour(busy=2, retry_after="1")) as server:
        began = time.monotonic()
        Netbox(server.url, READ_ONLY).get("dcim/sites")
    assert time.monotonic() - began >= 2.0
    assert len(server.requests) == 3


def test_a_permanent_rate_limit_is_reported_with_a_hint() -> None:
    with (
        Replay(Behaviour(busy=99)) as server,
        pytest.raises(ScsError, match=r"too many requests, 5 times \(set connections: 1 in netbox.yml\)"),
    ):
        Netbox(server.url, READ_ONLY).get("dcim/sites")


def test_slow_responses_are_awaited_concurrently() -> None:
    with Replay(Behaviour(delay=0.3, maximum=25)) as server:
        began = time.monotonic()
        Netbox(server.url, READ_ONLY, connections=8).read(SMALL, quiet)
    assert len(server.requests) == 8
    assert time.monotonic() - began < 0.3 * 8


def test_v1_and_v2_tokens_each_use_their_scheme() -> None:
    with Replay() as server:
        Netbox(server.url, READ_ONLY).get("authentication-check")
        Netbox(server.url, V1).get("authentication-check")
    assert server.unrecorded == []


@pytest.mark.parametrize(
    ("token", "said"),
    [
        ("f" * 40, "Invalid v1 token.*set netbox_token with scs secrets edit"),
        (
            "nbt_NoSuchKey001.wrongwrongwrongwrongwrongwrongwrongwrong",
            "Invalid v2 token.*set netbox_token with",
        ),
        ("nbt_DisabledTok1.disableddisableddisableddisableddisabled1", "Token disabled.*create a new token"),
        ("nbt_ExpiredToken.expiredexpiredexpiredexpiredexpiredexpire", "Token expired.*create a new token"),
        ("nbt_IPRestrictTk.restrictedrestrictedrestrictedrestricted", "Source IP .* is not permitted.*allowed IPs"),
    ],
)
def test_a_rejected_token_is_reported_with_netboxs_reason(token: str, said: str) -> None:
    """All of them are 403; only the text distinguishes them. No message contains the token."""
    with Replay() as server, pytest.raises(RefusedError, match=said) as error:
        Netbox(server.url, token).get("dcim/devices", (("limit", "1"), ("fields", "id,name")))
    assert token not in str(error.value)
    assert error.value.exit_code == 2


def test_the_hint_for_a_token_without_permission_names_the_permission() -> None:
    from tests.netbox.replay import recording

    none = next(a for m, p, _, a, _ in recording().answers if p == "/api/dcim/devices/1/" and a)
    with Replay() as server, pytest.raises(RefusedError, match=r"do not have permission.*view permission"):
        Netbox(server.url, none.removeprefix("Bearer ")).get("dcim/devices/1")


@pytest.mark.parametrize(
    ("path", "params", "said"),
    [
        ("dcim/devices", (("site", "nosuchsite"),), "site: Select a valid choice. nosuchsite is not one of"),
        ("dcim/devices", (("status", "nosuch"),), "status: Select a valid choice"),
        ("dcim/no-such-thing", (), "dcim/no-such-thing: not found"),
    ],
)
def test_the_error_for_a_rejected_request_names_netboxs_reason(
    path: str, params: tuple[tuple[str, str], ...], said: str
) -> None:
    with Replay() as server, pytest.raises(RefusedError, match=said):
        Netbox(server.url, READ_ONLY).get(path, params)


def test_connection_refused() -> None:
    with pytest.raises(ScsError, match=r"NetBox does not respond: .*refused"):
        Netbox("http://127.0.0.1:9", READ_ONLY).get("dcim/sites")


@pytest.mark.parametrize(
    ("status", "headers", "body", "said"),
    [
        (301, {"Location": "https://elsewhere.example.com/"}, b"", "redirects to https://elsewhere.example.com/"),
        (200, {"Content-Type": "text/html"}, b"<html>login</html>", "the response is not from NetBox"),
        (500, {"Content-Type": "text/html"}, b"<html>oops</html>", "NetBox responded with 500"),
    ],
)
def test_a_server_that_is_not_netbox(status: int, headers: dict[str, str], body: bytes, said: str) -> None:
    class Other(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Quiet."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Other)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises(ScsError, match=said):
            Netbox(f"http://127.0.0.1:{server.server_port}", READ_ONLY).get("dcim/sites")
    finally:
        server.shutdown()
        server.server_close()


def test_a_change_based_on_an_outdated_state_is_not_made() -> None:
    """As recorded: 412 for an If-Match that is not current."""
    with Replay() as server:
        netbox = Netbox(server.url, WRITER)
        assert netbox.patch("dcim/devices/7", {"comments": ""}, etag='W/"2000-01-01T00:00:00+00:00"') is False


def test_the_error_for_a_rejected_change_names_the_field() -> None:
    with Replay() as server, pytest.raises(RefusedError, match=r"custom_fields: .*nosuch"):
        Netbox(server.url, WRITER).patch("dcim/devices/7", {"custom_fields": {"nosuch": 1}})


def test_the_users_netrc_does_not_replace_the_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login a password b\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with Replay() as server:
        assert Netbox(server.url, READ_ONLY).get("status")["netbox-version"] == "4.6.8"
