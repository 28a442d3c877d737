"""Does the weight steer, and what is the known front made of."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from paretune.functional.statistics import spearman


def controllability(
    weights: npt.NDArray[np.float64], means: npt.NDArray[np.float64]
) -> tuple[float | None, ...]:
    """Spearman correlation of weight and mean reward, per objective.

    1 means that asking for more of an objective always gave more of it.

    Args:
        weights: ``(K, M)`` trade-offs.
        means: ``(K, M)`` mean rewards, any unit.

    Returns:
        ``(M,)`` in [-1, 1]; ``None`` with fewer than three trade-offs, or where the weight or the
        reward does not vary.

    Example:
        >>> weights = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
        >>> controllability(weights, np.array([[0.9, 0.3], [0.5, 0.3], [0.6, 0.3]]))
        (0.5, None)
    """
    # Equal weights that differ by rounding would be ranked; twelve digits hide no real difference.
    return tuple(
        _rounded(spearman(weight.round(9), mean.round(12)))
        for weight, mean in zip(weights.T, means.T, strict=True)
    )


def _rounded(rho: float | None) -> float | None:
    return None if rho is None else round(rho, 12)


def front_targets(hull: npt.NDArray[np.float64], n: int = 101) -> npt.NDArray[np.float64]:
    """Points along a known front, for the distance to it.

    Args:
        hull: ``(L, M)`` vertices of the front of expected rewards, unit rewards.
        n: points for two objectives, >= 2.

    Returns:
        Two objectives: ``(n, 2)`` points at equal steps of arc length along the polyline, so that
        a long straight edge counts by its length. More objectives: the vertices themselves.

    Example:
        >>> front_targets(np.array([[1.0, 0.0], [0.0, 1.0]]), n=3)
        array([[0. , 1. ],
               [0.5, 0.5],
               [1. , 0. ]])
    """
    if hull.shape[1] != 2 or len(hull) < 2:
        return hull
    line = hull[np.lexsort((-hull[:, 1], hull[:, 0]))]
    steps = np.linalg.norm(np.diff(line, axis=0), axis=1)
    reached = np.concatenate([[0.0], np.cumsum(steps)])
    at = np.linspace(0, reached[-1], n)
    return np.stack([np.interp(at, reached, line[:, i]) for i in range(2)], axis=1)
