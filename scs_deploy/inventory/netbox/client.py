# SPDX-License-Identifier: Apache-2.0
"""A client for NetBox's REST API: few requests, complete lists, and an error for every incomplete response.

It relies on these facts (observed on 4.6): every authentication failure is 403; the server limits pages to its
MAX_PAGE_SIZE regardless of `limit`; it closes idle connections after 2 s.
https://netboxlabs.com/docs/netbox/integrations/rest-api/
"""

from __future__ import annotations

import email.utils
import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

from scs_deploy.base.errors import RefusedError, ScsError

if TYPE_CHECKING:
    import requests

PAGE = 1000
"""Objects per request. If the server's MAX_PAGE_SIZE is smaller, the client uses that instead."""
ATTEMPTS = 5
TIMEOUT = (5.0, 60.0)
"""Seconds to connect, and seconds to wait for the next byte of a response."""
LONGEST_WAIT = 30.0
"""Maximum seconds to wait for one `Retry-After`."""
_AGAIN = frozenset({429, 502, 503, 504})

Params = tuple[tuple[str, str], ...]
R = TypeVar("R")


@dataclass(frozen=True)
class Listing:
    """One list to read completely.

    :param recheck: request its count again at the end, even if all objects fit on one page
    """

    path: str
    params: Params = ()
    recheck: bool = False


@dataclass
class _Pages:
    listing: Listing
    count: int
    step: int
    results: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    """offset: objects"""


class Netbox:
    """One server and token. Thread-safe; each thread has its own connection.

    :param url: base URL, without `/api`
    :param verify: CA file; None: the system's CAs
    """

    def __init__(self, url: str, token: str, verify: Path | None = None, connections: int = 4) -> None:
        self.url = url.rstrip("/")
        self.requests = 0
        """requests sent so far, including retries"""
        self.version = ""
        """the API version in the last response, e.g. `4.6`"""
        self._token = token
        self._verify = str(verify) if verify else True
        self._connections = connections
        self._local = threading.local()
        self._guard = threading.Lock()

    def read(self, listings: Mapping[str, Listing], progress: Callable[[int, int], None]) -> dict[str, list[Any]]:
        """All objects of several lists, as a consistent snapshot of NetBox as far as counts can tell.

        Reads all first pages, then the pages in between, and the last pages at the end. Each page contains the list's
        count. Lists of one page can request their count again.

        :param progress: called with pages done and pages known
        :raises RefusedError: a count or an object changed while reading, or NetBox rejects the token or a filter
        :raises ScsError: NetBox does not respond
        """
        names = list(listings)
        done = 0

        def fetch(tasks: list[tuple[Listing, Params]], total: int) -> list[dict[str, Any]]:
            nonlocal done
            answers = []
            with ThreadPoolExecutor(self._connections) as pool:
                for answer in pool.map(lambda t: self.get(t[0].path, t[1]), tasks):
                    done += 1
                    progress(done, max(total, done))
                    answers.append(answer)
            return answers

        first = fetch([(listings[n], (*listings[n].params, ("limit", str(PAGE)))) for n in names], len(names))
        lists = {n: _begin(listings[n], answer) for n, answer in zip(names, first, strict=True)}
        middle: list[tuple[_Pages, int]] = []
        last: list[tuple[_Pages, int]] = []
        for pages in lists.values():
            offsets = range(pages.step, pages.count, pages.step)
            middle += [(pages, o) for o in offsets[:-1]]
            last += [(pages, o) for o in offsets[-1:]]
        again = [p for p in lists.values() if p.listing.recheck and p.count <= p.step]
        total = len(names) + len(middle) + len(last) + len(again)
        for wave in (middle, last):
            answers = fetch([(p.listing, _page(p, offset)) for p, offset in wave], total)
            for (pages, offset), answer in zip(wave, answers, strict=True):
                _check_count(pages, answer)
                pages.results[offset] = _objects(pages.listing, answer)
        for pages, answer in zip(
            again, fetch([(p.listing, (*p.listing.params, ("limit", "1"))) for p in again], total), strict=True
        ):
            _check_count(pages, answer)
        return {n: _join(pages) for n, pages in lists.items()}

    def get(self, path: str, params: Params = ()) -> dict[str, Any]:
        """Get one JSON object. Retries if the connection breaks or NetBox is busy.

        :param path: `dcim/devices`
        """
        return self._json(self._send("GET", path, params), path)

    def entity(self, path: str) -> tuple[dict[str, Any], str]:
        """Get one object with its ETag ('' before NetBox 4.6)."""
        answer = self._send("GET", path)
        return self._json(answer, path), answer.headers.get("ETag", "")

    def patch(self, path: str, changes: Mapping[str, Any], etag: str = "") -> bool:
        """Change an object. Returns False if it changed in the meantime and must be read again.

        Sent without retries: if the response is lost, it is unknown whether NetBox applied the change.
        """
        answer = self._send("PATCH", path, body=changes, headers={"If-Match": etag} if etag else {})
        return answer.status_code != 412

    def post(self, path: str, body: Mapping[str, Any]) -> None:
        """Create an object. Sent without retries."""
        self._send("POST", path, body=body)

    def _send(
        self,
        method: str,
        path: str,
        params: Params = (),
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> requests.Response:
        # imported here: it takes 0.1 s to load and commands without NetBox do not need it
        import requests

        attempts = ATTEMPTS if method == "GET" else 1
        for attempt in range(attempts):
            wait = 0.2 * 2**attempt
            with self._guard:
                self.requests += 1
            try:
                answer = self._session().request(
                    method,
                    f"{self.url}/api/{path}/",
                    params=list(params),
                    data=None if body is None else json.dumps(body),
                    headers=dict(headers or {}),
                    timeout=TIMEOUT,
                    allow_redirects=False,
                )
            except (requests.exceptions.SSLError, requests.exceptions.InvalidURL) as error:
                raise ScsError(f"{self.url}: {_reason(error)}", "check url and ca_file in netbox.yml") from None
            except requests.exceptions.RequestException as error:
                if attempt + 1 == attempts:
                    raise ScsError(
                        f"{self.url}: NetBox does not respond: {_reason(error)}",
                        "check that it is running, and url in netbox.yml",
                    ) from None
            else:
                if answer.status_code not in _AGAIN or attempt + 1 == attempts:
                    self._check(answer, path)
                    return answer
                wait = _asked_wait(answer.headers.get("Retry-After", ""), wait)
            time.sleep(wait)
        raise AssertionError("unreachable")

    def _session(self) -> requests.Session:
        import requests

        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = requests.Session()
            session.verify = self._verify
            # a v2 token names its key: nbt_<key>.<secret>; older ones are bare
            scheme = "Bearer" if self._token.startswith("nbt_") else "Token"
            # with `auth` set, requests does not overwrite the header with credentials from ~/.netrc
            session.auth = _Authorization(f"{scheme} {self._token}")
            session.headers.update({"Accept": "application/json", "Content-Type": "application/json"})
            self._local.session = session
        return session

    def _check(self, answer: requests.Response, path: str) -> None:
        if version := answer.headers.get("API-Version"):
            self.version = version
        code = answer.status_code
        if code < 300 or code == 412:
            return
        if code < 400:
            raise RefusedError(
                f"{self.url}: redirects to {answer.headers.get('Location', 'another URL')}",
                "set url in netbox.yml to the target of the redirect",
            )
        detail = _detail(answer)
        if code == 403:
            raise RefusedError(f"{self.url}: {path}: NetBox rejected the token: {detail}", _token_hint(detail))
        if code == 400:
            raise RefusedError(f"{self.url}: {path}: NetBox rejected the request: {detail}", "check netbox.yml")
        if code == 404:
            raise RefusedError(
                f"{self.url}: {path}: not found: {detail}", "check url in netbox.yml; scs needs NetBox 3.7 or newer"
            )
        if code == 429:
            raise ScsError(
                f"{self.url}: {path}: too many requests, {ATTEMPTS} times", "set connections: 1 in netbox.yml"
            )
        raise ScsError(f"{self.url}: {path}: NetBox responded with {code}: {detail}")

    def _json(self, answer: requests.Response, path: str) -> dict[str, Any]:
        try:
            data = answer.json()
        except ValueError:
            data = None
        if not isinstance(data, dict):
            raise ScsError(f"{self.url}: {path}: the response is not from NetBox", "check url in netbox.yml")
        return data


class _Authorization:
    def __init__(self, value: str) -> None:
        self._value = value

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = self._value
        return request


def _begin(listing: Listing, answer: dict[str, Any]) -> _Pages:
    results = _objects(listing, answer)
    count = answer.get("count")
    if not isinstance(count, int):
        raise ScsError(f"{listing.path}: NetBox sent no count")
    following = answer.get("next")
    step = len(results)
    if following:
        # the link contains the server's page size; its host can be an internal name, so only the query is used
        query = dict(parse_qsl(urlsplit(following).query))
        step = int(query.get("limit", step))
        if int(query.get("offset", -1)) != len(results) or step < 1:
            raise ScsError(f"{listing.path}: unknown form of NetBox's next page: {following}")
    elif count != len(results):
        raise RefusedError(f"{listing.path}: NetBox announced {count} objects and sent {len(results)}", "run it again")
    return _Pages(listing, count, max(step, 1), {0: results})


def _page(pages: _Pages, offset: int) -> Params:
    return (*pages.listing.params, ("limit", str(pages.step)), ("offset", str(offset)))


def _check_count(pages: _Pages, answer: dict[str, Any]) -> None:
    if answer.get("count") != pages.count:
        raise RefusedError(
            f"{pages.listing.path}: NetBox changed meanwhile: {pages.count} objects became {answer.get('count')}",
            "run it again",
        )


def _objects(listing: Listing, answer: dict[str, Any]) -> list[dict[str, Any]]:
    results = answer.get("results")
    if not isinstance(results, list):
        raise ScsError(f"{listing.path}: the response is not a list")
    return results


def _join(pages: _Pages) -> list[dict[str, Any]]:
    objects = [o for offset in sorted(pages.results) for o in pages.results[offset]]
    if len({o["id"] for o in objects}) != pages.count or len(objects) != pages.count:
        raise RefusedError(
            f"{pages.listing.path}: NetBox changed meanwhile: objects moved between pages", "run it again"
        )
    return objects


def _asked_wait(value: str, default: float) -> float:
    """Seconds in a Retry-After header, which is a number or a date (RFC 9110, 10.2.3)."""
    if value.strip().isdigit():
        return min(float(value), LONGEST_WAIT)
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return default
    return min(max(moment.timestamp() - time.time(), 0.0), LONGEST_WAIT)


def _detail(answer: requests.Response) -> str:
    try:
        data = answer.json()
    except ValueError:
        return "" if "html" in answer.headers.get("Content-Type", "") else answer.text.strip()[:200]
    if isinstance(data, dict):
        parts = (f"{'' if k == 'detail' else k + ': '}{' '.join(_texts(v))}" for k, v in data.items())
        return "; ".join(parts)[:300]
    return str(data)[:300]


def _texts(value: Any) -> Iterable[str]:
    return (str(v) for v in value) if isinstance(value, list) else (str(value),)


def _token_hint(detail: str) -> str:
    """What to do about a 403. NetBox distinguishes the causes only by its text."""
    text = detail.lower()
    if "permission" in text:
        return "give the token's user the view permission"
    if "expired" in text or "disabled" in text or "inactive" in text:
        return "create a new token in NetBox and set netbox_token with scs secrets edit"
    if "source ip" in text:
        return "add the manager's address to the token's allowed IPs in NetBox"
    return "set netbox_token with scs secrets edit"


def _reason(error: Exception) -> str:
    text = str(error.args[0] if error.args else error)
    return text.rsplit(": ", 1)[-1].strip("'\")> ")[:200] or type(error).__name__
