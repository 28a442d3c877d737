"""Pairs that can be asked about: none that tells nothing, and never too many."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from paretune.functional.unit_box import unit_rewards
from paretune.serving.answered import ShownReply
from paretune.serving.questions import questions_of

UNIT = (0.0, 0.0), (1.0, 1.0)


def reply(name: str, text: str, *rewards: float) -> ShownReply:
    return ShownReply(name, text, rewards)


def many(n_prompts: int, n_replies: int, seed: int = 0) -> dict[str, list[ShownReply]]:
    rng = np.random.default_rng(seed)
    return {
        f"prompt {p}": [reply(str(i), f"text {p} {i}", *rng.random(2)) for i in range(n_replies)]
        for p in range(n_prompts)
    }


def test_what_tells_nothing_or_is_broken_is_no_question() -> None:
    loop = "please wipe it . " * 9
    shown = {
        "equal texts": [
            reply("0", "one  two three", 0, 1), reply("1", "one two three\n", 0, 1),
            reply("2", "four five six", 1, 0),
        ],
        "equal rewards": [reply("0", "one two three", 0.5, 1), reply("1", "four five six", 0.5, 1)],
        "collapsed": [
            reply("0", "one two three", 0, 1), reply("1", loop, 1, 0), reply("2", "no", 1, 0),
        ],
        "alone": [reply("0", "one two three", 0, 1)],
        "nothing": [],
    }  # fmt: skip
    assert [q.key for q in questions_of(shown, *UNIT)] == [("equal texts", "0", "2")]
    assert questions_of({}, *UNIT) == () == questions_of({"nothing": []}, *UNIT)


def test_rewards_are_in_the_box_of_the_run() -> None:
    shown = {"a": [reply("0", "one two three", -3.0, 8.0), reply("1", "four five six", 4.0, 30.0)]}
    (question,) = questions_of(shown, (0.0, 4.0), (8.0, 12.0))
    assert question.first.rewards == (0.0, 0.5)
    assert question.second.rewards == (0.5, 1.0)
    assert unit_rewards([[0.0, 8.0]], (0.0, 4.0), (8.0, 12.0)).tolist() == [[0.0, 0.5]]


def test_of_too_many_those_are_kept_where_both_replies_have_something() -> None:
    shown = many(30, 6)
    every = questions_of(shown, *UNIT, most=10_000)
    assert len(every) == 30 * 15

    def is_open(gaps: np.ndarray) -> bool:
        return bool((gaps > 0).any() and (gaps < 0).any())

    open_ = [q for q in every if is_open(np.subtract(q.first.rewards, q.second.rewards))]
    assert 0 < len(open_) < len(every)
    kept = questions_of(shown, *UNIT, most=len(open_))
    assert kept == tuple(open_)
    fewer = questions_of(shown, *UNIT, most=50)
    assert set(fewer) < set(open_) and len(fewer) == 50
    assert fewer == questions_of(shown, *UNIT, most=50)
    # Spread over the prompts, not those of the first few.
    assert len({q.prompt for q in fewer}) > 20
    more = questions_of(shown, *UNIT, most=len(open_) + 7)
    assert set(open_) < set(more) and len(more) == len(open_) + 7


@pytest.mark.parametrize("n", [1, 2, 5])
def test_every_pair_of_a_prompt(n: int) -> None:
    names = {frozenset(q.key[1:]) for q in questions_of(many(1, n), *UNIT)}
    assert names == {frozenset(pair) for pair in itertools.combinations(map(str, range(n)), 2)}
