"""Intervals over users: a user is drawn with everything that was asked of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from paretune.core.results import Interval
from paretune.errors import InputError, ShapeError
from paretune.functional.statistics import percentile_interval, resample_means, resample_prompts

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

N_RESAMPLES = 2000
# First word of a seed sequence: intervals of one seed share no draw with anything else.
_RESAMPLES = 30


def user_interval(values: npt.ArrayLike, user_of: Ints, seed: int = 0) -> Interval:
    """Mean over rows, with its interval when users are drawn again.

    Args:
        values: ``(V,)``; NaN rows are left out.
        user_of: ``(V,)`` whom each row is of.
        seed: of the 2000 resamples; equal users and seeds meet the same resamples.

    Returns:
        The mean and its percentile interval, 95 %.

    Raises:
        InputError: with fewer than two users: there is nothing to resample.

    Example:
        >>> user_interval([1.0, 1.0, 0.0, 1.0], np.array([0, 0, 1, 1]))
        Interval(value=0.75, low=0.5, high=1.0)
    """
    return _mean(np.asarray(values, dtype=np.float64), user_of, seed)


def user_difference(
    first: npt.ArrayLike, second: npt.ArrayLike, user_of: Ints, seed: int = 0
) -> Interval:
    """Mean of ``first - second`` over the rows that both have, with users drawn again."""
    one, two = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if one.shape != two.shape:
        raise ShapeError(f"difference: found {one.shape} and {two.shape} rows, expected the same")
    return _mean(one - two, user_of, seed)


def wilson_interval(wins: float, n: int, level: float = 0.95) -> Interval:
    """A share with its score interval, for rows that are independent.

    Args:
        wins: successes, in [0, n]; a tie counts half.
        n: trials, >= 1.
        level: coverage in (0, 1).

    Raises:
        InputError: if a number is out of range.

    Source:
        Wilson 1927, "Probable inference, the law of succession, and statistical inference".

    Example:
        >>> found = wilson_interval(70, 100)
        >>> round(found.low, 3), round(found.high, 3)
        (0.604, 0.781)
    """
    if n < 1 or not 0 <= wins <= n or not 0 < level < 1:
        raise InputError(f"Wilson: found {wins} of {n} at level {level}, expected 0 <= wins <= n")
    share, z = wins / n, float(norm.ppf((1 + level) / 2))
    center = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low, high = float(center - half), float(center + half)
    # At 0 and n an end is the share itself, up to rounding.
    return Interval(share, max(0.0, min(low, share)), min(1.0, max(high, share)))


def _mean(values: Floats, user_of: Ints, seed: int) -> Interval:
    """Mean over rows, users resampled; NaN rows are left out."""
    if values.shape != user_of.shape:
        raise ShapeError(f"users: found {user_of.shape} for {values.shape} rows, expected the same")
    known = ~np.isnan(values)
    _, group = np.unique(user_of[known], return_inverse=True)
    n_users = int(group.max()) + 1 if len(group) else 0
    if n_users < 2:
        raise InputError(f"users: found {n_users} to resample, expected at least 2")
    sums = np.bincount(group, values[known])[None, :, None]
    counts = np.bincount(group)[None]
    draws = resample_prompts(n_users, N_RESAMPLES, np.random.default_rng([_RESAMPLES, seed]))
    resampled = resample_means(sums, draws, counts)[:, 0, 0]
    return percentile_interval(float(values[known].mean()), resampled)
