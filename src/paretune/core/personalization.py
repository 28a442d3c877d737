"""What personalization is worth: a policy that was shown a user's pairs, measured on new users.

Round-trips through JSON with :func:`to_json` and ``PersonalizationResult.from_json``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, final

from paretune.core.interval import Interval

Opponent = Literal["reference", "zero-shot", "described"]
"""Whose replies a policy's are compared with: the reference policy on the same prompt; the policy
itself without any shot; the policy that is told in words what the user wants."""


@final
@dataclass(frozen=True)
class CellResult:
    """Pair accuracy on one kind of user and one kind of prompt.

    Args:
        is_new_user: whether these users were kept out of training.
        is_new_prompt: whether these prompts were.
        accuracy: share of pairs whose better response the policy prefers.
        n_users: users behind it.
        n_pairs: pairs behind it.
    """

    is_new_user: bool
    is_new_prompt: bool
    accuracy: Interval
    n_users: int
    n_pairs: int


@final
@dataclass(frozen=True)
class WinResult:
    """How often users like the policy's reply better than another one's to the same prompt.

    Args:
        opponent: whose replies it met.
        rate: share of wins by the users' own utility, a tie counting half.
        by_objective: the same by each reward alone, ``(M,)``; ``None`` where it is not scored.
        interval_by: ``users``: bootstrap over users; ``wilson``: with one reply a user.
        n_users: users behind it.
        n_replies: replies behind it.
    """

    opponent: Opponent
    rate: Interval
    by_objective: tuple[Interval | None, ...]
    interval_by: Literal["users", "wilson"]
    n_users: int
    n_replies: int


@final
@dataclass(frozen=True)
class PersonalizationResult:
    """One few-shot policy; every share is in [0, 1] and larger is better.

    Args:
        name: the method.
        objectives: names, ``(M,)``.
        n_users: new users, which the intervals resample.
        own: pair accuracy on new users with their own shots.
        other: with the shots of somebody else.
        gap: ``own`` minus ``other`` on the same pairs: the evidence of personalization.
        by_shots: number of shots -> pair accuracy.
        cells: seen and new users on seen and new prompts; the headline is new on new.
        wins: of replies, an entry an opponent.
        controllability: per objective, Spearman correlation across users of their weight and the
            mean reward of their replies, ``(M,)``; ``None`` with fewer than three users or no
            variation.
        worst_weighted: mean over users of one minus their largest weighted shortfall, of mean
            unit rewards; ``None`` without replies.
        worst_share: of which objective it is, as shares of the users, ``(M,)``.
        notes: sentences a reader must know.
        facts: sizes and seeds: text to text.
    """

    name: str
    objectives: tuple[str, ...]
    n_users: int
    own: Interval
    other: Interval | None = None
    gap: Interval | None = None
    by_shots: Mapping[int, Interval] = field(default_factory=dict)
    cells: tuple[CellResult, ...] = ()
    wins: tuple[WinResult, ...] = ()
    controllability: tuple[float | None, ...] = ()
    worst_weighted: Interval | None = None
    worst_share: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def headline(self) -> Interval:
        """Pair accuracy of new users on new prompts, or ``own`` where the cell was not measured."""
        new = [cell.accuracy for cell in self.cells if cell.is_new_user and cell.is_new_prompt]
        return new[0] if new else self.own

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> PersonalizationResult:
        """Inverse of :func:`to_json`."""
        return cls(
            **{
                **data,
                "objectives": tuple(data["objectives"]),
                "own": Interval(**data["own"]),
                "other": _interval(data["other"]),
                "gap": _interval(data["gap"]),
                "by_shots": {int(n): Interval(**i) for n, i in data["by_shots"].items()},
                "cells": tuple(
                    CellResult(**{**cell, "accuracy": Interval(**cell["accuracy"])})
                    for cell in data["cells"]
                ),
                "wins": tuple(_win(win) for win in data["wins"]),
                "controllability": tuple(data["controllability"]),
                "worst_weighted": _interval(data["worst_weighted"]),
                "worst_share": tuple(data["worst_share"]),
                "notes": tuple(data["notes"]),
            }
        )


def to_json(result: PersonalizationResult) -> dict[str, Any]:
    """A result as plain JSON values."""
    plain = dataclasses.asdict(result)
    plain["by_shots"] = {str(n): interval for n, interval in plain["by_shots"].items()}
    return plain


def _interval(data: Mapping[str, Any] | None) -> Interval | None:
    return None if data is None else Interval(**data)


def _win(data: Mapping[str, Any]) -> WinResult:
    by_objective = tuple(_interval(i) for i in data["by_objective"])
    return WinResult(**{**data, "rate": Interval(**data["rate"]), "by_objective": by_objective})
