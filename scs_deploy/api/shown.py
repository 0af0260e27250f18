# SPDX-License-Identifier: Apache-2.0
"""Fills the page's templates."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse

from scs_deploy.api import charts
from scs_deploy.api.phrases import LANGUAGES, chosen, speaker
from scs_deploy.base.sizes import size
from scs_deploy.base.times import duration, utc

TEMPLATES = Path(__file__).with_name("templates")
FILES = Path(__file__).with_name("static")

MENU = (
    ("/", "overview"), ("/hosts", "hosts"), ("/services", "services"), ("/plan", "plan"), ("/runs", "runs"),
    ("/alerts", "alerts"), ("/images", "images"), ("/certificates", "certificates"), ("/backups", "backups"),
    ("/inventory", "inventory"), ("/status", "public"),
)  # fmt: skip
"""Path of a page, and the end of its phrase `menu_...`."""


@lru_cache(maxsize=1)
def environment() -> Environment:
    """The templates: everything that they are given is escaped."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    made.filters |= {"utc": utc, "duration": duration, "size": size, "number": charts.number}
    made.globals |= {"menu": MENU, "languages": LANGUAGES, "version_of": version_of}
    return made


@lru_cache(maxsize=16)
def version_of(name: str) -> str:
    """Changes with a static file, so that browsers may keep it."""
    return hashlib.sha256((FILES / name).read_bytes()).hexdigest()[:12]


def ago(moment: datetime, now: datetime, t: Callable[..., str]) -> Markup:
    """How long ago something was, which the page's script keeps current."""
    seconds = max(int((now - moment).total_seconds()), 0)
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    unit, length = next((u for u in units if seconds >= u[1]), units[-1])
    text = f"{seconds // length} {unit}"
    return Markup('<time datetime="{}" title="{} UTC" data-ago>{}</time>').format(
        moment.isoformat(timespec="seconds"), utc(moment), t("ago", span=text)
    )


def language_of(request: Request) -> str:
    """The language of a request."""
    return chosen(request.state.language, request.headers.get("accept-language", ""))


def page(request: Request, template: str, region: str, status: int = 200, **values: Any) -> HTMLResponse:
    """An answer with a filled template.

    :param region: its name, for title and heading
    """
    language, now = language_of(request), datetime.now(UTC)
    t = speaker(language)
    text = environment().get_template(template).render(
        t=t, language=language, path=request.scope["path"], region=region, now=now,
        session=request.state.session, ago=lambda moment: ago(moment, now, t), **values,
    )  # fmt: skip
    return HTMLResponse(text, status, {"vary": "cookie, accept-language", "content-language": language})
