"""A question: two replies to one prompt, and which of them a person prefers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, final, get_args

from paretune.errors import InputError, NotScoredError, ShapeError

Answer = Literal["first", "second", "same"]
ANSWERS: tuple[Answer, ...] = get_args(Answer)


@final
@dataclass(frozen=True)
class Option:
    """Something that can be shown: a reply with its rewards.

    Args:
        id: names the reply among those to its prompt, for instance the trade-off it was given at.
        rewards: ``(M,)`` unit rewards, measured on the reply or expected of its policy.

    Raises:
        NotScoredError: if a reward is missing or infinite.
    """

    id: str
    rewards: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "rewards", tuple(float(r) for r in self.rewards))
        if not self.rewards or not all(map(math.isfinite, self.rewards)):
            raise NotScoredError(
                f"option {self.id!r}: found rewards {list(self.rewards)}, "
                "expected a finite number an objective"
            )


@final
@dataclass(frozen=True)
class Question:
    """Which of two replies to one prompt is better?

    Args:
        first: shown first (left).
        second: shown second (right).
        prompt: what both replied to.

    Raises:
        ShapeError: if the options have different numbers of objectives.
    """

    first: Option
    second: Option
    prompt: str = ""

    def __post_init__(self) -> None:
        one, other = len(self.first.rewards), len(self.second.rewards)
        if one != other:
            raise ShapeError(f"question: found {one} and {other} rewards, expected as many")

    @property
    def key(self) -> tuple[str, ...]:
        """What is asked, whichever side is shown first."""
        return (self.prompt, *sorted((self.first.id, self.second.id)))

    def mirrored(self) -> Question:
        """The same question with its sides swapped."""
        return Question(self.second, self.first, self.prompt)


@final
@dataclass(frozen=True)
class Answered:
    """A question and what the person said.

    Args:
        question: with the sides as they were shown.
        answer: which side, or ``same``.

    Raises:
        InputError: if the answer is none of the three.
    """

    question: Question
    answer: Answer

    def __post_init__(self) -> None:
        if self.answer not in ANSWERS:
            raise InputError(f"answer: found {self.answer!r}, expected one of {', '.join(ANSWERS)}")


def every_question(options: Sequence[Option], prompt: str = "") -> tuple[Question, ...]:
    """Every pair of the replies to one prompt.

    Args:
        options: replies with distinct ids.
        prompt: what they replied to.

    Returns:
        ``N (N - 1) / 2`` questions in the order of the options.

    Raises:
        InputError: if an id is repeated.

    Example:
        >>> options = [Option(name, (reward,)) for name, reward in (("a", 0.0), ("b", 1.0))]
        >>> [question.key for question in every_question(options, "how ?")]
        [('how ?', 'a', 'b')]
    """
    if len({option.id for option in options}) < len(options):
        raise InputError("questions: found an option id twice, expected distinct ids")
    return tuple(Question(one, other, prompt) for one, other in combinations(options, 2))
