# SPDX-License-Identifier: Apache-2.0
"""Every request passes here first: who may see what, from where it may be changed, and how browsers treat it."""

from __future__ import annotations

import re
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import quote

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scs_deploy.api.phrases import LANGUAGES

COOKIE, LANGUAGE = "__Host-scs", "__Host-scs-language"

PUBLIC = ("/status", "/login")
STATIC = "/static/"
"""What everybody may see; everything else needs a session."""

HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    # not no-referrer: with that, browsers send no origin with forms
    "referrer-policy": "same-origin",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
"""Of every answer. https://owasp.org/www-project-secure-headers/"""

LASTING = f"Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age={365 * 86400}"

_PATH = re.compile(r"/[\w./-]*")


def safe_path(path: str) -> str:
    """A path of this page to go to after a login or a refresh; `/` instead of anything else."""
    return path if _PATH.fullmatch(path) and not path.startswith("//") else "/"


def cookie(scope: Scope, name: str) -> str:
    """A cookie of a request; empty: it has none."""
    for key, value in scope["headers"]:
        if key == b"cookie":
            try:
                found = SimpleCookie(value.decode("latin-1"))
            except CookieError:
                continue
            if name in found:
                return found[name].value
    return ""


def same_origin(request: Request) -> bool:
    """Whether a form was sent from this page, and not from another one."""
    host, origin = request.headers.get("host", ""), request.headers.get("origin", "")
    return bool(host) and origin == f"https://{host}"


class Guard:
    """The outermost layer of the page.

    :param valid: whether a token is one of an open session
    :param public_only: there is nothing but what everybody may see
    """

    def __init__(self, app: ASGIApp, valid: Callable[[str], bool], public_only: bool) -> None:
        self._app, self._valid, self._public_only = app, valid, public_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI, https://asgi.readthedocs.io/en/stable/specs/www.html."""
        if scope["type"] != "http":
            return
        request = Request(scope)
        # not that of request.url, into which the client's Host header goes, too
        path: str = scope["path"]
        language = request.query_params.get("lang", "")
        scope["state"] = {"session": self._valid(cookie(scope, COOKIE)), "language": cookie(scope, LANGUAGE)}
        if language in LANGUAGES:
            scope["state"]["language"] = language

        begun = False

        async def with_headers(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = MutableHeaders(scope=message)
                for key, value in HEADERS.items():
                    headers[key] = value
                headers.setdefault("cache-control", "no-store")
                if language in LANGUAGES:
                    headers.append("set-cookie", f"{LANGUAGE}={language}; {LASTING}")
            await send(message)

        refusal = self._refusal(request, path)
        try:
            await (refusal or self._app)(scope, receive, with_headers)
        except Exception:
            # the page has answered, and logged why
            if not begun:
                raise

    def _refusal(self, request: Request, path: str) -> Response | None:
        if request.method not in ("GET", "HEAD", "POST"):
            return PlainTextResponse("method not allowed\n", 405, {"allow": "GET, HEAD, POST"})
        if request.method == "POST" and not same_origin(request):
            return PlainTextResponse("this form is of another page\n", 403)
        public = path == "/status" or path.startswith(STATIC) or (path in PUBLIC and not self._public_only)
        if public or request.scope["state"]["session"]:
            return None
        if self._public_only:
            return RedirectResponse("/status", 303) if path == "/" else PlainTextResponse("not found\n", 404)
        if request.method == "POST" or path == "/events" or request.headers.get("x-part"):
            return PlainTextResponse("log in first\n", 401)
        return RedirectResponse(f"/login?next={quote(safe_path(path))}", 303)
