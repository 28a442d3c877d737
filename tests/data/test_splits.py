"""Splits: stable, exhaustive, and a prompt in one place only."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.core.record import Message, Record, Response, prompt_key
from paretune.data.splits import SHARES, split_of, split_records
from paretune.errors import ConfigError, DataError


def record(prompt) -> Record:
    return Record(prompt, (Response("x"),))


EXPECTED = ["test" if i in (2, 8) else "train" for i in range(12)]
EXPECTED_CHAT = "train"
RECORDS = [record(f"Question {i}?") for i in range(2000)]


def test_the_place_is_the_hash_on_the_line_of_shares():
    for one in RECORDS[:200]:
        position = int(prompt_key(one.prompt), 16) / 16**16
        expected = "train" if position < 0.8 else "validation" if position < 0.9 else "test"
        assert split_of(one.prompt) == expected


def test_places_never_change():
    # Written down once; a change here moves prompts between the splits of every user.
    places = [split_of(f"Question {i}?") for i in range(12)]
    assert places == EXPECTED
    assert split_of((Message("user", "Hi"),)) == EXPECTED_CHAT


def test_sizes_follow_the_shares():
    parts = split_records(RECORDS)
    assert list(parts) == ["train", "validation", "test"]
    # Four standard deviations of a binomial of 2000 at 0.1 are 54 rows.
    assert abs(len(parts["validation"]) - 200) < 54
    assert abs(len(parts["test"]) - 200) < 54
    assert sum(map(len, parts.values())) == 2000


@given(st.lists(st.integers(0, 1999), min_size=1), st.randoms())
def test_no_row_moves_when_others_come_and_go(chosen, random):
    some = [RECORDS[i] for i in chosen]
    random.shuffle(some)
    parts = split_records([*some, *RECORDS[:500]])
    for name, part in parts.items():
        assert all(split_of(r.prompt) == name for r in part)


def test_rows_of_a_prompt_stay_together_and_in_order():
    twice = [record("p"), *RECORDS[:100], Record("p", (Response("y"),))]
    parts = split_records(twice)
    (home,) = [part for part in parts.values() if any(r.prompt == "p" for r in part)]
    assert [r.responses[0].text for r in home if r.prompt == "p"] == ["x", "y"]


def test_a_share_of_zero_gets_nothing():
    parts = split_records(RECORDS[:20], {"train": 1.0, "test": 0.0})
    assert (len(parts["train"]), parts["test"]) == (20, ())


def test_the_last_positive_share_takes_the_rounding():
    third = {"a": 1 / 3 - 1e-7, "b": 2 / 3, "c": 0.0}
    assert all(split_of(r.prompt, third) in ("a", "b") for r in RECORDS)


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ({"train": 0.8}, "sum 1"),
        ({}, "sum 1"),
        ({"train": 1.2, "test": -0.2}, "'test': found share -0.2"),
        ({"train": float("nan")}, "found share nan"),
        ({"train": True}, "found share True"),
        ({"train": "1"}, "found share '1'"),
    ],
)
def test_shares_are_checked(shares, message):
    with pytest.raises(ConfigError, match=message):
        split_records(RECORDS[:3], shares)


def test_an_empty_split_is_an_error():
    with pytest.raises(DataError, match=r"found none of 1 prompts.*\(share 0\.\d\)"):
        split_records(RECORDS[:1], SHARES)
