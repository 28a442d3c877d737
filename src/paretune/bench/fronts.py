"""The known front of a table: what policies attain on average, and what single replies offer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from paretune.core.results import KnownFront
from paretune.core.tradeoff import TradeOff
from paretune.functional.feasibility import expected_front
from paretune.functional.indicators import attainable_hypervolume, ceilings, non_dominated
from paretune.functional.scalarize import chebyshev
from paretune.functional.simplex import lattice

Floats = npt.NDArray[np.float64]

_MANY_POLICIES = 20_000
"""Policies of one reply a context whose mean values are enumerated."""
_PARTS = 20
"""Trade-offs of three objectives or more are multiples of 1 over this when a front is searched."""


def known_front(values: Floats, tradeoffs: Sequence[TradeOff] = ()) -> KnownFront:
    """Everything attainable on a table of evenly likely contexts.

    Args:
        values: ``(S, A, M)``, larger is better.
        tradeoffs: over which the best Chebyshev utility of a reply is averaged; none leaves it
            out.

    Returns:
        ``replies`` are mean values of the policies that give one reply to each context where they
        can be enumerated; otherwise the vertices of the front stand for them. ``hypervolume`` and
        ``ceilings`` are measured in the box from the worst to the best of the front, and are 0
        and empty where that has no volume. Utilities are in the units of :func:`unit_values`.

    Example:
        >>> front = known_front(np.array([[[1.0, 0.0], [0.4, 0.4], [0.0, 1.0]]]))
        >>> front.hull, len(front.replies), round(front.hypervolume, 9)
        (((0.0, 1.0), (1.0, 0.0)), 3, 0.5)
    """
    n_objectives = values.shape[2]
    weights = None
    if n_objectives != 2:
        weights = np.array([t.weights for t in lattice(n_objectives, _PARTS)])
    hull = expected_front(values, weights=weights)
    low, high = hull.min(axis=0), hull.max(axis=0)
    has_volume = bool((low < high).all())
    limits: dict[int, float] = {}
    if has_volume and n_objectives == 2:
        found = ceilings(hull, max(21, len(tradeoffs)), low, high)
        limits = {k: float(v) for k, v in enumerate(found, start=1)}
    unit = unit_values(values, values)
    best = [chebyshev(unit, t.weights).max(axis=1).mean() for t in tradeoffs]
    replies = single_replies(values)
    return KnownFront(
        replies=tuple(map(tuple, (hull if replies is None else replies).tolist())),
        hull=tuple(map(tuple, hull.tolist())),
        hypervolume=attainable_hypervolume(hull, low, high) if has_volume else 0.0,
        ceilings=limits,
        utility_min=float(unit.min(axis=-1).max(axis=1).mean()),
        utility_chebyshev=float(np.mean(best)) if best else None,
        best_chebyshev=tuple((t.weights, float(b)) for t, b in zip(tradeoffs, best, strict=True)),
    )


def unit_values(values: Floats, cells: Floats) -> Floats:
    """Values on the scale of single replies: 0 the worst reply of all, 1 the best.

    Args:
        values: ``(..., M)``.
        cells: ``(S, A, M)`` values of single replies.

    Example:
        >>> unit_values(np.array([1.0, 3.0]), np.array([[[0.0, 3.0], [2.0, 3.0]]]))
        array([0.5, 0. ])
    """
    flat = cells.reshape(-1, cells.shape[-1])
    low, high = flat.min(axis=0), flat.max(axis=0)
    return np.asarray((values - low) / np.where(high > low, high - low, 1.0))


def single_replies(values: Floats) -> Floats | None:
    """Non-dominated mean values of the policies that give one reply to each context.

    Args:
        values: ``(S, A, M)``.

    Returns:
        ``(P, M)`` distinct rows, ascending; ``None`` where there are too many to enumerate.

    Example:
        >>> single_replies(np.array([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 1.0], [0.0, 0.0]]]))
        array([[0.5, 1. ],
               [1. , 0.5]])
    """
    total = np.zeros((1, values.shape[2]))
    for context in values:
        best = np.unique(context[non_dominated(context)], axis=0)
        if len(total) * len(best) > _MANY_POLICIES:
            return None
        total = (total[:, None] + best / len(values)).reshape(-1, values.shape[2])
        total = np.unique(total[non_dominated(total)], axis=0)
    return total
