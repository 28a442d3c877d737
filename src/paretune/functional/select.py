"""Row rules: which responses of a pool a job trains on.

Each takes a :class:`~paretune.core.job.Pool` and returns rows in training order. Fix the options
by keyword with :func:`functools.partial`, so that a plan can describe the rule.

No rule draws at random: the same pool and options give the same rows on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from paretune.core.job import Pool
from paretune.core.tradeoff import TradeOff
from paretune.errors import ConfigError, InputError, NotScoredError, ShapeError
from paretune.functional.dominance import pareto_rank, top_layers
from paretune.functional.draws import hash_keys
from paretune.functional.ray import Direction, Floats, ray_direction, ray_distance, reward_range

Rows = npt.NDArray[np.int64]
RangeFrom = Literal["dataset", "pareto"]
PoolRows = Literal["pareto", "all"]

_DIGITS = 12
"""Distances are compared after rounding, so that a tie does not hang on the last bit."""
_SELECTION = 12
"""Names the draws of ``select_random``."""


def select_ray(
    pool: Pool,
    *,
    weights: Sequence[float],
    k: int,
    n_layers: int | None = None,
    min_rows: int | None = None,
    direction: Direction = "compromise",
    space: Literal["unit", "raw"] = "unit",
    range_quantile: float = 0.0,
    range_from: RangeFrom = "dataset",
    max_per_prompt: int | None = None,
    pool_rows: PoolRows = "pareto",
    smoothing: float = 0.0,
) -> Rows:
    """The ``k`` high-quality responses nearest to the preference ray of a trade-off.

    Only rows of the top Pareto layers are candidates. Of these, the smallest (distance to the ray,
    distance to the ideal along the ray, layer, row) are taken. Exact repeats of a response to the
    same prompt count once; distinct texts with equal rewards all stay. An objective on which all
    rows agree is ignored.

    Args:
        pool: N responses, every reward scored.
        weights: ``(M,)`` trade-off on the simplex.
        k: rows wanted, >= 1.
        n_layers: how many Pareto layers are candidates; ``None`` takes the fewest that hold
            ``min_rows``.
        min_rows: see ``n_layers``; ``None`` means ``k``. More layers bring in dominated responses,
            but spread the choice where a continuous front is thin.
        direction: ``compromise`` as in the paper, or ``chebyshev``; the same for two objectives.
        space: ``unit`` divides shortfalls by the range of the rewards; ``raw`` does not, and for
            three or more objectives depends on their units.
        range_quantile: quantile that stands for worst and best reward, see
            :func:`~paretune.functional.ray.reward_range`.
        range_from: rows whose range counts: all, or the candidates.
        max_per_prompt: at most so many rows of one prompt.
        pool_rows: ``pareto`` = the top layers; ``all`` = every row (an ablation).
        smoothing: see :func:`~paretune.functional.ray.ray_direction`.

    Returns:
        ``(k,)`` distinct row numbers, nearest first.

    Raises:
        NotScoredError: if a reward is not scored.
        ConfigError: if the weights are not on the simplex or an option is unknown.
        InputError: if fewer than ``k`` rows can be chosen.

    Source:
        ParetoHqD, arXiv:2504.16628, Pareto high-quality data and preference direction. The paper
        leaves the number of layers, ties and the scale open: defaults here are the fewest layers,
        ties as above, unit coordinates.

    Example:
        >>> rewards = np.array([[1.0, 0.0], [0.6, 0.6], [0.0, 1.0], [0.1, 0.1]])
        >>> pool = Pool(rewards, np.arange(4), np.arange(4))
        >>> select_ray(pool, weights=(0.5, 0.5), k=1), select_ray(pool, weights=(1.0, 0.0), k=2)
        (array([1]), array([0, 1]))
    """
    if space not in ("unit", "raw"):
        raise ConfigError(f"select: found space {space!r}, expected unit or raw")
    down = ray_direction(_weights(pool, weights), direction, smoothing)
    rows, layer, low, high = _candidates(
        pool, k, n_layers, min_rows, range_quantile, range_from, max_per_prompt, pool_rows
    )
    span = high - low
    varies = span > 0
    down, span = down[varies], span[varies]
    shortfall = (high - pool.rewards[rows])[:, varies] / span
    if space == "raw":
        # Up to one factor for all rows, so that the rounding below means the same in both spaces.
        stretch = span / span.max(initial=0)
        down, shortfall = down * stretch, shortfall * stretch
    distance, t = ray_distance(shortfall, down)
    order = np.lexsort((rows, layer, t.round(_DIGITS), distance.round(_DIGITS)))
    return _take(pool, rows[order], k, max_per_prompt)


def select_linear(
    pool: Pool,
    *,
    weights: Sequence[float],
    k: int,
    n_layers: int | None = None,
    min_rows: int | None = None,
    range_quantile: float = 0.0,
    range_from: RangeFrom = "dataset",
    max_per_prompt: int | None = None,
    pool_rows: PoolRows = "all",
) -> Rows:
    """The ``k`` responses with the largest weighted sum of unit rewards: the linear ablation.

    Args:
        pool: N responses, every reward scored.
        weights: ``(M,)`` trade-off on the simplex.
        k: rows wanted, >= 1.
        n_layers: as in :func:`select_ray`, with ``pool_rows="pareto"``.
        min_rows: as in :func:`select_ray`, with ``pool_rows="pareto"``.
        range_quantile: as in :func:`select_ray`.
        range_from: as in :func:`select_ray`.
        max_per_prompt: at most so many rows of one prompt.
        pool_rows: ``all`` = every row; ``pareto`` = the top layers.

    Returns:
        ``(k,)`` distinct row numbers, best first; ties go to the earlier row.

    Raises:
        NotScoredError, ConfigError, InputError: as :func:`select_ray`.
    """
    w = np.asarray(_weights(pool, weights))
    rows, _, low, high = _candidates(
        pool, k, n_layers, min_rows, range_quantile, range_from, max_per_prompt, pool_rows
    )
    scale = np.where(high > low, high - low, np.inf)
    utility = ((pool.rewards[rows] - low) / scale) @ w
    return _take(pool, rows[np.lexsort((rows, -utility.round(_DIGITS)))], k, max_per_prompt)


def select_best(
    pool: Pool, *, objective: int, k: int | None = None, max_per_prompt: int | None = 1
) -> Rows:
    """The responses with the largest reward on one objective.

    Args:
        pool: N responses, every one scored on the objective; the others may be NaN.
        objective: column of the objective.
        k: rows wanted; ``None`` takes all that ``max_per_prompt`` lets through.
        max_per_prompt: at most so many rows of one prompt: 1 with ``k=None`` is the best response
            of every prompt; ``None`` with ``k`` is the best of the whole pool.

    Returns:
        Distinct row numbers, best first; ties go to the earlier row.

    Raises:
        NotScoredError: if a reward of the objective is not scored.
        InputError: if the objective does not exist or fewer than ``k`` rows can be chosen.

    Example:
        >>> pool = Pool(np.array([[0.1], [0.9], [0.5]]), np.array([0, 0, 1]), np.arange(3))
        >>> select_best(pool, objective=0)
        array([1, 2])
    """
    _check_shapes(pool)
    if not 0 <= objective < pool.rewards.shape[1]:
        raise InputError(
            f"select: found objective {objective}, expected 0 to {pool.rewards.shape[1] - 1}"
        )
    _require_scored(pool.rewards[:, [objective]])
    rows = _distinct(pool)
    order = np.lexsort((rows, -pool.rewards[rows, objective]))
    return _take(pool, rows[order], k, max_per_prompt)


def select_random(pool: Pool, *, k: int, seed: int = 0, max_per_prompt: int | None = None) -> Rows:
    """``k`` responses by chance: the ablation without any selection. Rewards are not looked at.

    Args:
        pool: N responses.
        k: rows wanted, >= 1.
        seed: rows are ordered by a hash of (seed, row).
        max_per_prompt: at most so many rows of one prompt.

    Returns:
        ``(k,)`` distinct row numbers.

    Raises:
        InputError: if fewer than ``k`` rows can be chosen.
    """
    _check_shapes(pool)
    rows = _distinct(pool)
    return _take(
        pool, rows[np.argsort(hash_keys(seed, _SELECTION, rows), kind="stable")], k, max_per_prompt
    )


def select_all(pool: Pool) -> Rows:
    """Every response, exact repeats too, in the order of the pool."""
    _check_shapes(pool)
    return np.arange(len(pool.rewards), dtype=np.int64)


def select_first(pool: Pool) -> Rows:
    """The first response of every prompt: the chosen one, where a user has ordered the pairs.

    Example:
        >>> pool = Pool(np.zeros((4, 1)), np.array([0, 0, 1, 1]), np.array([0, 1, 1, 0]))
        >>> select_first(pool)
        array([0, 2])
    """
    return np.sort(np.unique(pool.prompt_of, return_index=True)[1]).astype(np.int64)


def _candidates(
    pool: Pool,
    k: int,
    n_layers: int | None,
    min_rows: int | None,
    range_quantile: float,
    range_from: RangeFrom,
    max_per_prompt: int | None,
    pool_rows: PoolRows,
) -> tuple[Rows, Rows, Floats, Floats]:
    """Rows that may be chosen, the layer of each, and the nadir and ideal of the rewards."""
    if range_from not in ("dataset", "pareto"):
        raise ConfigError(f"select: found range_from {range_from!r}, expected dataset or pareto")
    if pool_rows not in ("pareto", "all"):
        raise ConfigError(f"select: found pool_rows {pool_rows!r}, expected pareto or all")
    _check_sizes(k, max_per_prompt)
    _require_scored(pool.rewards)
    rows = _distinct(pool)
    rewards = pool.rewards[rows]
    if len(rows) < k:
        raise InputError(f"select: found {len(rows)} distinct rows, expected at least k={k}")
    wanted = min(len(rows), max(k, min_rows or 0))
    if pool_rows == "all":
        chosen, layer = np.arange(len(rows)), pareto_rank(rewards)
    elif n_layers is None and max_per_prompt is not None:
        layer = pareto_rank(rewards)
        by_layer = np.argsort(layer, kind="stable")
        usable = by_layer[_occurrence(pool.prompt_of[rows[by_layer]]) < max_per_prompt]
        last = layer[usable[wanted - 1]] if wanted <= len(usable) else layer.max()
        chosen = np.flatnonzero(layer <= last)
        layer = layer[chosen]
    else:
        chosen, layer = top_layers(rewards, n_layers=n_layers, min_rows=wanted)
    low, high = reward_range(rewards[chosen] if range_from == "pareto" else rewards, range_quantile)
    return rows[chosen], layer, low, high


def _take(pool: Pool, ordered: Rows, k: int | None, max_per_prompt: int | None) -> Rows:
    """The first ``k`` of rows in order of preference, with the cap per prompt."""
    _check_sizes(k, max_per_prompt)
    if max_per_prompt is not None:
        ordered = ordered[_occurrence(pool.prompt_of[ordered]) < max_per_prompt]
    if k is None:
        return ordered
    if len(ordered) < k:
        raise InputError(
            f"select: found {len(ordered)} rows to choose from (layers, repeats and the cap per "
            f"prompt taken into account), expected at least k={k}"
        )
    return ordered[:k]


def _distinct(pool: Pool) -> Rows:
    """First row of every (prompt, text), ascending."""
    # Keys that all differ prove that no row repeats, and sorting them is ten times cheaper.
    key = pool.prompt_of * (pool.text_of.max(initial=0) + 1) + pool.text_of
    key.sort()
    if (key[1:] != key[:-1]).all():
        return np.arange(len(key), dtype=np.int64)
    order = np.lexsort((pool.text_of, pool.prompt_of))
    prompt, text = pool.prompt_of[order], pool.text_of[order]
    is_new = np.ones(len(order), dtype=np.bool_)
    is_new[1:] = (prompt[1:] != prompt[:-1]) | (text[1:] != text[:-1])
    return np.sort(order[is_new])


def _occurrence(keys: npt.NDArray[np.int64]) -> Rows:
    """How many earlier entries equal each entry."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])[: len(keys)])
    sizes = np.diff(np.concatenate([starts, [len(keys)]]))
    count = np.empty(len(keys), dtype=np.int64)
    count[order] = np.arange(len(keys)) - np.repeat(starts, sizes)
    return count


def _weights(pool: Pool, weights: Sequence[float]) -> tuple[float, ...]:
    _check_shapes(pool)
    if len(weights) != pool.rewards.shape[1]:
        raise ShapeError(
            f"select: found {len(weights)} weights, expected {pool.rewards.shape[1]} objectives"
        )
    return TradeOff(tuple(weights)).weights


def _check_sizes(k: int | None, max_per_prompt: int | None) -> None:
    if k is not None and k < 1:
        raise ConfigError(f"select: found k={k}, expected at least 1")
    if max_per_prompt is not None and max_per_prompt < 1:
        raise ConfigError(f"select: found max_per_prompt={max_per_prompt}, expected at least 1")


def _check_shapes(pool: Pool) -> None:
    n = len(pool.rewards)
    if pool.rewards.ndim != 2 or pool.prompt_of.shape != (n,) or pool.text_of.shape != (n,):
        raise ShapeError(
            f"pool: found rewards {pool.rewards.shape}, prompt_of {pool.prompt_of.shape}, "
            f"text_of {pool.text_of.shape}, expected (N, M), (N,), (N,)"
        )


def _require_scored(rewards: Floats) -> None:
    is_bad = ~np.isfinite(rewards)
    if is_bad.any():
        row, column = np.argwhere(is_bad)[0]
        raise NotScoredError(
            f"select: row {row} has reward {rewards[row, column]} on objective {column}, expected "
            f"a finite number ({int(is_bad.any(axis=1).sum())} of {len(rewards)} rows are not "
            "scored)"
        )
