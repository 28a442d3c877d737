"""Utility: how a user rates a response, and which of two responses a user prefers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from paretune.core.record import PreferenceData
from paretune.core.shots import Examples
from paretune.core.user import User
from paretune.errors import NotScoredError, ShapeError

Floats = npt.NDArray[np.float64]


def utility_gap(
    labels: npt.ArrayLike, user: User, first: Floats | None = None, second: Floats | None = None
) -> Floats:
    r"""How much better the first response of each comparison is to a user.

    A linear user weighs the labels, :math:`\sum_i w_i s_i` over the labelled objectives with
    their weights renormalized. A Chebyshev user compares rewards by the worst weighted shortfall,
    :math:`-\max_i w_i(1-r_i)` with the weights divided by the largest, over the objectives that
    both responses are scored on.

    Args:
        labels: ``(P, M)`` in [-1, 1], 1 = the first is better, NaN = not labelled.
        user: whose utility.
        first: ``(P, M)`` unit rewards of the first responses, NaN = not scored; only Chebyshev
            users need them.
        second: ``(P, M)`` of the second.

    Returns:
        ``(P,)`` in [-1, 1], > 0 where the user prefers the first; NaN where nothing is known that
        weighs anything for the user.

    Raises:
        ShapeError: if the columns are not one an objective of the user.
        NotScoredError: for a Chebyshev user without rewards.

    Source:
        The multi-objective FSPO report, Sec. 5.2. Deviation: Chebyshev weights are divided by
        the largest, so that gaps of all users share the unit of the rewards.

    Example:
        >>> from paretune.core.tradeoff import TradeOff
        >>> user = User("a", TradeOff((0.25, 0.75)))
        >>> utility_gap([[1.0, -1.0], [1.0, np.nan]], user)
        array([-0.5,  1. ])
    """
    given = np.asarray(labels, dtype=np.float64)
    weights = np.broadcast_to(user.tradeoff.array, (len(given), len(user.tradeoff)))
    return _gaps(given, weights, user.utility == "chebyshev", first, second)


def example_gaps(data: PreferenceData, users: Sequence[User], examples: Examples) -> Floats:
    """:func:`utility_gap` of every example: of its comparison, to its user.

    Args:
        data: comparisons with labels, and unit rewards where a user is a Chebyshev one.
        users: rows that ``examples.user_of`` means.
        examples: E of them.

    Returns:
        ``(E,)`` as :func:`utility_gap`.
    """
    weights = np.array([user.tradeoff.weights for user in users]).reshape(len(users), -1)
    is_chebyshev = np.array([user.utility == "chebyshev" for user in users], dtype=np.bool_)
    gaps = np.full(len(examples), np.nan)
    for kind in (False, True):
        rows = np.flatnonzero(is_chebyshev[examples.user_of] == kind)
        if not len(rows):
            continue
        at, mine = examples.comparison_of[rows], weights[examples.user_of[rows]]
        values = data.rewards.values
        gaps[rows] = _gaps(
            data.labels[at], mine, kind, values[data.first[at]], values[data.second[at]]
        )
    return gaps


def rate(rewards: npt.ArrayLike, user: User) -> Floats:
    """How a user rates responses.

    Args:
        rewards: ``(N, M)`` unit rewards, NaN = not scored.
        user: linear users weigh the scored rewards, Chebyshev users look at the worst weighted
            shortfall among them.

    Returns:
        ``(N,)`` utilities, in [0, 1] for unit rewards; NaN where nothing scored weighs anything.

    Raises:
        ShapeError: if the columns are not one an objective of the user.

    Example:
        >>> from paretune.core.tradeoff import TradeOff
        >>> rate([[1.0, 0.5]], User("a", TradeOff((0.25, 0.75)))).round(3)
        array([0.625])
        >>> rate([[1.0, 0.5]], User("a", TradeOff((0.25, 0.75)), "chebyshev"))
        array([0.5])
    """
    values = np.asarray(rewards, dtype=np.float64)
    weights = np.broadcast_to(user.tradeoff.array, (len(values), len(user.tradeoff)))
    _require_columns(values, weights)
    rule = _worst if user.utility == "chebyshev" else _weighted
    return rule(values, weights, ~np.isnan(values))


def _gaps(
    labels: Floats,
    weights: Floats,
    is_chebyshev: bool,
    first: Floats | None,
    second: Floats | None,
) -> Floats:
    """Gaps of rows that share a kind of utility."""
    _require_columns(labels, weights)
    if not is_chebyshev:
        return _weighted(labels, weights, ~np.isnan(labels))
    if first is None or second is None or (len(first) and np.isnan(first).all()):
        raise NotScoredError(
            "utility: found no rewards for a Chebyshev user, expected scores of both responses: "
            "labels do not say how far a response is from the ideal"
        )
    _require_columns(first, weights)
    _require_columns(second, weights)
    is_known = ~np.isnan(first) & ~np.isnan(second)
    return _worst(first, weights, is_known) - _worst(second, weights, is_known)


def _weighted(values: Floats, weights: Floats, is_known: npt.NDArray[np.bool_]) -> Floats:
    """Weighted sum over what is known, weights renormalized a row; NaN where they sum to 0."""
    w = weights * is_known
    total = w.sum(axis=1)
    summed = (w * np.nan_to_num(values)).sum(axis=1)
    return np.where(total > 0, summed / np.where(total > 0, total, 1.0), np.nan)


def _worst(values: Floats, weights: Floats, is_known: npt.NDArray[np.bool_]) -> Floats:
    """One minus the worst weighted shortfall among what is known."""
    w = weights * is_known
    largest = w.max(axis=1, initial=0.0)
    shares = w / np.where(largest > 0, largest, 1.0)[:, None]
    shortfall = np.where(is_known & (weights > 0), shares * (1 - np.nan_to_num(values)), -np.inf)
    worst = shortfall.max(axis=1, initial=-np.inf)
    return np.where(largest > 0, 1 - np.where(largest > 0, worst, 0.0), np.nan)


def _require_columns(values: Floats, weights: Floats) -> None:
    if values.shape != weights.shape:
        raise ShapeError(f"utility: found shape {values.shape}, expected {weights.shape}")
