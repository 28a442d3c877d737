"""People that are asked about a run: their stored answers, their next question, what is served."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

from paretune.core.question import Answer
from paretune.core.tradeoff import TradeOff
from paretune.errors import ConfigError, InputError
from paretune.serving.interview import Interview
from paretune.serving.users import Users

# Not . and ..: in an address they lead to another route.
_USER_NAME = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,64}")


class NotOpenError(InputError):
    """An answer to another question than the open one."""


class UnknownUserError(InputError):
    """Nobody of that name has answered."""


def require_user_name(user: str) -> str:
    """The name, if it can be one.

    Raises:
        ConfigError: if it cannot.

    Example:
        >>> require_user_name("ann.lee")
        'ann.lee'
    """
    if not _USER_NAME.fullmatch(user):
        raise ConfigError(
            f"user: found {user[:80]!r}, expected 1 to 64 letters, digits, dots, dashes or "
            "underscores, and neither . nor .."
        )
    return user


@final
@dataclass(frozen=True)
class People:
    """Everybody who was asked, or will be.

    Args:
        users: their answers.
        interview: what they are asked.
        clock: seconds since 1970.
    """

    users: Users
    interview: Interview
    clock: Callable[[], float] = time.time

    def all(self) -> list[dict[str, Any]]:
        """Everybody with answers, as JSON; whoever was asked about other objectives has no
        trade-off here."""
        found = []
        for user, n in self.users.counts().items():
            try:
                tradeoff = self.interview.estimate(user, self.users.answers(user))
            except ConfigError:
                tradeoff = {}
            found.append({"id": user, "answers": n, "tradeoff": tradeoff})
        return found

    def question(self, user: str) -> dict[str, Any]:
        """What is known and asked next, as JSON; stores nothing.

        Raises:
            ConfigError: if the person was asked about other objectives.
        """
        return self.interview.told(user, self.users.answers(user))

    def answer(self, user: str, question: str, answer: Answer) -> dict[str, Any]:
        """Store an answer; what is known and asked next, as JSON.

        To say the same again changes nothing: a client that saw no reply may ask again.

        Args:
            user: who.
            question: id of the open question.
            answer: ``first``, ``second`` or ``same``.

        Raises:
            ConfigError: as :meth:`question`.
            NotOpenError: if another question is open, or it was answered in another way.
        """
        answers = self.users.answers(user)
        before = {a.question: a.answer for a in answers}
        if before.get(question) == answer:
            return self.interview.told(user, answers)
        following = self.interview.standing(user, answers).following
        asked = following and self.interview.answered(following.question, answer, self.clock())
        if asked is None or asked.question != question:
            found = f"answered with {before[question]!r}" if question in before else "not open"
            raise NotOpenError(
                f"question: found {question!r}, {found}, expected "
                + (f"the open one, {asked.question!r}" if asked else "none: all are answered")
            )
        if not self.users.add(user, len(answers) + 1, asked):
            return self.answer(user, question, answer)  # somebody else was faster
        return self.interview.told(user, (*answers, asked))

    def learned(self, user: str, method: str) -> TradeOff | None:
        """What to serve a person with a method; ``None`` = nobody of that name has answered.

        Raises:
            ConfigError: as :meth:`question`.
        """
        answers = self.users.answers(user)
        return self.interview.tradeoff(user, answers, method) if answers else None


def export_of(users: Users, user: str) -> dict[str, Any]:
    """All that is stored of a person, as JSON; ``StoredAnswer.from_json`` reads the answers.

    Raises:
        UnknownUserError: if nobody of that name has answered.
    """
    answers = users.answers(user)
    if not answers:
        raise _unknown(user)
    return {"version": 1, "user": user, "answers": [a.to_json() for a in answers]}


def forget(users: Users, user: str) -> int:
    """Delete a person for good; how many answers; raises as :func:`export_of`."""
    n = users.delete(user)
    if not n:
        raise _unknown(user)
    return n


def _unknown(user: str) -> UnknownUserError:
    return UnknownUserError(f"user: found {user[:80]!r}, expected one who has answered")
