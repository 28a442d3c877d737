"""Personalization on held-out users: does a policy do what *this* user wants, and no other?

Users are what an experiment draws from a population, so users are resampled; everything that was
asked of a user stays together. Shots of somebody else and numbers of shots are compared on the
same pairs, so that differences are paired.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt

from paretune.core.personalization import CellResult, Opponent, PersonalizationResult, WinResult
from paretune.core.results import Interval
from paretune.core.user import User
from paretune.errors import NotScoredError, ShapeError
from paretune.evaluation.over_users import user_difference, user_interval, wilson_interval
from paretune.functional.statistics import spearman
from paretune.functional.utility import rate

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

TIE = 1e-6
"""Utilities closer than this are equal."""


@final
@dataclass(frozen=True)
class PairScores:
    """How a policy ordered pairs whose order is known.

    Args:
        user_of: ``(V,)`` row of a list of users.
        margins: ``(V,)`` how much the policy prefers the response that its user prefers, > 0 where
            it agrees; any unit. NaN where the pair was not asked.
    """

    user_of: Ints
    margins: Floats

    def __post_init__(self) -> None:
        if self.user_of.shape != self.margins.shape or self.user_of.ndim != 1:
            raise ShapeError(
                f"pairs: found users {self.user_of.shape} and margins {self.margins.shape}, "
                "expected (V,) both"
            )

    @property
    def is_right(self) -> Floats:
        """``(V,)`` 1 where the policy agrees, 0 where it does not, 1/2 at 0, NaN where unknown."""
        return np.asarray((np.sign(self.margins) + 1) / 2)


@final
@dataclass(frozen=True)
class UserReplies:
    """Replies to prompts of users.

    Args:
        user_of: ``(N,)`` row of a list of users.
        rewards: ``(N, M)`` unit rewards, NaN = not scored.
    """

    user_of: Ints
    rewards: Floats

    def __post_init__(self) -> None:
        if self.user_of.shape != self.rewards.shape[:1] or self.rewards.ndim != 2:
            raise ShapeError(
                f"replies: found users {self.user_of.shape} and rewards {self.rewards.shape}, "
                "expected (N,) and (N, M)"
            )


def four_cells(
    scores: PairScores,
    is_new_user: npt.NDArray[np.bool_],
    is_new_prompt: npt.NDArray[np.bool_],
    seed: int = 0,
) -> tuple[CellResult, ...]:
    """Pair accuracy of seen and new users on seen and new prompts.

    Args:
        scores: V pairs.
        is_new_user: ``(V,)`` whether the user was kept out of training.
        is_new_prompt: ``(V,)`` whether the prompt was.
        seed: of the resamples.

    Returns:
        The cells with at least two users, new on new first.
    """
    found = []
    for new_user in (True, False):
        for new_prompt in (True, False):
            rows = (is_new_user == new_user) & (is_new_prompt == new_prompt)
            rows &= ~np.isnan(scores.margins)
            n_users = len(np.unique(scores.user_of[rows]))
            if n_users >= 2:
                accuracy = user_interval(scores.is_right[rows], scores.user_of[rows], seed)
                found.append(CellResult(new_user, new_prompt, accuracy, n_users, int(rows.sum())))
    return tuple(found)


def win_result(
    opponent: Opponent,
    replies: UserReplies,
    theirs: UserReplies,
    users: Sequence[User],
    seed: int = 0,
) -> WinResult:
    """How often users like ``replies`` better than ``theirs``, reply by reply.

    Args:
        opponent: who ``theirs`` is.
        replies: N replies of the policy.
        theirs: N replies to the same prompts of the same users, row for row.
        users: rows that ``user_of`` means.
        seed: of the resamples.

    Returns:
        Shares of wins; a tie (utilities within 1e-6) counts half. With one reply a user the
        intervals are Wilson's, otherwise users are resampled.

    Raises:
        ShapeError: if the rows are not of the same users.
        NotScoredError: if a utility is unknown.
    """
    if not np.array_equal(replies.user_of, theirs.user_of):
        raise ShapeError(f"wins against {opponent}: found rows of other users, expected the same")
    wins = _wins(utilities(replies, users) - utilities(theirs, users))
    by_objective = _wins(replies.rewards - theirs.rewards)
    _, counts = np.unique(replies.user_of, return_counts=True)
    is_single = bool((counts == 1).all())

    def interval(column: Floats) -> Interval | None:
        known = column[~np.isnan(column)]
        if not len(known):
            return None
        if is_single:
            return wilson_interval(float(known.sum()), len(known))
        return user_interval(column, replies.user_of, seed)

    share = interval(wins)
    assert share is not None  # every utility is known
    return WinResult(
        opponent,
        share,
        tuple(interval(column) for column in by_objective.T),
        "wilson" if is_single else "users",
        len(counts),
        len(wins),
    )


def utilities(replies: UserReplies, users: Sequence[User]) -> Floats:
    """``(N,)`` what each reply is worth to its user.

    Raises:
        NotScoredError: if nothing that weighs anything for the user is scored.
    """
    found = np.full(len(replies.user_of), np.nan)
    for row in np.unique(replies.user_of):
        mine = replies.user_of == row
        found[mine] = rate(replies.rewards[mine], users[int(row)])
    if np.isnan(found).any():
        at = int(np.argmax(np.isnan(found)))
        user = users[int(replies.user_of[at])].id
        raise NotScoredError(f"utilities: reply {at} has no score that counts for user {user!r}")
    return found


def controllability(replies: UserReplies, users: Sequence[User]) -> tuple[float | None, ...]:
    """Per objective, whether users who want more of it get more of it.

    Args:
        replies: at least one a user that is to count.
        users: rows that ``user_of`` means.

    Returns:
        ``(M,)`` Spearman correlation across users of weight and mean reward; ``None`` with fewer
        than three users, without variation, or where a user's replies are not scored.
    """
    means, rows = _user_means(replies)
    weights = np.array([users[int(row)].tradeoff.weights for row in rows])
    return tuple(
        None if np.isnan(mean).any() else spearman(weight, mean)
        for weight, mean in zip(weights.T, means.T, strict=True)
    )


def worst_weighted(
    replies: UserReplies, users: Sequence[User], seed: int = 0
) -> tuple[Interval, tuple[float, ...]]:
    r"""How far the objective that a user misses most falls short, over users.

    Args:
        replies: at least one a user that is to count.
        users: rows that ``user_of`` means.
        seed: of the resamples.

    Returns:
        The mean over users of :math:`1 - \max_i \frac{w_i}{\max_j w_j}(1 - \bar r_i)` with the
        mean unit rewards :math:`\bar r` of a user's replies, 1 = nothing is missed; and for each
        objective the share of users for whom it is the worst, a tie going to the first.

    Raises:
        NotScoredError: if a mean reward is unknown.
    """
    means, rows = _user_means(replies)
    if np.isnan(means).any():
        raise NotScoredError("worst weighted objective: found users without a score, expected all")
    weights = np.array([users[int(row)].tradeoff.weights for row in rows])
    shortfall = weights / weights.max(axis=1, keepdims=True) * (1 - means)
    # An objective that weighs nothing is never the worst, even where nothing is missed.
    worst = np.where(weights > 0, shortfall, -np.inf).argmax(axis=1)
    shares = np.bincount(worst, minlength=weights.shape[1]) / len(rows)
    return user_interval(1 - shortfall.max(axis=1), rows, seed), tuple(shares.tolist())


def measure_personalization(
    name: str,
    objectives: Sequence[str],
    users: Sequence[User],
    own: PairScores,
    *,
    other: PairScores | None = None,
    by_shots: Mapping[int, PairScores] | None = None,
    cells: tuple[CellResult, ...] = (),
    replies: UserReplies | None = None,
    opponents: Mapping[Opponent, UserReplies] | None = None,
    notes: Sequence[str] = (),
    facts: Mapping[str, str] | None = None,
    seed: int = 0,
) -> PersonalizationResult:
    """Everything about one policy, from what it preferred and what it wrote.

    Args:
        name: the method.
        objectives: M names.
        users: rows that every ``user_of`` means.
        own: pairs of new users, asked with their own shots.
        other: the same pairs, row for row, asked with somebody else's shots.
        by_shots: number of shots -> pairs asked with that many.
        cells: from :func:`four_cells`.
        replies: of the policy, to prompts of new users with their own shots.
        opponents: replies to the same prompts, row for row.
        notes: sentences for the reader.
        facts: sizes and seeds.
        seed: of the resamples.

    Raises:
        ShapeError: if rows that must be of the same users are not.
        InputError: with fewer than two users.
        NotScoredError: if a reply that counts is not scored.
    """
    gap = None
    if other is not None:
        if not np.array_equal(own.user_of, other.user_of):
            raise ShapeError("other shots: found rows of other users, expected the same pairs")
        gap = user_difference(own.is_right, other.is_right, own.user_of, seed)
    missed, shares = (None, ()) if replies is None else worst_weighted(replies, users, seed)
    wins = () if replies is None else tuple(
        win_result(opponent, replies, theirs, users, seed)
        for opponent, theirs in (opponents or {}).items()
    )  # fmt: skip
    return PersonalizationResult(
        name,
        tuple(objectives),
        len(np.unique(own.user_of)),
        _accuracy(own, seed),
        None if other is None else _accuracy(other, seed),
        gap,
        {n: _accuracy(scores, seed) for n, scores in sorted((by_shots or {}).items())},
        cells,
        wins,
        () if replies is None else controllability(replies, users),
        missed,
        shares,
        tuple(notes),
        dict(facts or {}),
    )


def _accuracy(scores: PairScores, seed: int) -> Interval:
    return user_interval(scores.is_right, scores.user_of, seed)


def _wins(differences: Floats) -> Floats:
    wins = np.where(np.abs(differences) < TIE, 0.5, (differences > 0).astype(np.float64))
    return np.where(np.isnan(differences), np.nan, wins)


def _user_means(replies: UserReplies) -> tuple[Floats, Ints]:
    """``(U, M)`` mean scored reward of each user with replies, and the rows of those users."""
    rows, group = np.unique(replies.user_of, return_inverse=True)
    known = ~np.isnan(replies.rewards)
    sums, counts = np.zeros((len(rows), known.shape[1])), np.zeros((len(rows), known.shape[1]))
    np.add.at(sums, group, np.nan_to_num(replies.rewards))
    np.add.at(counts, group, known)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan), rows
