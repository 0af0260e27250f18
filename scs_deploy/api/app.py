# SPDX-License-Identifier: Apache-2.0
"""The web application: paths, login, live events."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs

import anyio
from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from scs_deploy.api import shown
from scs_deploy.api.access import Password, Sessions, Throttle, file_of, load_password
from scs_deploy.api.facts import Answers, Kind, Monitored
from scs_deploy.api.guard import COOKIE, Guard, cookie, safe_path
from scs_deploy.api.hub import Hub
from scs_deploy.api.knowledge import Knowledge
from scs_deploy.api.pages import Pages
from scs_deploy.api.public import conditions, worst
from scs_deploy.api.watched import Watched, stamp
from scs_deploy.base.failures import explained
from scs_deploy.environment.environment import Environment
from scs_deploy.prober.answering import public

BODY = 8192
"""Bytes of a form, at most."""

WAITING = 20
"""Logins that may wait for their turn; more are sent away."""

SESSION = "Path=/; Secure; HttpOnly; SameSite=Strict"

STATIC = {"page.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"}


@dataclass
class Access:
    """Login and logout of a region's page."""

    environment: Environment
    sessions: Sessions = field(default_factory=Sessions)
    throttle: Throttle = field(default_factory=Throttle)
    _read: tuple[object, Password | None] = ((), None)
    _waiting: int = 0
    _turn: anyio.CapacityLimiter | None = None

    def password(self) -> Password | None:
        """The page's password as it is now."""
        file = file_of(self.environment)
        now = stamp(file)
        if self._read[0] != now:
            self._read = now, load_password(self.environment)
        return self._read[1]

    def valid(self, token: str) -> bool:
        """Whether a token is one of an open session."""
        return self.sessions.valid(token, self.password())

    async def attempt(self, client: str, text: str) -> str:
        """The token of a new session; empty: the password is wrong.

        :raises HTTPException: the client, or everybody, has to wait: status 429
        """
        if self.throttle.wait(client) or self._waiting >= WAITING:
            raise HTTPException(429, headers={"Retry-After": f"{self.throttle.wait(client) + 1:.0f}"})
        password = self.password()
        # before it is known: many attempts at once are no way around
        self.throttle.failed(client)
        self._turn = self._turn or anyio.CapacityLimiter(1)
        self._waiting += 1
        try:
            fits = password is not None and await run_sync(password.fits, text, limiter=self._turn)
        finally:
            self._waiting -= 1
        if not fits or password is None:
            logging.getLogger("scs").warning("page: wrong password from %s", client)
            return ""
        self.throttle.succeeded(client)
        return self.sessions.begin(password)


@dataclass
class Site:
    """The page of a region.

    :param public_only: nothing but the public status page
    """

    knowledge: Knowledge
    watched: Watched
    hub: Hub
    access: Access
    public_only: bool = False

    def application(self) -> Guard:
        """The ASGI application."""
        pages = Pages(self.knowledge, self.watched)
        own = [
            ("/", pages.overview), ("/hosts", pages.hosts), ("/hosts/{name}", pages.host), ("/plan", pages.plan),
            ("/runs", pages.runs), ("/runs/{run}", pages.run), ("/images", pages.images),
            ("/images/{name}", pages.image), ("/certificates", pages.certificates), ("/backups", pages.backups),
            ("/alerts", pages.alerts), ("/runbooks/{name}", pages.runbook), ("/services", pages.services),
            ("/services/{name}", pages.service), ("/inventory", pages.inventory),
        ]  # fmt: skip
        routes = [
            Route("/status", self.status),
            Route("/static/{name}", self.static),
            Route("/login", self.login_form, methods=["GET"]),
            Route("/login", self.login, methods=["POST"]),
            Route("/logout", self.logout, methods=["POST"]),
            Route("/refresh", self.refresh, methods=["POST"]),
            Route("/events", self.events),
            *(Route(path, answer) for path, answer in own),
        ]
        errors: dict[object, Callable[..., Response]] = {HTTPException: self.failed, Exception: self.broken}
        inner = Starlette(routes=routes, exception_handlers=errors)
        inner.router.redirect_slashes = False
        # around everything, so that errors pass it, too
        return Guard(inner, self.access.valid, self.public_only)

    def status(self, request: Request) -> Response:
        """What everybody may know."""
        answers = self.knowledge.of(Kind.ANSWERS, Answers)
        monitored = self.knowledge.of(Kind.MONITORING, Monitored)
        region = self.watched.region
        apis = conditions(
            {e.name: e.service for e in public(region)},
            answers.reasons if answers else None,
            monitored.alerts if monitored else None,
        )
        now = datetime.now(UTC)
        found = shown.page(
            request, "status.html", region.environment.settings.region, apis=apis, worst=worst(apis),
            at=self.knowledge.known(Kind.ANSWERS).at, now_shown=now, public_only=self.public_only,
            announcements=self.watched.announcements()[0].shown(now),
        )  # fmt: skip
        if not request.state.session:
            found.headers["cache-control"] = "public, max-age=15"
        return found

    def static(self, request: Request) -> Response:
        """The page's own style, script and icon."""
        name = request.path_params["name"]
        if name not in STATIC:
            raise HTTPException(404)
        return FileResponse(
            Path(shown.FILES / name), media_type=STATIC[name], headers={"cache-control": "public, max-age=86400"}
        )

    def login_form(self, request: Request) -> Response:
        """Asks for the password."""
        return self._form(request, "", safe_path(request.query_params.get("next", "/")))

    def _form(self, request: Request, error: str, path: str, status: int = 200) -> Response:
        name = self.watched.region.environment.settings.region
        return shown.page(request, "login.html", name, status, error=error, next_path=path, public_only=False)

    async def login(self, request: Request) -> Response:
        """Begins a session."""
        given = await _fields(request)
        path = safe_path(given.get("next", "/"))
        client = request.client.host if request.client else ""
        try:
            token = await self.access.attempt(client, given.get("password", ""))
        except HTTPException as wait:
            answer = self._form(request, "login_wait", path, 429)
            answer.headers.update(wait.headers or {})
            return answer
        if not token:
            return self._form(request, "login_wrong", path, 403)
        done = RedirectResponse(path, 303)
        done.headers.append("set-cookie", f"{COOKIE}={token}; {SESSION}; Max-Age={8 * 3600}")
        return done

    def logout(self, request: Request) -> Response:
        """Ends the session."""
        self.access.sessions.end(cookie(request.scope, COOKIE))
        done = RedirectResponse("/login", 303)
        done.headers.append("set-cookie", f"{COOKIE}=; {SESSION}; Max-Age=0")
        return done

    async def refresh(self, request: Request) -> Response:
        """Has a look made now."""
        given = await _fields(request)
        wanted = given.get("what", "")
        if wanted not in list(Kind) or not self.knowledge.request(Kind(wanted)):
            raise HTTPException(404)
        return RedirectResponse(safe_path(given.get("next", "/")), 303)

    async def events(self, request: Request) -> Response:
        """Tells an open page what changed."""
        if self.hub.full:
            raise HTTPException(503)
        self.hub.begin(asyncio.get_running_loop())
        token = cookie(request.scope, COOKIE)
        stream = self.hub.stream(lambda: self.access.valid(token))
        return StreamingResponse(stream, media_type="text/event-stream")

    def failed(self, request: Request, error: HTTPException) -> Response:
        """What a request meets that has no answer."""
        if self.public_only or not request.state.session:
            return PlainTextResponse(f"{error.detail}\n", error.status_code, error.headers)
        name = self.watched.region.environment.name
        return shown.page(request, "error.html", name, error.status_code, code=error.status_code, said="")

    def broken(self, request: Request, error: Exception) -> Response:
        """What a request meets when the page fails: one line, and the traceback in the region's log."""
        logging.getLogger("scs").error("page %s failed", request.scope["path"], exc_info=error)
        if self.public_only or not request.state.session:
            return PlainTextResponse("internal error\n", 500)
        name = self.watched.region.environment.name
        return shown.page(request, "error.html", name, 500, code=500, said=str(explained(error)))


async def _fields(request: Request) -> dict[str, str]:
    """The fields of a form.

    :raises HTTPException: it is too large, or no form
    """
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > BODY:
            raise HTTPException(413)
    try:
        found = parse_qs(body.decode(), max_num_fields=10, keep_blank_values=True)
    except ValueError:
        raise HTTPException(400) from None
    return {name: values[0] for name, values in found.items()}
