"""Scalarize: a vector of rewards becomes one number for one trade-off."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from paretune.core.tradeoff import TradeOff
from paretune.errors import InputError, NotScoredError, ShapeError

Floats = npt.NDArray[np.float64]


def linear(rewards: npt.ArrayLike, weights: Sequence[float]) -> Floats:
    r"""Weighted sum :math:`\sum_i w_i r_i`.

    Args:
        rewards: ``(..., M)``, any unit, the same for every objective if the weights are to mean
            anything.
        weights: ``(M,)`` trade-off on the simplex.

    Returns:
        ``(...)`` in the unit of the rewards.

    Raises:
        ShapeError: if the number of weights is not M.
        NotScoredError: if a reward is NaN.
        ConfigError: if the weights are not on the simplex.

    Example:
        >>> linear([[1.0, 0.0], [0.5, 0.5]], (0.75, 0.25))
        array([0.75, 0.5 ])
    """
    values, w = _checked(rewards, weights)
    return np.asarray(values @ w)


def chebyshev(rewards: npt.ArrayLike, weights: Sequence[float]) -> Floats:
    r"""Weighted Chebyshev utility, to be maximized: the worst weighted shortfall decides.

    .. math:: u = 1 - \max_i \frac{w_i}{\max_j w_j}\,(1 - r_i)

    With unit rewards ``u`` is in [0, 1]; even weights give ``min_i r_i``; a corner gives the
    reward of its objective; a weight of 0 ignores its objective. Unlike a weighted sum, every
    point of a front is the best one for some trade-off, in a dent of the front as well.

    Args:
        rewards: ``(..., M)`` unit rewards, 1 the ideal and 0 the worst. Outside [0, 1] the formula
            goes on, and so ``u`` leaves [0, 1].
        weights: ``(M,)`` trade-off on the simplex.

    Returns:
        ``(...)`` utilities.

    Raises:
        ShapeError: if the number of weights is not M.
        NotScoredError: if a reward is NaN.
        ConfigError: if the weights are not on the simplex.

    Source:
        Bowman 1976; Steuer and Choo 1983. Deviation: weights are divided by the largest, so that
        utilities of different trade-offs share the unit of the rewards.

    Example:
        >>> chebyshev([0.25, 0.75], (0.5, 0.5)), chebyshev([0.25, 0.75], (0.2, 0.8))
        (array(0.25), array(0.75))
    """
    values, w = _checked(rewards, weights)
    return np.asarray(1 - (w / w.max() * (1 - values)).max(axis=-1))


def smooth_chebyshev(
    rewards: npt.ArrayLike, weights: Sequence[float], temperature: float = 0.1
) -> Floats:
    r"""Chebyshev utility with a soft maximum, differentiable and sensitive to every objective.

    .. math:: u = 1 - \tau \log\sum_i \exp\!\big(\tfrac{w_i}{\max_j w_j}(1 - r_i)/\tau\big)

    Never above :func:`chebyshev` and at most :math:`\tau\log M` below it; 1 is not reached.

    Args:
        rewards: ``(..., M)`` unit rewards.
        weights: ``(M,)`` trade-off on the simplex.
        temperature: :math:`\tau` > 0, in the unit of the rewards.

    Returns:
        ``(...)`` utilities.

    Raises:
        InputError: if the temperature is not positive; otherwise as :func:`chebyshev`.

    Source:
        Lin et al. 2024, "Smooth Tchebycheff Scalarization for Multi-Objective Optimization",
        turned to maximization, weights divided by the largest.

    Example:
        >>> smooth_chebyshev([0.5, 0.5], (0.5, 0.5), temperature=0.1).round(4)
        np.float64(0.4307)
    """
    if not temperature > 0:
        raise InputError(f"smooth_chebyshev: found temperature {temperature}, expected > 0")
    values, w = _checked(rewards, weights)
    scaled = w / w.max() * (1 - values) / temperature
    return np.asarray(1 - temperature * np.logaddexp.reduce(scaled, axis=-1))


def _checked(rewards: npt.ArrayLike, weights: Sequence[float]) -> tuple[Floats, Floats]:
    values = np.asarray(rewards, dtype=np.float64)
    w = TradeOff(tuple(weights)).array
    if values.shape[-1:] != w.shape:
        raise ShapeError(f"scalarize: found {len(w)} weights for rewards of shape {values.shape}")
    if np.isnan(values).any():
        where = tuple(int(i) for i in np.argwhere(np.isnan(values))[0])
        raise NotScoredError(f"scalarize: the reward at {where} is not scored, expected a number")
    return values, w
