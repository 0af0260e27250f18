# SPDX-License-Identifier: Apache-2.0
"""The inventory as an SVG image: groups, their hosts by zone, and the services that run there. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from scs_deploy.inventory.model import Inventory, apart
from scs_deploy.spec.catalog import Catalog
from scs_deploy.spec.container import ALL

WIDTH = 1160
_LINE, _CHIP, _PAD = 18, 24, 12
_CHARACTER = 7.3
"""Width of one character in the 12 px monospace font, rounded up."""


def services(catalog: Catalog, group: str) -> dict[str, list[str]]:
    """The containers that run on a group's hosts, by service."""
    running: dict[str, list[str]] = {}
    for service in catalog.services.values():
        for name, container in service.containers.items():
            if not {group, ALL}.isdisjoint(apart(g)[0] for g in container.hosts or service.hosts):
                running.setdefault(service.name, []).append(name)
    return running


def svg(title: str, inventory: Inventory, catalog: Catalog) -> str:
    """An SVG document. The same inventory always yields the same document."""
    parts: list[str] = []
    y = 40.0
    for group, hosts in inventory.groups.items():
        top = y
        y += _PAD + _LINE
        body = [_text(_PAD * 2, y, f"{group} ({len(hosts)})", "group")]
        running = ", ".join(f"{s}" for s in services(catalog, group)) or "no services"
        for line in _wrap(running.split(" "), (WIDTH - 6 * _PAD) / _CHARACTER):
            y += _LINE
            body.append(_text(_PAD * 2, y, " ".join(line), "service"))
        y += _PAD
        zones: dict[str, list[str]] = {}
        for host in hosts:
            zones.setdefault(inventory.hosts[host].zone or "", []).append(host)
        for zone, members in sorted(zones.items()):
            if zone:
                y += _LINE
                body.append(_text(_PAD * 2, y, f"zone {zone}", "zone"))
                y += _PAD / 2
            x = float(_PAD * 2)
            for host in members:
                width = len(host) * _CHARACTER + 2 * _PAD
                if x + width > WIDTH - 2 * _PAD:
                    x, y = float(_PAD * 2), y + _CHIP + 6
                address = inventory.hosts[host].address
                body.append(
                    f'<g><title>{escape(host)} {escape(address)}</title><rect class="host" x="{x:.1f}" y="{y:.1f}" '
                    f'width="{width:.1f}" height="{_CHIP}" rx="4"/>{_text(x + _PAD, y + 16, host, "name")}</g>'
                )
                x += width + 6
            y += _CHIP + _PAD / 2
        y += _PAD / 2
        parts.append(
            f'<rect class="box" x="{_PAD}" y="{top:.1f}" width="{WIDTH - 2 * _PAD}" height="{y - top:.1f}" rx="6"/>'
        )
        parts += body
        y += _PAD
    style = (
        "text{font:12px monospace;fill:#1f2933}.title{font-size:16px;font-weight:bold}.group{font-weight:bold}"
        ".service,.zone{fill:#52606d}.box{fill:#f5f7fa;stroke:#9aa5b1}.host{fill:#ffffff;stroke:#3e7cb1}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y:.0f}" viewBox="0 0 {WIDTH} {y:.0f}">\n'
        f"<style>{style}</style>\n{_text(_PAD, 26, f'{title}: {len(inventory.hosts)} hosts', 'title')}\n"
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'


def _wrap(words: Iterable[str], width: float) -> list[list[str]]:
    lines: list[list[str]] = [[]]
    used = 0
    for word in words:
        if lines[-1] and used + len(word) > width:
            lines.append([])
            used = 0
        lines[-1].append(word)
        used += len(word) + 1
    return lines
