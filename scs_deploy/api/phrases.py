# SPDX-License-Identifier: Apache-2.0
"""The page's words, one file for each language. What scs itself says stays as the commands say it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from scs_deploy.base.model import load_yaml

FOLDER = Path(__file__).with_name("phrases")

LANGUAGES = ("en", "de")
"""The first one is for everybody whose browser wants none of them."""


@lru_cache(maxsize=4)
def phrases(language: str) -> Mapping[str, str]:
    """Key: phrase."""
    found: dict[str, str] = load_yaml(FOLDER / f"{language}.yml")
    return found


def speaker(language: str) -> Callable[..., str]:
    """The function `t` of templates: t('key', name=value) -> phrase."""
    known = phrases(language)

    def t(key: str, **values: Any) -> str:
        return known[key].format(**values)

    return t


def chosen(cookie: str, accepted: str) -> str:
    """The language of a request.

    :param cookie: what the user chose; empty: nothing
    :param accepted: the header Accept-Language, RFC 9110
    """
    if cookie in LANGUAGES:
        return cookie
    wanted: list[tuple[float, int, str]] = []
    for place, part in enumerate(accepted.split(",")[:20]):
        name, _, parameter = part.strip().partition(";")
        language = name.partition("-")[0].strip().lower()
        if language in LANGUAGES and (quality := _quality(parameter)) > 0:
            wanted.append((-quality, place, language))
    return min(wanted)[2] if wanted else LANGUAGES[0]


def _quality(parameter: str) -> float:
    key, _, value = parameter.strip().partition("=")
    if key.strip() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0
