"""An answer of a person, with everything that it means: it outlives the run it was asked about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from paretune.core.question import ANSWERS, Answer
from paretune.errors import InputError


@final
@dataclass(frozen=True)
class ShownReply:
    """A measured reply that can be shown.

    Args:
        id: of the trade-off it was given at, unique among the replies to its prompt.
        text: of the reply.
        rewards: ``(M,)`` raw, as they were measured.
    """

    id: str
    text: str
    rewards: tuple[float, ...]


@final
@dataclass(frozen=True)
class StoredAnswer:
    """What was asked, and what the person said.

    Args:
        question: its id.
        prompt: what both replies answer.
        objectives: of the rewards, in their order.
        first: shown first.
        second: shown second.
        answer: ``first``, ``second`` or ``same``.
        time: when, in seconds since 1970.

    Example:
        >>> brief, full = ShownReply("0-1", "No.", (0.1, 1.0)), ShownReply("1-0", "Well", (1, 0.2))
        >>> said = StoredAnswer("q", "Why?", ("helpful", "concise"), brief, full, "second", 0.0)
        >>> StoredAnswer.from_json(said.to_json()) == said
        True
    """

    question: str
    prompt: str
    objectives: tuple[str, ...]
    first: ShownReply
    second: ShownReply
    answer: Answer
    time: float

    def to_json(self) -> dict[str, Any]:
        """Everything, rewards by the names of their objectives."""
        return {
            "question": self.question,
            "prompt": self.prompt,
            "first": self._side(self.first),
            "second": self._side(self.second),
            "answer": self.answer,
            "time": self.time,
        }

    @classmethod
    def from_json(cls, row: Any) -> StoredAnswer:
        """What :meth:`to_json` wrote.

        Raises:
            InputError: if it is something else.
        """
        try:
            names = tuple(row["first"]["rewards"])
            first, second = (_reply(row[side], names) for side in ("first", "second"))
            if row["answer"] not in ANSWERS:
                raise ValueError(f"answer {row['answer']!r}")
            return cls(str(row["question"]), str(row["prompt"]), names, first, second,
                       row["answer"], float(row["time"]))  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"answer: found {type(error).__name__} ({error}), expected what was stored"
            ) from error

    def _side(self, reply: ShownReply) -> dict[str, Any]:
        rewards = dict(zip(self.objectives, reply.rewards, strict=True))
        return {"id": reply.id, "reply": reply.text, "rewards": rewards}


def _reply(row: Any, names: tuple[str, ...]) -> ShownReply:
    if set(row["rewards"]) != set(names):
        raise ValueError(f"rewards of {', '.join(row['rewards'])} beside {', '.join(names)}")
    rewards = tuple(float(row["rewards"][name]) for name in names)
    return ShownReply(str(row["id"]), str(row["reply"]), rewards)
