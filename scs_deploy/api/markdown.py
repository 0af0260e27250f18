# SPDX-License-Identifier: Apache-2.0
"""Runbooks as HTML: the part of Markdown that they use. Pure. https://spec.commonmark.org"""

from __future__ import annotations

import re
from collections.abc import Iterator

from markupsafe import Markup, escape

_INLINE = re.compile(
    r"`(?P<code>[^`]+)`|\*\*(?P<strong>[^*]+)\*\*|\[(?P<text>(?:[^\[\]]|`[^`]*`)+)\]\((?P<link>[^)\s]+)\)"
)
_HEADING = re.compile(r"(#{1,4}) +(.+)")
_ITEM = re.compile(r"[-*] +(.+)")
_SHIFT = 1
"""A runbook's first heading is the page's second."""


def anchor(heading: str) -> str:
    """The id of a heading, as GitHub makes it."""
    return re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-")


def html(text: str, links: str = "") -> Markup:
    """A document.

    :param links: where links to `<name>.md` of the same folder lead, e.g. `/runbooks/`; other links are plain text
    """
    return Markup("\n").join(_blocks(text.splitlines(), links))


def _blocks(lines: list[str], links: str) -> Iterator[Markup]:
    place = 0
    while place < len(lines):
        line = lines[place]
        if line.startswith("```"):
            end = next((n for n in range(place + 1, len(lines)) if lines[n].startswith("```")), len(lines))
            yield Markup("<pre tabindex='0'><code>{}</code></pre>").format("\n".join(lines[place + 1 : end]))
            place = end + 1
        elif heading := _HEADING.fullmatch(line):
            level = len(heading[1]) + _SHIFT
            form = Markup("<h{0} id='{1}'>{2}</h{0}>")
            yield form.format(level, anchor(heading[2]), inline(heading[2], links))
            place += 1
        elif _ITEM.match(line):
            items, place = _items(lines, place)
            yield Markup("<ul>{}</ul>").format(
                Markup().join(Markup("<li>{}</li>").format(inline(i, links)) for i in items)
            )
        elif line.strip():
            end = place
            while end < len(lines) and lines[end].strip() and not _begins(lines[end], end > place):
                end += 1
            yield Markup("<p>{}</p>").format(inline(" ".join(x.strip() for x in lines[place:end]), links))
            place = end
        else:
            place += 1


def _begins(line: str, later: bool) -> bool:
    """Whether a line of a paragraph is the beginning of another block."""
    return later and bool(line.startswith("```") or _HEADING.fullmatch(line) or _ITEM.match(line))


def _items(lines: list[str], place: int) -> tuple[list[str], int]:
    items: list[str] = []
    while place < len(lines):
        line = lines[place]
        if item := _ITEM.match(line):
            items.append(item[1])
        elif line.startswith("  ") and line.strip():
            items[-1] += f" {line.strip()}"
        else:
            break
        place += 1
    return items, place


def inline(text: str, links: str) -> Markup:
    """Code, bold and links of a line."""
    result, last = Markup(), 0
    for found in _INLINE.finditer(text):
        result += escape(text[last : found.start()])
        last = found.end()
        if found["code"]:
            result += Markup("<code>{}</code>").format(found["code"])
        elif found["strong"]:
            result += Markup("<strong>{}</strong>").format(found["strong"])
        else:
            result += _link(found["text"], found["link"], links)
    return result + escape(text[last:])


def _link(text: str, target: str, links: str) -> Markup:
    file, _, part = target.partition("#")
    if links and re.fullmatch(r"[\w-]+\.md", file):
        where = f"{links}{file.removesuffix('.md')}" + (f"#{part}" if part else "")
    elif not file and part:
        where = f"#{part}"
    else:
        return inline(text, "")
    return Markup('<a href="{}">{}</a>').format(where, inline(text, ""))
