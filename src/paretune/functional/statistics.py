"""Statistics: intervals over prompts and over seeds, and rank correlation.

Prompts are what a run draws from a population, so prompts are resampled; replies to one prompt
stay together. Draw the resamples once and use them for every policy and method: differences
between methods are then paired.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import sem, spearmanr, t

from paretune.core.results import Interval
from paretune.errors import InputError, NotScoredError, ShapeError

Floats = npt.NDArray[np.float64]


def resample_prompts(
    n_prompts: int, n_resamples: int, generator: np.random.Generator
) -> npt.NDArray[np.int64]:
    """How often each prompt is drawn in each resample with replacement.

    Args:
        n_prompts: S, >= 1.
        n_resamples: R, >= 1.
        generator: where the randomness comes from.

    Returns:
        ``(R, S)`` counts, each row with sum S.

    Raises:
        InputError: if a number is below 1.
    """
    if n_prompts < 1 or n_resamples < 1:
        raise InputError(
            f"bootstrap: found {n_prompts} prompts and {n_resamples} resamples, expected >= 1"
        )
    return generator.multinomial(n_prompts, np.full(n_prompts, 1 / n_prompts), size=n_resamples)


def resample_means(
    sums: npt.ArrayLike, draws: npt.ArrayLike, replies: npt.ArrayLike | None = None
) -> Floats:
    """Mean rewards of each policy in each resample.

    Args:
        sums: ``(K, S, M)`` for K policies: the rewards of the replies to a prompt, summed.
        draws: ``(R, S)`` from :func:`resample_prompts`, or ones for the data themselves.
        replies: ``(K, S)`` how many replies are behind each sum (0 = the policy was not asked);
            ``None`` means one each.

    Returns:
        ``(R, K, M)`` sums over drawn prompts divided by replies to them.

    Raises:
        ShapeError: if the shapes do not agree.
        NotScoredError: if a sum is NaN, or a policy has no reply to the drawn prompts.

    Example:
        >>> resample_means([[[1.0], [3.0]]], [[1, 1], [2, 0]]).ravel()
        array([2., 1.])
    """
    totals = np.asarray(sums, dtype=np.float64)
    counts = np.atleast_2d(np.asarray(draws, dtype=np.float64))
    if totals.ndim != 3 or counts.ndim != 2 or counts.shape[1] != totals.shape[1]:
        raise ShapeError(
            f"bootstrap: found sums {totals.shape} and draws {counts.shape}, "
            "expected (K, S, M) and (R, S)"
        )
    asked = np.ones(totals.shape[:2]) if replies is None else np.asarray(replies, dtype=np.float64)
    if asked.shape != totals.shape[:2]:
        raise ShapeError(f"bootstrap: found replies {asked.shape}, expected {totals.shape[:2]}")
    if np.isnan(totals).any():
        policy, prompt, objective = np.argwhere(np.isnan(totals))[0]
        raise NotScoredError(
            f"bootstrap: policy {policy}, prompt {prompt}, objective {objective} is not scored"
        )
    behind = np.asarray(counts @ asked.T)
    if (behind == 0).any():
        policy = int(np.argwhere(behind == 0)[0, 1])
        raise NotScoredError(
            f"bootstrap: policy {policy} has no reply to the prompts of a resample"
        )
    return np.asarray(np.einsum("rs,ksm->rkm", counts, totals, optimize=True) / behind[:, :, None])


def percentile_interval(value: float, resampled: npt.ArrayLike, level: float = 0.95) -> Interval:
    """A number with the percentiles of its resamples.

    Args:
        value: the number on the data themselves.
        resampled: ``(R,)`` the same number in each resample.
        level: coverage in (0, 1).

    Returns:
        The interval. An indicator that rewards noise (a maximum, the hypervolume of a front) is
        larger in resamples than in the data, and its interval may lie above its value.

    Raises:
        InputError: if there is no resample or the level is out of range.
        NotScoredError: if a resample is NaN.

    Source:
        Efron and Tibshirani 1993, percentile bootstrap.

    Example:
        >>> percentile_interval(2.0, [1.0, 2.0, 3.0], level=0.5)
        Interval(value=2.0, low=1.5, high=2.5)
    """
    values = np.asarray(resampled, dtype=np.float64)
    if not values.size or not 0 < level < 1:
        raise InputError(
            f"bootstrap: found {values.size} resamples and level {level}, expected some and 0 to 1"
        )
    if np.isnan(values).any() or np.isnan(value):
        raise NotScoredError("bootstrap: found NaN among the resampled values")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(value), float(low), float(high))


def bootstrap(
    statistic: Callable[[Floats], float],
    sums: npt.ArrayLike,
    draws: npt.ArrayLike,
    replies: npt.ArrayLike | None = None,
    level: float = 0.95,
) -> Interval:
    """Interval of any number computed from the mean rewards of policies.

    Args:
        statistic: function of ``(K, M)`` means, such as the hypervolume of a front.
        sums: ``(K, S, M)`` as in :func:`resample_means`.
        draws: ``(R, S)`` from :func:`resample_prompts`.
        replies: ``(K, S)`` as in :func:`resample_means`.
        level: coverage in (0, 1).

    Returns:
        The statistic of the data and its percentile interval.

    Raises:
        ShapeError, NotScoredError, InputError: as the functions it is made of.

    Example:
        >>> bootstrap(lambda means: means[0, 0], [[[1.0], [3.0]]], [[1, 1], [2, 0], [0, 2]])
        Interval(value=2.0, low=1.05, high=2.95)
    """
    n_prompts = np.shape(sums)[1] if np.ndim(sums) == 3 else 0
    whole = resample_means(sums, np.ones((1, n_prompts)), replies)[0]
    resampled = [statistic(means) for means in resample_means(sums, draws, replies)]
    return percentile_interval(statistic(whole), resampled, level)


def t_interval(values: npt.ArrayLike, level: float = 0.95) -> Interval:
    r"""Mean of a few independent numbers with Student's interval.

    :math:`\bar x \pm t_{n-1}\, s / \sqrt n`: for the same measurement on several seeds.

    Args:
        values: ``(n,)``, n >= 2.
        level: coverage in (0, 1).

    Raises:
        InputError: with fewer than two values, or a level out of range.
        NotScoredError: if a value is NaN.

    Source:
        Student 1908.

    Example:
        >>> t_interval([1.0, 3.0])  # t = 12.706 with one degree of freedom, s / sqrt(2) = 1
        Interval(value=2.0, low=-10.70..., high=14.70...)
    """
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 1 or len(found) < 2 or not 0 < level < 1:
        raise InputError(
            f"t interval: found {found.size} values and level {level}, expected two or more, 0 to 1"
        )
    if np.isnan(found).any():
        raise NotScoredError("t interval: found NaN, expected numbers")
    mean = float(found.mean())
    half = float(t.ppf((1 + level) / 2, len(found) - 1) * sem(found))
    return Interval(mean, mean - half, mean + half)


def crossed_means(
    resampled: npt.ArrayLike, n_resamples: int, generator: np.random.Generator
) -> Floats:
    r"""Means over seeds in resamples of seeds and prompts together.

    Each resample draws as many seeds as there are, with replacement, and one of the resamples of
    the prompts, the same for all seeds, since all seeds are measured on the same prompts.

    Args:
        resampled: ``(S, R, ...)`` a measurement of S seeds on R resamples of the prompts; further
            axes (such as methods) stay together, so that their differences are paired.
        n_resamples: B, >= 1.
        generator: where the randomness comes from.

    Returns:
        ``(B, ...)``.

    Raises:
        ShapeError: if there is no seed or no resample.
        InputError: if ``n_resamples`` is below 1.

    Source:
        Owen 2007, "The pigeonhole bootstrap": rows and columns of a crossed design are resampled
        independently. With few seeds it is a little narrow, as every bootstrap is.

    Example:
        >>> means = crossed_means([[[0.0, 1.0]], [[2.0, 3.0]]], 3, np.random.default_rng(0))
        >>> means.shape, (means[:, 1] - means[:, 0]).tolist()
        ((3, 2), [1.0, 1.0, 1.0])
    """
    found = np.asarray(resampled, dtype=np.float64)
    if found.ndim < 2 or not found.shape[0] or not found.shape[1]:
        raise ShapeError(f"resampled seeds: found shape {found.shape}, expected (S, R, ...)")
    if n_resamples < 1:
        raise InputError(f"resampled seeds: found {n_resamples} resamples, expected at least 1")
    n_seeds, n_prompt_resamples = found.shape[:2]
    seeds = generator.integers(n_seeds, size=(n_resamples, n_seeds))
    prompts = generator.integers(n_prompt_resamples, size=n_resamples)
    return np.asarray(found[seeds, prompts[:, None]].mean(axis=1))


def share_above(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """How often the first of two paired numbers is the larger one; a tie counts half.

    Example:
        >>> share_above([1.0, 2.0, 3.0, 4.0], [0.0, 2.0, 5.0, 1.0])
        0.625
    """
    difference = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    return float(np.mean(difference > 0) + np.mean(difference == 0) / 2)


def spearman(x: npt.ArrayLike, y: npt.ArrayLike) -> float | None:
    """Rank correlation, or ``None`` where there is none to speak of.

    Args:
        x: ``(K,)``.
        y: ``(K,)``.

    Returns:
        In [-1, 1]; ``None`` with fewer than three points or if either side does not vary.

    Raises:
        ShapeError: if the lengths differ.
        NotScoredError: if a number is NaN.

    Example:
        >>> spearman([0.0, 0.5, 1.0], [1.0, 2.0, 9.0]), spearman([0, 1, 2], [1, 1, 1])
        (1.0, None)
    """
    first, second = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if first.ndim != 1 or first.shape != second.shape:
        raise ShapeError(f"spearman: found shapes {first.shape} and {second.shape}")
    if np.isnan(first).any() or np.isnan(second).any():
        raise NotScoredError("spearman: found NaN, expected numbers")
    if len(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    result: Any = spearmanr(first, second)
    return float(np.clip(result.statistic, -1, 1))
