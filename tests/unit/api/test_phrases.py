# SPDX-License-Identifier: Apache-2.0
"""Phrases in two languages, charts, runbooks, and the condition of APIs."""

from __future__ import annotations

import re
from string import Formatter
from xml.etree import ElementTree

import pytest
from jinja2 import nodes

from scs_deploy.api import charts, look, markdown, shown
from scs_deploy.api.facts import Kind, Series
from scs_deploy.api.phrases import FOLDER, LANGUAGES, chosen, phrases
from scs_deploy.api.public import Condition, conditions, worst
from scs_deploy.base import paths
from scs_deploy.shared.monitoring import Alert
from scs_deploy.state.runs import Status
from tests.support.page_region import NOW

GROUPS: dict[str, list[str]] = {
    "fact_": [k.value for k in Kind if k is not Kind.LEAF],
    "menu_": [key for _, key in shown.MENU],
    "run_": list(Status),
    "api_": list(Condition),
    "region_": list(Condition),
}
"""Beginning of keys that templates put together: what follows it."""

IN_CODE = {"ago", "gaps_chart", "p99_chart", *(f"chart_{name}" for name in look.CHARTS)}


def fields(phrase: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(phrase) if name}


def test_languages_have_the_same_phrases_with_the_same_values() -> None:
    assert {p.stem for p in FOLDER.glob("*.yml")} == set(LANGUAGES)
    english = phrases("en")
    for language in LANGUAGES[1:]:
        others = phrases(language)
        assert sorted(others) == sorted(english)
        assert {k: fields(v) for k, v in others.items()} == {k: fields(v) for k, v in english.items()}
        assert all(isinstance(v, str) and v.strip() for v in others.values())


def test_templates_use_known_phrases_only_and_none_is_left_over() -> None:
    environment = shown.environment()
    used = set(IN_CODE)
    for name in environment.list_templates():
        tree = environment.parse((shown.TEMPLATES / name).read_text(encoding="utf-8"))
        for call in tree.find_all(nodes.Call):
            if not isinstance(call.node, nodes.Name) or call.node.name != "t":
                continue
            key = call.args[0]
            if isinstance(key, nodes.Const):
                used.add(key.value)
                assert fields(phrases("en")[key.value]) == {k.key for k in call.kwargs}, (name, key.value)
            else:
                assert isinstance(key, nodes.Concat) and isinstance(key.nodes[0], nodes.Const), (name, call.lineno)
                begin = key.nodes[0].value
                used |= {f"{begin}{end}" for end in GROUPS[begin]}
    assert used == set(phrases("en"))


@pytest.mark.parametrize(
    ("cookie", "accepted", "language"),
    [("", "", "en"), ("", "de", "de"), ("", "de-CH, en;q=0.9", "de"), ("", "en, de", "en"), ("", "de;q=0.5,en", "en"),
     ("", "fr, de;q=0.3", "de"), ("", "fr", "en"), ("", "de;q=0", "en"), ("", "de;q=x", "en"), ("en", "de", "en"),
     ("xx", "de", "de"), ("", ",;,", "en")],
)  # fmt: skip
def test_the_language_of_a_request(cookie: str, accepted: str, language: str) -> None:
    assert chosen(cookie, accepted) == language


def series(name: str, *values: float) -> Series:
    return Series(name=name, points=tuple((1e9 + 300 * i, v) for i, v in enumerate(values)))


def test_a_chart_has_its_curves_in_its_frame_and_says_what_it_is() -> None:
    drawn = charts.lines([series("nova<api>", 0, 5, 3.7), series("b", 1, 1, 1)], "Load & more", charts.per_second)
    root = ElementTree.fromstring(drawn)
    assert root.get("aria-label") == "Load & more"
    curves = root.findall("polyline")
    assert [c.find("title").text for c in curves] == ["b", "nova<api>"]  # type: ignore[union-attr]
    points = [tuple(map(float, p.split(","))) for p in curves[1].get("points", "").split()]
    assert points[0] == (64.0, 176.0) and points[-1][0] == 632.0
    # 5 of 8, the top of the scale
    assert points[1][1] == pytest.approx(12 + 164 * 3 / 8, abs=0.1)
    assert "8 /s" in [t.text for t in root.findall("text")]
    assert charts.lines([], "nothing") == charts.lines([Series(name="a", points=())], "nothing") == ""


def test_a_chart_shows_the_largest_curves_only() -> None:
    drawn = charts.lines([series(f"c{n}", n) for n in range(20)], "many")
    assert re.findall(r"<title>(c\d+)</title>", drawn) == ["c14", "c15", "c16", "c17", "c18", "c19"]


@pytest.mark.parametrize(
    ("value", "top"), [(0, 1), (0.3, 0.4), (1, 1), (1.1, 2), (3, 4), (5, 8), (9, 10), (1234, 2000), (0.00012, 0.0002)]
)
def test_the_scale_ends_at_a_round_number(value: float, top: float) -> None:
    assert charts.nice(value) == pytest.approx(top)


def test_every_runbook_becomes_html_in_which_nothing_is_lost() -> None:
    found = sorted((paths.root() / "docs" / "runbooks").glob("*.md"))
    assert found
    for file in found:
        source = file.read_text(encoding="utf-8")
        made = str(markdown.html(source, "/runbooks/"))
        ElementTree.fromstring(f"<x>{made}</x>")
        headings = re.findall(r"^#+ (.+)$", source, re.M)
        assert made.count("<h") == len(headings)
        for word in re.findall(r"[A-Za-z]{4,}", re.sub(r"\(\S+\)", "", source)):
            assert word in made, (file.name, word)


def test_markdown_shows_markup_as_text() -> None:
    text = "# A <b>\n\nx **bold** `<i>` [a](b.md#c) [d](https://e) <script>\n\n- one\n  more\n- two\n"
    said = markdown.html(text, "/r/")
    assert "<script>" not in said and "<i>" not in said and "<b>" not in said
    assert '<a href="/r/b#c">a</a> d ' in said
    assert "<li>one more</li><li>two</li>" in said


def alert(severity: str, service: str, silenced: bool = False, **labels: str) -> Alert:
    return Alert(
        name="X", severity=severity, service=service, host="", summary="", impact="", runbook="", since=NOW,
        silenced=silenced, inhibited=False, labels=labels,
    )  # fmt: skip


SERVICES = {"identity": "keystone", "compute": "nova", "image": "glance"}
WELL = dict.fromkeys(SERVICES, "")


@pytest.mark.parametrize(
    ("reasons", "alerts", "found"),
    [
        (WELL, [], "works works works"),
        (WELL, None, "works works works"),
        (None, [], "unknown unknown unknown"),
        ({"identity": ""}, [], "works unknown unknown"),
        ({**WELL, "image": "timeout"}, [], "works works down"),
        (WELL, [alert("critical", "haproxy", proxy="compute")], "works troubled works"),
        (WELL, [alert("critical", "nova")], "works troubled works"),
        (WELL, [alert("warning", "nova")], "works works works"),
        (WELL, [alert("critical", "nova", silenced=True)], "works works works"),
        ({**WELL, "compute": "refused"}, [alert("critical", "nova")], "works down works"),
    ],
)
def test_the_condition_of_apis(reasons: dict[str, str] | None, alerts: list[Alert] | None, found: str) -> None:
    assert " ".join(a.condition for a in conditions(SERVICES, reasons, alerts)) == found


def test_the_condition_of_the_region_is_the_worst() -> None:
    assert worst(conditions(SERVICES, WELL, [])) is Condition.WORKS
    assert worst(conditions(SERVICES, {**WELL, "image": "x"}, [alert("critical", "nova")])) is Condition.DOWN
    assert worst(conditions(SERVICES, {"image": ""}, [])) is Condition.UNKNOWN
    assert worst([]) is Condition.UNKNOWN
