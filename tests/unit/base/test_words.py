# SPDX-License-Identifier: Apache-2.0
"""Enumerations whose values explain themselves."""

from __future__ import annotations

import json
import pickle

import pytest

from scs_deploy.base.words import Words
from scs_deploy.plan.change import Kind
from scs_deploy.spec.container import Impact
from scs_deploy.spec.job import Phase, Schema
from scs_deploy.spec.service import Rotate


@pytest.mark.parametrize("words", [Phase, Impact, Kind, Schema, Rotate])
def test_every_value_says_what_it_means(words: type[Words]) -> None:
    assert [w.value for w in words if not w.meaning] == []


def test_a_word_is_its_value_everywhere_else() -> None:
    assert Phase("pull") is Phase.PULL
    assert {Phase.PULL: 1}["pull"] == 1  # type: ignore[index]
    assert str(Impact.DATA_PLANE) == f"{Impact.DATA_PLANE}" == "data-plane"
    assert json.dumps([Impact.API]) == '["api"]'
    assert pickle.loads(pickle.dumps(Kind.CREATE)) is Kind.CREATE
    with pytest.raises(ValueError, match="'soon' is not a valid Phase"):
        Phase("soon")
