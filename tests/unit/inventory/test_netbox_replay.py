# SPDX-License-Identifier: Apache-2.0
"""The replay server against its own recordings: derived responses equal those of NetBox."""

from __future__ import annotations

import json
from collections import Counter

import requests

from tests.netbox.replay import NOT_RECORDED, PAGING, READ_ONLY, Replay, multiset, recording


def test_derived_pages_are_the_recorded_ones() -> None:
    """Every recorded page of a list recorded whole, at page sizes 1 to 5000, equals the page cut from the list."""
    server = Replay()
    compared: Counter[str] = Counter()
    for (method, path, query, authorization, _), answer in recording().answers.items():
        pairs = [pair for pair, count in query for _ in range(count)]
        given = dict(pairs)
        place = (path, multiset([p for p in pairs if p[0] not in PAGING]), authorization)
        if method != "GET" or answer.status != 200 or place not in recording().lists:
            continue
        if not given.get("limit", "1").isdigit() or not given.get("offset", "0").isdigit():
            continue
        page = server.page(path, pairs, authorization)
        assert page is not None
        assert json.loads(page.body) == json.loads(answer.body), f"{path} {pairs}"
        compared[given.get("limit", "default")] += 1
    assert sum(compared.values()) > 350
    assert {"default", "0", "1", "3", "25", "200", "1000", "5000"} <= set(compared)


def test_an_unrecorded_request_is_an_error() -> None:
    with Replay() as server:
        answer = requests.get(
            f"{server.url}/api/dcim/devices/?site=nowhere-recorded",
            headers={"Authorization": f"Bearer {READ_ONLY}"},
            timeout=5,
        )
    assert answer.status_code == NOT_RECORDED
    assert server.unrecorded == ["GET /api/dcim/devices/?site=nowhere-recorded"]


def test_a_recorded_error_comes_back_with_its_status_and_text() -> None:
    with Replay() as server:
        answer = requests.get(
            f"{server.url}/api/dcim/devices/?site=nosuchsite",
            headers={"Authorization": f"Bearer {READ_ONLY}"},
            timeout=5,
        )
    assert answer.status_code == 400
    assert "Select a valid choice. nosuchsite" in answer.text
