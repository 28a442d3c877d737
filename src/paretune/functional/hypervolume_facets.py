"""What each point adds to a hypervolume, and the facets through which it could add more.

Points are maximized. The exclusive volume of a point of the front grows, per unit of one
coordinate, by the area of the facet that the point owns on that side: an exact derivative, never
negative, for any number of objectives.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from paretune.functional.indicators import (
    Floats,
    exclusive_volumes,
    non_dominated,
    require_points,
    volumes,
)

_MANY = 6
"""Objectives from which boxes beat moocore's contributions: 27 against 131 ms at 64 points."""


def contributions_and_facets(
    points: Floats, reference: Floats, max_front: int | None = None
) -> tuple[Floats, Floats]:
    r"""Exclusive volume of each point, and its derivative with respect to the point.

    .. math:: \frac{\partial c_b}{\partial p_{bd}} = V_{-d}(Q \cup \{p_b\}) - V_{-d}(Q),\qquad
        Q = \{q : q_d \ge p_{bd}\}

    with :math:`V_{-d}` the volume in all coordinates but :math:`d` and :math:`Q` taken from the
    other points of the front. Where points tie it is the derivative for a decreasing coordinate.

    Args:
        points: ``(K, M)``, larger is better.
        reference: ``(M,)``; a point that is not above it everywhere adds nothing.
        max_front: keep only so many points of a larger front, those of largest sum; ``None`` = all.

    Returns:
        ``(K,)`` exclusive volumes and ``(K, M)`` facets, >= 0; zeros for copies, for dominated
        points and for points that were not kept.

    Raises:
        ShapeError: if there is no point.
        NotScoredError: if a coordinate is NaN; InputError: if it is infinite.

    Source:
        Emmerich and Deutz 2014, "Time Complexity and Zeros of the Hypervolume Indicator Gradient
        Field", Sec. 3. From six objectives on, a volume is that of the point's box less what
        others cover of it, as While et al. 2012, "A Fast Way of Calculating Exact Hypervolumes".

    Example:
        Two steps of a staircase; the first owns .5 x 1, and could grow up by .5 and right by .5.

        >>> points = np.array([[0.5, 2.0], [1.0, 1.0]])
        >>> volume, facets = contributions_and_facets(points, np.zeros(2))
        >>> volume, facets.tolist()
        (array([0.5, 0.5]), [[1.0, 0.5], [1.0, 0.5]])
    """
    array = require_points(points)
    front = _front(array, reference, max_front)
    contributions, facets = np.zeros(len(array)), np.zeros(array.shape)
    if not len(front):
        return contributions, facets
    kept = array[front]
    if array.shape[1] == 1:
        facets[front] = float(len(front) == 1)
        contributions[front] = facets[front, 0] * (kept[:, 0] - reference)
        return contributions, facets
    contributions[front] = _exclusive(kept, reference)
    for side in range(array.shape[1]):
        facets[front, side] = _facets_on(kept, reference, side)
    facets[contributions == 0] = 0.0  # Rounding, on copies.
    return contributions, facets


def hypervolume_contributions(
    points: Tensor, reference: Tensor, max_front: int | None = None
) -> Tensor:
    """Exclusive volume of each point, differentiable with respect to its own coordinates.

    What a point takes from or leaves to its neighbors is not differentiated: the sum of all
    contributions falls as a point grows into the others.

    Args:
        points: ``(K, M)``, larger is better.
        reference: ``(M,)``, no gradient.
        max_front: as :func:`contributions_and_facets`.

    Returns:
        ``(K,)``, computed in float64, in the dtype and on the device of the points.

    Source:
        :func:`contributions_and_facets`.

    Example:
        >>> points = torch.tensor([[0.5, 2.0], [1.0, 1.0]], requires_grad=True)
        >>> hypervolume_contributions(points, torch.zeros(2)).sum().backward()
        >>> points.grad
        tensor([[1.0000, 0.5000],
                [1.0000, 0.5000]])
    """
    found: Tensor = _Contributions.apply(points, reference, max_front)  # type: ignore[no-untyped-call]
    return found


class _Contributions(torch.autograd.Function):
    """Exclusive volumes forward, facets backward."""

    @staticmethod
    def forward(ctx: Any, points: Tensor, reference: Tensor, max_front: int | None) -> Tensor:
        values, corner = (x.detach().double().cpu().numpy() for x in (points, reference))
        contributions, facets = contributions_and_facets(values, corner, max_front)
        ctx.save_for_backward(torch.from_numpy(facets).to(points))
        return torch.from_numpy(contributions).to(points)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (facets,) = ctx.saved_tensors
        return gradients[0][:, None] * facets, None, None


def _front(points: Floats, reference: Floats, max_front: int | None) -> np.ndarray[Any, Any]:
    """Rows of the front that lie above the reference, at most ``max_front``, in order."""
    inside = np.flatnonzero((points > reference).all(1))
    if not len(inside):
        return inside
    front = inside[non_dominated(points[inside])]
    if max_front is None or len(front) <= max_front:
        return front
    largest = np.argsort(-points[front].sum(1), kind="stable")[:max_front]
    return np.sort(front[largest])


def _exclusive(points: Floats, reference: Floats) -> Floats:
    """``(K,)`` exclusive volumes of a front; with many objectives, box by box, which is faster."""
    if points.shape[1] < _MANY:
        return exclusive_volumes(points, reference)
    shared = np.minimum(points[:, None], points)  # (K, K, M): what others cover of each box.
    itself = np.arange(len(points))
    is_copy = (shared == points[:, None]).all(2).sum(1) > 1
    shared[itself, itself] = reference
    boxes = np.prod(points - reference, axis=1)
    return np.where(is_copy, 0.0, np.maximum(boxes - volumes(shared, reference), 0.0))


def _facets_on(points: Floats, reference: Floats, side: int) -> Floats:
    """``(K,)`` facets of a front on one side: what each point adds in the other coordinates."""
    order = np.argsort(-points[:, side], kind="stable")
    height = points[order, side]
    others, corner = np.delete(points[order], side, axis=1), np.delete(reference, side)
    # Points from first to last of a group are equally high: each meets all of its group.
    first, last = (
        np.searchsorted(-height, -height, "left"),
        np.searchsorted(-height, -height, "right"),
    )
    grown = np.concatenate([[0.0], volumes((others[: k + 1] for k in range(len(points))), corner)])
    without = grown[first]
    for k in np.flatnonzero(last - first > 1):
        without[k] = volumes([np.delete(others[: last[k]], k, axis=0)], corner)[0]
    facets = np.empty(len(points))
    # Rounding may leave a facet of no area slightly negative.
    facets[order] = np.maximum(grown[last] - without, 0.0)
    return facets
