# SPDX-License-Identifier: Apache-2.0
"""Messages count in correct English."""

import pytest

from scs_deploy.base.plural import counted


@pytest.mark.parametrize(
    ("number", "noun", "plural", "text"),
    [
        (0, "change", "", "0 changes"),
        (1, "change", "", "1 change"),
        (2, "change", "", "2 changes"),
        (1, "entry", "entries", "1 entry"),
        (3, "entry", "entries", "3 entries"),
    ],
)
def test_counted(number: int, noun: str, plural: str, text: str) -> None:
    assert counted(number, noun, plural) == text
