from __future__ import annotations

import math

import pytest

from paretune.core.question import Answered, Option, Question, every_question
from paretune.errors import InputError, NotScoredError, ShapeError

LEFT, RIGHT = Option("left", (0.0, 1.0)), Option("right", (1.0, 0.0))


def test_mirrored_asks_the_same() -> None:
    question = Question(LEFT, RIGHT, "how ?")
    assert question.mirrored() == Question(RIGHT, LEFT, "how ?")
    assert question.mirrored().key == question.key
    assert Question(LEFT, RIGHT, "why ?").key != question.key


def test_every_question() -> None:
    options = [LEFT, RIGHT, Option("both", (0.5, 0.5))]
    pairs = [(q.first.id, q.second.id) for q in every_question(options)]
    assert pairs == [("left", "right"), ("left", "both"), ("right", "both")]
    assert every_question([LEFT]) == ()
    with pytest.raises(InputError, match="id twice"):
        every_question([LEFT, LEFT])


@pytest.mark.parametrize("reward", [math.nan, math.inf])
def test_unknown_reward(reward: float) -> None:
    with pytest.raises(NotScoredError, match="'a'"):
        Option("a", (0.5, reward))


def test_no_reward() -> None:
    with pytest.raises(NotScoredError):
        Option("a", ())


def test_objectives_differ() -> None:
    with pytest.raises(ShapeError, match="2 and 1"):
        Question(LEFT, Option("a", (1.0,)))


def test_unknown_answer() -> None:
    with pytest.raises(InputError, match=r"'left'.*first, second, same"):
        Answered(Question(LEFT, RIGHT), "left")  # type: ignore[arg-type]
