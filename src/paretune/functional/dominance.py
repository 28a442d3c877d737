"""Dominance: the front of a set of rows, and its top layers. Larger is better everywhere."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from paretune.errors import InputError
from paretune.functional.indicators import Floats, non_dominated, pareto_rank, require_points

__all__ = ["non_dominated", "pareto_rank", "top_layers"]

_SAMPLE = 4096
_LAYERS_AT_A_TIME = 5


def top_layers(
    values: npt.ArrayLike, *, n_layers: int | None = None, min_rows: int = 1
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows of the first Pareto layers, and the layer of each.

    Two objectives are ranked in full, which is cheapest. Three are peeled after a sample has shown
    which rows cannot be in the top layers; four and more are peeled plainly. All three are exact.

    Args:
        values: ``(N, M)`` rewards.
        n_layers: how many layers, >= 1 (fewer are returned when there are fewer); ``None`` takes
            the fewest layers that hold ``min_rows`` rows.
        min_rows: rows wanted when ``n_layers`` is ``None``, in [1, N].

    Returns:
        ``rows`` ``(P,)`` ascending row numbers, and ``layer`` ``(P,)`` of each row, from 0.

    Raises:
        InputError: if ``n_layers`` or ``min_rows`` is out of range.

    Source:
        Non-dominated sorting, Deb et al. 2002; the sample only removes rows that a row of layer
        L - 1 of the sample dominates, whose layer in the full set is then at least L.

    Example:
        >>> rows, layer = top_layers([[1, 0], [0, 0], [0, 1], [-1, -1]], min_rows=3)
        >>> rows, layer
        (array([0, 1, 2]), array([0, 1, 0]))
    """
    array = require_points(values, "rewards")
    if n_layers is not None and n_layers < 1:
        raise InputError(f"layers: found n_layers={n_layers}, expected at least 1")
    if not 1 <= min_rows <= len(array):
        raise InputError(f"layers: found min_rows={min_rows}, expected 1 to {len(array)} rows")
    if array.shape[1] <= 2:
        layer = pareto_rank(array)
        last = n_layers or int(np.partition(layer, min_rows - 1)[min_rows - 1]) + 1
        rows = np.flatnonzero(layer < last)
        return rows, layer[rows]
    return _peel(array, n_layers, min_rows)


def _peel(
    values: Floats, n_layers: int | None, min_rows: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Layers taken off one after the other until there are enough."""
    layer = np.full(len(values), -1, dtype=np.int64)
    taken, current = 0, 0

    def is_enough() -> bool:
        return taken >= min_rows if n_layers is None else current >= n_layers

    while taken < len(values) and not is_enough():
        left = np.flatnonzero(layer < 0)
        # With the layers above gone, layers of what is left follow in order; so a block of
        # layers can be pruned and peeled, and the next block starts from the rest.
        block = _LAYERS_AT_A_TIME if n_layers is None else n_layers - current
        if values.shape[1] == 3:
            left = left[_may_be_on_top(values[left], block)]
        for _ in range(block):
            if not len(left) or is_enough():
                break
            on_front = non_dominated(values[left])
            layer[left[on_front]] = current
            taken, current = taken + int(on_front.sum()), current + 1
            left = left[~on_front]
    rows = np.flatnonzero(layer >= 0)
    return rows, layer[rows]


def _may_be_on_top(values: Floats, n_layers: int) -> npt.NDArray[np.bool_]:
    """False only for rows whose layer is certainly ``n_layers`` or deeper."""
    keep = np.ones(len(values), dtype=np.bool_)
    if len(values) <= 2 * _SAMPLE:
        return keep
    # The draw decides how many rows are spared, never which rows are the result.
    drawn = np.random.default_rng(0).choice(len(values), _SAMPLE, replace=False)
    sample = values[drawn]
    rank = pareto_rank(sample)
    if n_layers > rank.max():
        return keep
    alive = np.arange(len(values))
    bound = np.unique(sample[rank == n_layers - 1], axis=0)
    middle_first = np.argsort(-(bound - bound.mean(axis=0)).min(axis=1))
    for point in bound[middle_first]:
        inside = values[alive]
        dominated = (inside <= point).all(axis=1) & (inside < point).any(axis=1)
        alive = alive[~dominated]
    keep[:] = False
    keep[alive] = True
    return keep
