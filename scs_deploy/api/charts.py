# SPDX-License-Identifier: Apache-2.0
"""Charts as SVG, drawn on the manager. Pure. Curves differ by dashes, too; the text beside says the same in numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from markupsafe import Markup, escape

from scs_deploy.api.facts import Series

WIDTH, HEIGHT = 640, 200
LEFT, RIGHT, TOP, BOTTOM = 64, 8, 12, 24
MOST = 6
"""Curves of a chart: more cannot be told apart."""

GRID = 4
"""Lines across."""

SVG = '<svg class="chart" viewBox="0 0 {w} {h}" width="{w}" height="{h}" role="img" aria-label="{label}">'


def number(value: float) -> str:
    """`0`, `0.25`, `12`, `1.5 k`: three digits at most."""
    for unit, factor in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= factor:
            return f"{value / factor:.3g} {unit}"
    return f"{value:.3g}"


def mebibytes(value: float) -> str:
    """`512 MiB`, `1.5 GiB`."""
    return f"{value / 2**30:.3g} GiB" if value >= 2**30 else f"{value / 2**20:.0f} MiB"


def seconds(value: float) -> str:
    """`12 ms`, `1.5 s`."""
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2g} s"


def per_second(value: float) -> str:
    """`12 /s`."""
    return f"{number(value)} /s"


def largest(series: Sequence[Series]) -> tuple[Series, ...]:
    """The curves that a chart shows: those with the largest last values, by name."""
    with_points = [s for s in series if s.points]
    return tuple(sorted(sorted(with_points, key=lambda s: -s.points[-1][1])[:MOST], key=lambda s: s.name))


def lines(series: Sequence[Series], label: str, shown: Callable[[float], str] = number) -> Markup:
    """A line chart over time, from zero up; times are UTC. Empty without points.

    :param label: what it shows, for readers who cannot see it
    :param shown: a value with its unit
    """
    chosen = largest(series)
    if not chosen:
        return Markup()
    times = [t for s in chosen for t, _ in s.points]
    first, last = min(times), max(times)
    top = nice(max(v for s in chosen for _, v in s.points))
    plot_w, plot_h = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x(t: float) -> float:
        return LEFT + plot_w * ((t - first) / (last - first) if last > first else 1.0)

    def y(v: float) -> float:
        return TOP + plot_h * (1 - v / top)

    parts = [SVG.format(w=WIDTH, h=HEIGHT, label=escape(label))]
    for step in range(GRID + 1):
        value = top * step / GRID
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{escape(shown(value))}</text>')
    for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        moment = first + (last - first) * share
        clock = f"{datetime.fromtimestamp(moment, UTC):%H:%M}"
        parts.append(f'<text x="{x(moment):.1f}" y="{HEIGHT - 6}" text-anchor="{anchor}">{clock}</text>')
    for place, one in enumerate(chosen, 1):
        path = " ".join(f"{x(t):.1f},{y(v):.1f}" for t, v in one.points)
        parts.append(f'<polyline class="curve s{place}" points="{path}"><title>{escape(one.name)}</title></polyline>')
    return Markup("".join(parts) + "</svg>")  # noqa: S704 - every text in it is escaped


def bars(values: Sequence[tuple[str, float, bool]], label: str, shown: Callable[[float], str] = number) -> Markup:
    """Horizontal bars: (name, value, whether it is bad). Bad ones have a mark, too. Empty without values."""
    if not values:
        return Markup()
    row, name_w = 26, 220
    top = max(max(v for _, v, _ in values), 1e-9)
    height = row * len(values) + 8
    parts = [SVG.format(w=WIDTH, h=height, label=escape(label))]
    for place, (name, value, bad) in enumerate(values):
        y = place * row + 4
        width = (WIDTH - name_w - 90) * value / top
        kind = "bar bad" if bad else "bar"
        parts.append(f'<text x="{name_w - 8}" y="{y + 15}" text-anchor="end">{escape(name)}</text>')
        parts.append(f'<rect class="{kind}" x="{name_w}" y="{y}" width="{max(width, 1):.1f}" height="{row - 8}"/>')
        mark = "✗ " if bad else ""
        parts.append(f'<text x="{name_w + max(width, 1) + 6:.1f}" y="{y + 15}">{mark}{escape(shown(value))}</text>')
    return Markup("".join(parts) + "</svg>")  # noqa: S704 - every text in it is escaped


def nice(value: float) -> float:
    """The next of 1, 2, 4, 8 times a power of ten, so that four grid lines have round numbers."""
    if value <= 0:
        return 1.0
    power = 1.0
    while power > value:
        power /= 10
    while power * 10 <= value:
        power *= 10
    return next(f * power for f in (1, 2, 4, 8, 10) if f * power >= value * 0.9999)
