# SPDX-License-Identifier: Apache-2.0
"""What Ceph holds of a volume is read in pieces, and only where there is something."""

from __future__ import annotations

from scs_deploy.validate.raw_volume import MAGIC, PIECE, look, pieces

WORD = b"scs-validate-1"


def volume(**parts: bytes) -> bytearray:
    """A volume of three pieces; `at_N` is what is at offset N."""
    content = bytearray(3 * PIECE)
    for name, data in parts.items():
        offset = int(name.removeprefix("at_"))
        content[offset : offset + len(data)] = data
    return content


def held(content: bytearray, *extents: tuple[int, int]) -> dict[str, bool | int]:
    return look(lambda offset, length: bytes(content[offset : offset + length]), extents, WORD)


def test_extents_are_read_in_pieces() -> None:
    assert list(pieces([(512, PIECE), (3 * PIECE, 2 * PIECE)])) == [
        (512, PIECE - 512), (PIECE, 512), (3 * PIECE, PIECE), (4 * PIECE, PIECE),
    ]  # fmt: skip


def test_a_word_is_found_wherever_it_is() -> None:
    for offset in (0, PIECE, 3 * PIECE - 512):
        assert held(volume(**{f"at_{offset}": WORD}), (0, 3 * PIECE)) == {
            "luks": False, "word": True, "bytes": 3 * PIECE,
        }  # fmt: skip


def test_a_header_is_told_from_content() -> None:
    assert held(volume(at_0=MAGIC), (0, 4096)) == {"luks": True, "word": False, "bytes": 4096}
    assert held(volume(at_512=MAGIC), (0, 4096))["luks"] is False
    assert held(volume(), (0, 4096)) == {"luks": False, "word": False, "bytes": 4096}
