"""The preference ray of ParetoHqD: which way rewards may fall short for a trade-off.

Unit coordinates put the worst reward of each objective at 0 and the ideal at 1. The ray starts at
the ideal; a trade-off says in which direction it goes down; a response is as good for the
trade-off as it is close to the ray.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from paretune.core.tradeoff import TradeOff
from paretune.errors import ConfigError, ShapeError

Floats = npt.NDArray[np.float64]
Direction = Literal["compromise", "chebyshev"]


def ray_direction(
    weights: Sequence[float], direction: Direction = "compromise", smoothing: float = 0.0
) -> Floats:
    r"""Share of the shortfall that each objective carries, in unit coordinates.

    ``compromise``: :math:`d = 1 - w`, the line from the ideal to the point whose unit rewards are
    the weights. ``chebyshev``: :math:`d_i \propto 1/w_i`, the line on which all weighted
    shortfalls are equal; objectives of weight 0 carry all of it. For two objectives both are the
    same line. For more, ``compromise`` lets no objective carry more than 1/(M - 1) of the
    shortfall (see :func:`is_reachable`), and ``chebyshev`` reaches every direction.

    Args:
        weights: ``(M,)`` trade-off on the simplex.
        direction: which line.
        smoothing: in [0, 1], moves the weights towards the center first, so that with
            ``chebyshev`` trade-offs on the edge of the simplex keep directions of their own.

    Returns:
        ``(M,)`` >= 0 with sum 1; all 0 for a single objective.

    Raises:
        ConfigError: if the weights are not on the simplex or an option is unknown.

    Source:
        ParetoHqD, arXiv:2504.16628, for ``compromise``; the rest is ours.

    Example:
        >>> ray_direction((0.75, 0.25)), ray_direction((0.75, 0.25), "chebyshev")
        (array([0.25, 0.75]), array([0.25, 0.75]))
    """
    if not 0 <= smoothing <= 1:
        raise ConfigError(f"ray: found smoothing {smoothing}, expected 0 to 1")
    w = (1 - smoothing) * TradeOff(tuple(weights)).array + smoothing / len(weights)
    if direction == "compromise":
        down = 1 - w
    elif direction == "chebyshev":
        is_free = w == 0
        down = is_free.astype(np.float64) if is_free.any() else w.min() / w
    else:
        raise ConfigError(f"ray: found direction {direction!r}, expected compromise or chebyshev")
    total = down.sum()
    return np.asarray(down / total if len(w) > 1 else np.zeros(1))


def is_reachable(directions: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Which shortfall directions some trade-off asks for under ``compromise``.

    The weights that ask for direction ``d`` are ``1 - (M - 1) d``, so every share must be at most
    1/(M - 1). All directions are reachable for two objectives, a quarter for three, 1/27 for four.

    Args:
        directions: ``(K, M)`` points of the simplex, M >= 2.

    Returns:
        ``(K,)``.

    Example:
        >>> is_reachable([[0.4, 0.3, 0.3], [0.6, 0.2, 0.2]])
        array([ True, False])
    """
    d = np.asarray(directions, dtype=np.float64)
    if d.ndim != 2 or d.shape[1] < 2:
        raise ShapeError(f"is_reachable: found shape {d.shape}, expected (K, M) with M >= 2")
    return np.asarray((d <= 1 / (d.shape[1] - 1)).all(axis=1))


def reward_range(rewards: Floats, quantile: float = 0.0) -> tuple[Floats, Floats]:
    """Nadir and ideal of a set of rows, by quantiles if extremes are not to be trusted.

    Args:
        rewards: ``(N, M)``.
        quantile: in [0, 0.5); 0 takes the extremes. One outlying row moves an extreme, and with
            it every ray: 1e-4 is a good choice from 10,000 rows on.

    Returns:
        ``low`` and ``high``, ``(M,)`` each.

    Raises:
        ConfigError: if the quantile is out of range.
    """
    if not 0 <= quantile < 0.5:
        raise ConfigError(f"ray: found range_quantile {quantile}, expected 0 <= q < 0.5")
    if quantile == 0:
        return np.asarray(rewards.min(axis=0)), np.asarray(rewards.max(axis=0))
    low, high = np.quantile(rewards, [quantile, 1 - quantile], axis=0)
    return low, high


def ray_distance(shortfall: Floats, direction: Floats) -> tuple[Floats, Floats]:
    r"""Distance of each row to the ray, and how far down the ray its nearest point lies.

    .. math:: u = d/\lVert d\rVert,\quad t = \max(0, s\cdot u),\quad \lVert s - t u\rVert

    Args:
        shortfall: ``(N, M)`` ideal minus reward; negative beyond the ideal.
        direction: ``(M,)``; the ray is the ideal alone if it is all 0.

    Returns:
        ``distance`` and ``t``, ``(N,)`` each, in the unit of the shortfall. A ray, not a segment:
        ``t`` has no upper end; rows behind the ideal are measured to the ideal.

    Example:
        >>> ray_distance(np.array([[0.0, 1.0], [-1.0, -1.0]]), np.array([0.5, 0.5]))
        (array([0.70710678, 1.41421356]), array([0.70710678, 0.        ]))
    """
    length = np.linalg.norm(direction)
    unit = direction / length if length > 0 else direction
    t = np.maximum(0.0, shortfall @ unit)
    return np.asarray(np.linalg.norm(shortfall - t[:, None] * unit, axis=1)), np.asarray(t)
