"""What was released never changes, and a stop is never shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.serving.texts import GrowingText


def as_bytes(ids: Sequence[int]) -> str:
    """A token a byte: characters arrive in pieces."""
    return bytes(ids).decode("utf-8", "replace")


def grow(text: str, stops: Sequence[str] = ()) -> tuple[list[str], GrowingText]:
    growing = GrowingText(as_bytes, stops)
    pieces = []
    for byte in text.encode():
        pieces.append(growing.add(byte))
        if growing.is_stopped:
            break
    pieces.append(growing.end())
    return pieces, growing


def test_half_a_character_waits() -> None:
    pieces, _ = grow("aé€")
    assert pieces == ["a", "", "é", "", "", "€", ""]


def test_what_may_begin_a_stop_waits() -> None:
    pieces, growing = grow("one END two", ["END"])
    assert "".join(pieces) == "one "
    assert growing.is_stopped
    assert all("E" not in piece for piece in pieces)
    assert grow("one EN", ["END"])[1].text == "one EN"


@given(st.text(max_size=30), st.lists(st.text(min_size=1, max_size=3), max_size=3))
def test_the_pieces_are_the_text_up_to_the_first_stop(text: str, stops: list[str]) -> None:
    pieces, growing = grow(text, stops)
    ends = [text.find(stop) for stop in stops if stop in text]
    expected = text[: min(ends)] if ends else text
    # A stop may be complete before an earlier, longer one is.
    assert expected.startswith(growing.text) if ends else growing.text == expected
    assert "".join(pieces) == growing.text
    assert not any(stop in growing.text for stop in stops)


def by_word(ids: Sequence[int]) -> str:
    """As many tokenizers: a space before every word but the first that is decoded."""
    return "".join(f" w{i}" if i % 3 else "-" for i in ids).removeprefix(" ")


@pytest.mark.parametrize("decode", [as_bytes, by_word])
def test_a_long_reply_is_not_decoded_again_for_every_token(decode: Any) -> None:
    ids = list(("Grüße, 世界! \U0001f600 e\u0301 " * 40).encode())
    longest = 0

    def watched(some: Sequence[int]) -> str:
        nonlocal longest
        longest = max(longest, len(some))
        return str(decode(some))

    growing = GrowingText(watched, ["never"])
    said = "".join([*map(growing.add, ids), growing.end()])
    assert said == growing.text == decode(ids)
    assert longest <= 64 + 4 < len(ids) / 10


def test_a_stop_is_seen_across_what_was_settled() -> None:
    text = "x" * 62 + "STOP" + "y" * 100
    growing = GrowingText(as_bytes, ["STOP"])
    said = "".join(growing.add(i) for i in text.encode())
    assert said == "x" * 62 and growing.is_stopped
