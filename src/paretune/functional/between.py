"""Trade-offs between trained ones: which of them to mix, and by how much."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from paretune.core.policy import nearest_tradeoff
from paretune.core.tradeoff import TradeOff

_TINY = 1e-9


def between(wanted: TradeOff, trained: Sequence[TradeOff]) -> list[tuple[TradeOff, float]]:
    r"""The trained trade-offs nearest around one, with the shares that give it.

    Solves :math:`\min \sum_k s_k \|t_k - t\|^2` under :math:`\sum_k s_k t_k = t`,
    :math:`\sum_k s_k = 1`, :math:`s \ge 0`. The corners of the answer are a cell of the Delaunay
    triangulation of the trained trade-offs: at most M of them, with no other one inside their
    circle. Shares change continuously with the trade-off, and a trained one is itself.

    Args:
        wanted: any trade-off.
        trained: at least one, with as many objectives.

    Returns:
        Trade-offs in the order of ``trained`` with shares > 0 that sum to 1; the nearest one alone
        where ``wanted`` lies outside of all of them.

    Raises:
        ConfigError: if nothing was trained or the number of objectives differs.

    Source:
        Brown 1979: a Delaunay cell is a facet of the lower hull of the points lifted to a
        paraboloid, found here by a linear program.

    Example:
        >>> trained = [TradeOff((0.0, 1.0)), TradeOff((0.5, 0.5)), TradeOff((1.0, 0.0))]
        >>> [(t.weights, round(s, 3)) for t, s in between(TradeOff((0.6, 0.4)), trained)]
        [((0.5, 0.5), 0.8), ((1.0, 0.0), 0.2)]
    """
    nearest = nearest_tradeoff(wanted, trained)
    if np.abs(nearest.array - wanted.array).max() <= _TINY:
        return [(nearest, 1.0)]
    from scipy.optimize import linprog  # half a second, which most commands need not wait for

    known = list(dict.fromkeys(trained))
    points = np.array([t.weights for t in known])
    squares = ((points - wanted.array) ** 2).sum(1)
    # The sum of the shares follows from those of the weights, which are 1 for every trade-off.
    found = linprog(squares, A_eq=points.T, b_eq=wanted.array, method="highs")
    if not found.success:
        return [(nearest, 1.0)]
    shares = np.where(found.x > _TINY, found.x, 0.0)
    shares /= shares.sum()
    return [(t, float(s)) for t, s in zip(known, shares, strict=True) if s > 0]
