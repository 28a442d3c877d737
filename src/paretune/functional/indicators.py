"""Indicators: numbers that rate a front. The only module that calls moocore.

Points are ``(K, M)``, larger is better on every objective. ``low`` and ``high`` are the corners of
the box that maps to the unit cube; freeze them once for all fronts that are compared.
"""

from __future__ import annotations

from collections.abc import Iterable

import moocore
import numpy as np
import numpy.typing as npt
from scipy.spatial import ConvexHull

from paretune.errors import InputError, NotScoredError, ShapeError

Floats = npt.NDArray[np.float64]


def require_points(points: npt.ArrayLike, name: str = "points") -> Floats:
    """``(K, M)`` float64 points, K and M >= 1, every number finite.

    Args:
        points: ``(K, M)``, anything numpy can read.
        name: how the message calls them.

    Raises:
        ShapeError: if the array is not 2-D or empty.
        NotScoredError: if a cell is NaN.
        InputError: if a cell is infinite.
    """
    array = np.ascontiguousarray(points, dtype=np.float64)
    if array.ndim != 2 or not array.size:
        raise ShapeError(
            f"{name}: found shape {array.shape}, expected (K, M) with at least one point"
        )
    if not np.isfinite(array).all():
        row, column = np.argwhere(~np.isfinite(array))[0]
        problem = NotScoredError if np.isnan(array[row, column]) else InputError
        raise problem(
            f"{name}: found {array[row, column]} in row {row}, objective {column}, "
            "expected a finite number"
        )
    return array


def to_unit(points: npt.ArrayLike, low: npt.ArrayLike, high: npt.ArrayLike) -> Floats:
    """Points in the coordinates of the box: ``low`` maps to 0, ``high`` to 1, nothing is clipped.

    Args:
        points: ``(K, M)``.
        low: ``(M,)`` or one number.
        high: ``(M,)`` or one number, above ``low``.

    Returns:
        ``(K, M)``.

    Raises:
        InputError: if the box is empty or not finite, or as :func:`require_points`.
    """
    array = require_points(points)
    try:
        bottom = np.broadcast_to(np.asarray(low, dtype=np.float64), array.shape[1:])
        top = np.broadcast_to(np.asarray(high, dtype=np.float64), array.shape[1:])
    except ValueError:
        raise ShapeError(
            f"box: found corners {np.shape(low)} and {np.shape(high)}, "
            f"expected {array.shape[1]} numbers each"
        ) from None
    if not (np.isfinite(bottom) & np.isfinite(top) & (bottom < top)).all():
        raise InputError(
            f"box: found low {bottom.tolist()} and high {top.tolist()}, expected finite low < high"
        )
    return np.asarray((array - bottom) / (top - bottom))


def non_dominated(points: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Which points no other point dominates; equal points never dominate each other.

    Args:
        points: ``(K, M)``.

    Returns:
        ``(K,)`` True on the front, for every copy of a repeated point.

    Example:
        >>> non_dominated([[1, 0], [0, 1], [0, 0], [1, 0]])
        array([ True,  True, False,  True])
    """
    array = require_points(points)
    if array.shape[1] == 1:
        return np.asarray(array[:, 0] == array.max())
    mask = moocore.is_nondominated(array, maximise=True, keep_weakly=True)
    return np.asarray(mask, dtype=np.bool_)


def pareto_rank(points: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Pareto layer of every point: 0 is the front, 1 the front of the rest, and so on.

    Args:
        points: ``(K, M)``.

    Returns:
        ``(K,)`` layers from 0; equal points share a layer.

    Example:
        >>> pareto_rank([[1, 0], [0, 1], [0, 0], [1, 0]])
        array([0, 0, 1, 0])
    """
    array = require_points(points)
    if array.shape[1] == 1:
        _, layer = np.unique(-array[:, 0], return_inverse=True)
        return np.asarray(layer, dtype=np.int64)
    return np.asarray(moocore.pareto_rank(array, maximise=True), dtype=np.int64)


def hypervolume(
    points: npt.ArrayLike,
    low: npt.ArrayLike = 0.0,
    high: npt.ArrayLike = 1.0,
    *,
    clip_above: bool = True,
) -> float:
    """Share of the box that the points dominate.

    A point at or below ``low`` on any objective adds nothing: that is the definition of a
    reference point, not a choice. What lies above ``high`` is a choice, see ``clip_above``.

    Args:
        points: ``(K, M)``.
        low: ``(M,)`` reference point.
        high: ``(M,)`` upper corner, the unit of measure.
        clip_above: True counts a coordinate above ``high`` as ``high``, so that 1 is the most;
            False counts all of it, and the result may exceed 1.

    Returns:
        In [0, 1]; 0 when no point is above ``low`` on every objective.

    Raises:
        ShapeError: if there is no point; NotScoredError: if a cell is NaN; InputError: if the box
            is empty.

    Source:
        Zitzler and Thiele 1998; exact algorithms of moocore.

    Example:
        >>> hypervolume([[0.5, 1.0], [1.0, 0.5]])
        0.75
        >>> hypervolume([[2.0, 0.5]]), hypervolume([[2.0, 0.5]], clip_above=False)
        (0.5, 1.0)
    """
    unit = to_unit(points, low, high)
    if clip_above:
        unit = np.minimum(unit, 1.0)
    if unit.shape[1] == 1:
        return float(unit.max(initial=0.0))
    return float(moocore.hypervolume(unit, ref=0.0, maximise=True))


def volumes(sets: Iterable[Floats], reference: Floats) -> Floats:
    """Volume between a reference point and each of many sets, in the unit of the points.

    Args:
        sets: each ``(K, M)`` with K >= 1, float64; inside the library, nothing is checked.
        reference: ``(M,)``; a point that is not above it everywhere adds nothing.

    Returns:
        One volume for each set.
    """
    low = -reference
    return np.array([moocore.hypervolume(-points, ref=low) for points in sets], dtype=np.float64)


def exclusive_volumes(points: Floats, reference: Floats) -> Floats:
    """Volume that each point of a front dominates alone; 0 for copies and for dominated points.

    Args:
        points: ``(K, M)`` with K >= 1, float64; inside the library, nothing is checked.
        reference: ``(M,)``.

    Returns:
        ``(K,)``; dominated points take nothing away from others.
    """
    return np.asarray(moocore.hv_contributions(points, ref=reference, maximise=True))


def igd_plus(
    points: npt.ArrayLike,
    front: npt.ArrayLike,
    low: npt.ArrayLike = 0.0,
    high: npt.ArrayLike = 1.0,
) -> float:
    r"""Mean distance from a known front down to the points, counting shortfalls only.

    :math:`\frac1L\sum_{z}\min_a \lVert\max(z - a, 0)\rVert_2` in unit coordinates: 0 when every
    point of the front is reached or exceeded.

    Args:
        points: ``(K, M)``.
        front: ``(L, M)`` the known front, spread evenly (dense parts weigh more).
        low: ``(M,)`` corner that maps to 0.
        high: ``(M,)`` corner that maps to 1.

    Returns:
        Distance in units of the box, >= 0.

    Source:
        Ishibuchi et al. 2015, IGD+; weakly Pareto-compliant, which IGD is not.

    Example:
        >>> igd_plus([[1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]])
        0.5
    """
    unit, goal = to_unit(points, low, high), to_unit(front, low, high)
    if unit.shape[1] != goal.shape[1]:
        raise ShapeError(f"igd_plus: {unit.shape[1]} objectives, the front has {goal.shape[1]}")
    if unit.shape[1] == 1:
        return float(np.maximum(goal - unit.max(), 0).mean())
    return float(moocore.igd_plus(unit, ref=goal, maximise=True))


def shortfall_angles(
    points: npt.ArrayLike, low: npt.ArrayLike = 0.0, high: npt.ArrayLike = 1.0
) -> Floats:
    """Where on a two-objective front each point lies, seen from the ideal corner ``high``.

    Args:
        points: ``(K, 2)``.
        low: ``(2,)`` corner that maps to 0.
        high: ``(2,)`` the ideal.

    Returns:
        ``(K,)`` in [0, 1]: 0 gives up the first objective only, 1 the second only, 0.5 both
        alike; NaN for a point at the ideal. A coordinate above ``high`` counts as ``high``.
    """
    shortfall = np.maximum(1 - to_unit(points, low, high), 0)
    if shortfall.shape[1] != 2:
        raise ShapeError(f"angles: found {shortfall.shape[1]} objectives, expected 2")
    angles = np.arctan2(shortfall[:, 1], shortfall[:, 0]) / (np.pi / 2)
    return np.where(shortfall.any(axis=1), angles, np.nan)


def largest_angle_gap(
    points: npt.ArrayLike, low: npt.ArrayLike = 0.0, high: npt.ArrayLike = 1.0
) -> float:
    """Largest hole in a two-objective front, as a share of all directions.

    Only non-dominated points count; both ends of the front are part of the measure, so one lonely
    point in the middle has a gap of 0.5.

    Args:
        points: ``(K, 2)``.
        low: ``(2,)`` corner that maps to 0.
        high: ``(2,)`` the ideal.

    Returns:
        In [0, 1]; 0 if a point reaches the ideal.

    Example:
        >>> largest_angle_gap([[1.0, 0.0], [0.0, 1.0]])
        1.0
    """
    array = require_points(points)
    angles = shortfall_angles(array[non_dominated(array)], low, high)
    if np.isnan(angles).any():
        return 0.0
    return float(np.diff(np.sort(np.concatenate([[0.0, 1.0], angles]))).max())


def expected_utility(
    points: npt.ArrayLike,
    weights: npt.ArrayLike,
    low: npt.ArrayLike = 0.0,
    high: npt.ArrayLike = 1.0,
) -> float:
    """What users with linear utilities get when each may pick a point.

    Args:
        points: ``(K, M)``.
        weights: ``(U, M)`` one trade-off a user.
        low: ``(M,)`` corner that maps to 0.
        high: ``(M,)`` corner that maps to 1.

    Returns:
        Mean over users of the best weighted sum of unit rewards.

    Source:
        Zintgraf et al. 2015, expected utility metric.

    Example:
        >>> expected_utility([[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.5, 0.5]])
        0.75
    """
    users = require_points(weights, "weights")
    unit = to_unit(points, low, high)
    if users.shape[1] != unit.shape[1]:
        raise ShapeError(f"expected_utility: {users.shape[1]} weights, {unit.shape[1]} objectives")
    return float((users @ unit.T).max(axis=1).mean())


def attainable_hypervolume(
    replies: npt.ArrayLike, low: npt.ArrayLike = 0.0, high: npt.ArrayLike = 1.0
) -> float:
    """Share of the box that mixtures of the points dominate: the limit for many policies.

    A policy may answer by chance, so its expected reward is any mixture of single replies.

    Args:
        replies: ``(K, M)`` rewards of single replies, or the vertices of their hull.
        low: ``(M,)`` reference point; replies below it are clipped up to it.
        high: ``(M,)`` upper corner; replies above it are clipped down to it.

    Returns:
        In [0, 1].

    Example:
        >>> round(attainable_hypervolume([[1.0, 0.0], [0.0, 1.0]]), 12)
        0.5
    """
    unit = np.clip(to_unit(replies, low, high), 0.0, 1.0)
    if not unit.max(axis=0).all():
        return 0.0
    n_objectives = unit.shape[1]
    if n_objectives == 1:
        return float(unit.max())
    # Giving up objectives is always possible: each point comes with its projections on the faces.
    faces = np.array(list(np.ndindex(*(2,) * n_objectives)), dtype=np.float64)
    below = np.unique((unit[:, None, :] * faces).reshape(-1, n_objectives), axis=0)
    return float(ConvexHull(below).volume)


def ceilings(
    hull: npt.ArrayLike,
    largest: int,
    low: npt.ArrayLike = 0.0,
    high: npt.ArrayLike = 1.0,
    *,
    resolution: int = 1000,
) -> Floats:
    """Largest hypervolume that 1, 2, ... ``largest`` policies reach on a two-objective front.

    A finite number of policies covers a staircase below the front; the best staircase is found by
    dynamic programming over points laid along the polyline, vertices included. The result is a
    lower bound, below the optimum by at most about ``1 / resolution**2``.

    Args:
        hull: ``(L, 2)`` vertices of the front of expected rewards, in any order.
        largest: number of policies, >= 1.
        low: ``(2,)`` reference point.
        high: ``(2,)`` upper corner.
        resolution: points laid along the polyline besides its vertices.

    Returns:
        ``(largest,)`` in [0, 1], not decreasing.

    Raises:
        ShapeError: if there are not two objectives.
        InputError: if ``largest`` is below 1.

    Example:
        >>> ceilings([[0.0, 1.0], [1.0, 0.0]], 3).round(3)
        array([0.25 , 0.333, 0.375])
    """
    if largest < 1:
        raise InputError(f"ceilings: found {largest} policies, expected at least 1")
    x, y = _along(np.clip(to_unit(hull, low, high), 0.0, 1.0), resolution).T
    # best[i]: largest area with the rightmost point at i; a further point to the right adds
    # (x_i - x_before) * y_i, because y falls from left to right.
    best = x * y
    found = [best.max()]
    step = np.where(np.tri(len(x), dtype=bool), (x[:, None] - x) * y[:, None], -np.inf)
    for _ in range(largest - 1):
        best = (step + best).max(axis=1)
        found.append(best.max())
    return np.asarray(found)


def ceiling(
    hull: npt.ArrayLike, k: int, low: npt.ArrayLike = 0.0, high: npt.ArrayLike = 1.0
) -> float:
    """Largest hypervolume that ``k`` policies reach; the last entry of :func:`ceilings`."""
    return float(ceilings(hull, k, low, high)[-1])


def _along(vertices: Floats, resolution: int) -> Floats:
    """Points along the non-dominated polyline through the vertices, from left to right."""
    if vertices.shape[1] != 2:
        raise ShapeError(f"ceilings: found {vertices.shape[1]} objectives, expected 2")
    front = np.unique(vertices[non_dominated(vertices)], axis=0)
    length = np.concatenate([[0.0], np.hypot(*np.diff(front, axis=0).T).cumsum()])
    at = np.union1d(np.linspace(0, length[-1], resolution), length)
    return np.stack([np.interp(at, length, front[:, i]) for i in range(2)], axis=1)
