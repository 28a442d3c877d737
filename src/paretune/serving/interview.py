"""What to ask a person about a measured run, and what the answers say; nothing is stored here."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from paretune.core.question import Answer, Answered, Option, Question
from paretune.core.results import RunResult
from paretune.core.tradeoff import TradeOff
from paretune.errors import ConfigError
from paretune.functional.next_question import NextQuestion, choose_question, is_enough
from paretune.functional.tradeoff_posterior import Best, TradeOffPosterior
from paretune.functional.unit_box import unit_rewards
from paretune.serving.answered import ShownReply, StoredAnswer
from paretune.serving.questions import questions_of

Read = Callable[[], Mapping[str, Sequence[ShownReply]]]
"""Measured replies to each prompt, read when they are needed."""

_KEPT = 64
"""Persons whose next question is remembered."""


@final
@dataclass(frozen=True)
class Standing:
    """Where a person stands.

    Args:
        posterior: what the answers say.
        following: what to ask next; ``None`` = nothing is left.
        best: of the measured points of the method, which to serve.
        is_enough: whether more questions would hardly change it.
    """

    posterior: TradeOffPosterior
    following: NextQuestion | None
    best: Best
    is_enough: bool


@final
class Interview:
    """Questions about one method of a measured run, and what follows from their answers.

    Args:
        result: what the run measured.
        method: whose replies are shown and whose points can be served.
        read: its replies.
    """

    def __init__(self, result: RunResult, method: str, read: Read) -> None:
        self.result, self.method, self._read = result, method, read
        self._points = {m.name: m.points for m in result.methods if m.points}
        self._standing = functools.lru_cache(_KEPT)(self._stand)

    @property
    def objectives(self) -> tuple[str, ...]:
        """Of the run."""
        return self.result.objectives

    @functools.cached_property
    def questions(self) -> tuple[Question, ...]:
        """All that may be asked; raises what reading the replies raises."""
        return questions_of(self._replies, self.result.low, self.result.high)

    def require_questions(self) -> None:
        """Be sure that there is something to ask.

        Raises:
            ConfigError: if there is not.
            RunError: if the replies of the run are missing or damaged.
        """
        if not self.questions:
            raise ConfigError(
                f"{self.result.name}: found nothing to ask about {self.method} "
                f"({len(self._points[self.method])} measured trade-offs), expected two sound "
                "replies to one prompt with different rewards; try another --method, or measure "
                "more trade-offs"
            )

    def standing(self, user: str, answers: tuple[StoredAnswer, ...]) -> Standing:
        """Where a person stands after some answers.

        Raises:
            ConfigError: if the answers are about other objectives.
        """
        return self._standing(user, answers)

    def tradeoff(self, user: str, answers: tuple[StoredAnswer, ...], method: str) -> TradeOff:
        """The measured point of a method that is best for a person; raises as :meth:`standing`."""
        best = self._posterior(user, answers).best(self._available(method))
        return TradeOff(self._points[method][best.index].tradeoff)

    def asked(self, question: Question) -> dict[str, Any]:
        """A question as JSON: what is shown, and nothing that would tell which side is which."""
        first, second = self.replies(question)
        return {
            "id": question_id(question),
            "prompt": question.prompt,
            "first": {"reply": first.text},
            "second": {"reply": second.text},
        }

    def replies(self, question: Question) -> tuple[ShownReply, ShownReply]:
        """The replies of a question, as they were measured."""
        sides = {reply.id: reply for reply in self._replies[question.prompt]}
        return sides[question.first.id], sides[question.second.id]

    def answered(self, question: Question, answer: Answer, time: float) -> StoredAnswer:
        """What is stored of an answer."""
        first, second = self.replies(question)
        return StoredAnswer(
            question_id(question), question.prompt, self.objectives, first, second, answer, time
        )

    def told(self, user: str, answers: tuple[StoredAnswer, ...]) -> dict[str, Any]:
        """All of it as JSON; raises as :meth:`standing`."""
        now = self.standing(user, answers)
        known = now.posterior.estimate()
        point = self._points[self.method][now.best.index]
        return {
            "user": user,
            "number": len(answers) + 1,
            "enough": now.is_enough,
            "question": now.following and self.asked(now.following.question),
            "estimate": {
                "tradeoff": self._named(known.tradeoff.weights),
                "low": self._named(known.low),
                "high": self._named(known.high),
                "utility": dict(known.utility),
                "temperature": known.temperature,
                "loss": now.best.loss,
            },
            "served": {"tradeoff": self._named(point.tradeoff), "method": self.method},
        }

    def estimate(self, user: str, answers: tuple[StoredAnswer, ...]) -> dict[str, float]:
        """Mean weights by name; raises as :meth:`standing`."""
        return self._named(self._posterior(user, answers).estimate().tradeoff.weights)

    @functools.cached_property
    def _replies(self) -> Mapping[str, Sequence[ShownReply]]:
        return self._read()

    def _stand(self, user: str, answers: tuple[StoredAnswer, ...]) -> Standing:
        posterior, available = self._posterior(user, answers), self._available(self.method)
        seed = int(hashlib.sha256(user.encode()).hexdigest()[:8], 16)
        following = choose_question(posterior, self.questions, available, seed)
        enough = is_enough(posterior, available, following)
        return Standing(posterior, following, posterior.best(available), enough)

    def _posterior(self, user: str, answers: tuple[StoredAnswer, ...]) -> TradeOffPosterior:
        said = tuple(self._believed(user, answer) for answer in answers)
        return TradeOffPosterior(len(self.objectives), said)

    def _believed(self, user: str, stored: StoredAnswer) -> Answered:
        """An answer in the box of this run: it brings its raw rewards."""
        if set(stored.objectives) != set(self.objectives):
            raise ConfigError(
                f"user {user!r}: found answers about {', '.join(stored.objectives)}, expected "
                f"{', '.join(self.objectives)}: ask under another name, or delete this user "
                "(paretune ask RUN --delete NAME)"
            )
        order = [stored.objectives.index(name) for name in self.objectives]
        first, second = (
            Option(side.id, tuple(unit_rewards(
                [side.rewards[n] for n in order], self.result.low, self.result.high)))
            for side in (stored.first, stored.second)
        )  # fmt: skip
        return Answered(Question(first, second, stored.prompt), stored.answer)

    def _available(self, method: str) -> Any:
        """``(K, M)`` unit rewards of the measured points of a method."""
        means = [[mean.value for mean in point.means] for point in self._points[method]]
        return unit_rewards(means, self.result.low, self.result.high)

    def _named(self, values: Sequence[float]) -> dict[str, float]:
        return dict(zip(self.objectives, map(float, values), strict=True))


def question_id(question: Question) -> str:
    """Short name of a question: its prompt, its two replies, and which of them stands first.

    Example:
        >>> question = Question(Option("0-1", (0.0, 1.0)), Option("1-0", (1.0, 0.0)), "Why?")
        >>> question_id(question) == question_id(question.mirrored())
        False
    """
    shown = json.dumps([question.prompt, question.first.id, question.second.id])
    return hashlib.sha256(shown.encode()).hexdigest()[:16]
