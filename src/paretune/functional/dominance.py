"""Dominance: the front of a set of rows, and its top layers. Larger is better everywhere."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from paretune.errors import InputError
from paretune.functional.indicators import Floats, non_dominated, pareto_rank, require_points

__all__ = ["non_dominated", "pareto_rank", "top_layers"]

Rows = npt.NDArray[np.int64]

_SAMPLE = 4096
_DEEP = -1


def top_layers(
    values: npt.ArrayLike, *, n_layers: int | None = None, min_rows: int = 1
) -> tuple[Rows, Rows]:
    """Rows of the first Pareto layers, and the layer of each.

    Exact, and much cheaper than ranking all rows: a sample first shows which rows are certainly
    deeper, and only the others are ranked (two objectives) or peeled front by front (more).

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
        Non-dominated sorting, Deb et al. 2002; the pruning by a sample is ours.

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
    layer = np.full(len(array), _DEEP, dtype=np.int64)
    # Layers of two objectives hold few rows and cost one sort all together, so start with many.
    done, block = 0, n_layers or (16 if array.shape[1] <= 2 else 1)
    while True:
        # Once the layers above are gone, the layers of what is left follow in order; so each
        # block is found alone, and doubling the blocks wastes no more than it spares.
        left = np.flatnonzero(layer == _DEEP)
        kept = left[_without_deep_rows(array[left], block)]
        found = _layers(array[kept], block)
        layer[kept] = np.where(found == _DEEP, _DEEP, done + found)
        done += block
        on_top = np.flatnonzero(layer != _DEEP)
        if n_layers is not None:
            return on_top, layer[on_top]
        if len(on_top) >= min_rows:
            last = np.partition(layer[on_top], min_rows - 1)[min_rows - 1]
            rows = on_top[layer[on_top] <= last]
            return rows, layer[rows]
        block = done


def _layers(values: Floats, n_layers: int) -> Rows:
    """Layer of each row, ``_DEEP`` from ``n_layers`` on."""
    if values.shape[1] <= 2:
        rank = pareto_rank(values)
        return np.where(rank < n_layers, rank, _DEEP)
    layer = np.full(len(values), _DEEP, dtype=np.int64)
    left = np.arange(len(values))
    for current in range(n_layers):
        if not len(left):
            break
        on_front = non_dominated(values[left])
        layer[left[on_front]] = current
        left = left[~on_front]
    return layer


def _without_deep_rows(values: Floats, n_layers: int) -> Rows:
    """Rows that may be in the first ``n_layers``; those dropped certainly are not."""
    kept = np.arange(len(values))
    while len(kept) > 4 * _SAMPLE:
        # A sample of the survivors lies nearer to the front, so another pass drops more.
        survivors = kept[_prune(values[kept], n_layers)]
        is_worth_another = len(survivors) < 0.7 * len(kept)
        kept = survivors
        if not is_worth_another:
            break
    return kept


def _prune(values: Floats, n_layers: int) -> Rows:
    """Rows that no row of layer ``n_layers - 1`` of a sample is known to dominate.

    A row dominated by one of layer L - 1 of the sample is in layer L or deeper of the sample plus
    itself, and more rows can only push it deeper.
    """
    # The draw decides how many rows are spared, never which rows are the result.
    drawn = np.random.default_rng(0).choice(len(values), _SAMPLE, replace=False)
    sample = values[drawn]
    bound = np.unique(sample[_layers(sample, n_layers) == n_layers - 1], axis=0)
    kept = np.arange(len(values))
    if not len(bound):
        return kept
    covers = np.ones((len(bound), _SAMPLE), dtype=np.bool_)
    for column in range(values.shape[1]):
        covers &= sample[:, column] <= bound[:, column, None]
    columns = list(np.ascontiguousarray(values.T))
    # Greedy: each point is compared with what the points before it left over, so the ones that
    # drop most come first, and points that would drop less than 1 % are not worth a pass.
    while covers.shape[1]:
        best = int(covers.sum(axis=1).argmax())
        if covers[best].mean() < 0.01:
            break
        dominated, equal = (np.ones(len(kept), dtype=np.bool_) for _ in range(2))
        for value, limit in zip(columns, bound[best], strict=True):
            dominated &= value <= limit
            equal &= value == limit
        stays = ~dominated | equal
        kept, columns = kept[stays], [value[stays] for value in columns]
        covers = covers[:, ~covers[best]]
    return kept
