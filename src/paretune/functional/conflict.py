"""How much objectives agree: counts, correlations of scores, conflicts of labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt

from paretune.errors import ShapeError

Array = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

_CHUNK = 65_536


@final
@dataclass(frozen=True)
class ScoreSummary:
    """The scores of one objective.

    Args:
        scored: responses with a score.
        low: smallest score, NaN when nothing is scored.
        high: largest score.
        mean: mean score.
    """

    scored: int
    low: float
    high: float
    mean: float


@final
@dataclass(frozen=True)
class ConflictCounts:
    """How the labels of several comparisons agree.

    A tie (0) prefers neither side, so it neither agrees nor conflicts.

    Args:
        labelled: ``(M,)`` comparisons with a label, ties included.
        tied: ``(M,)`` comparisons labelled 0.
        both: ``(M, M)`` comparisons where two objectives both prefer a side.
        opposed: ``(M, M)`` among them, those where the two prefer different sides.
        n_comparisons: P.
        n_decided: comparisons where at least two objectives prefer a side.
        n_conflict: among them, those where some two prefer different sides.
    """

    labelled: Counts
    tied: Counts
    both: Counts
    opposed: Counts
    n_comparisons: int
    n_decided: int
    n_conflict: int

    @classmethod
    def none(cls, n_objectives: int) -> ConflictCounts:
        """Counts of no comparison at all."""
        one = np.zeros(n_objectives, dtype=np.int64)
        two = np.zeros((n_objectives, n_objectives), dtype=np.int64)
        return cls(one, one, two, two, 0, 0, 0)

    def __add__(self, other: ConflictCounts) -> ConflictCounts:
        return ConflictCounts(
            self.labelled + other.labelled,
            self.tied + other.tied,
            self.both + other.both,
            self.opposed + other.opposed,
            self.n_comparisons + other.n_comparisons,
            self.n_decided + other.n_decided,
            self.n_conflict + other.n_conflict,
        )

    @property
    def rate(self) -> Array:
        """``(M, M)`` share of ``opposed`` in ``both``, NaN where ``both`` is 0."""
        share = np.full(self.both.shape, np.nan)
        np.divide(self.opposed, self.both, out=share, where=self.both > 0)
        return share

    @property
    def conflict_rate(self) -> float:
        """Share of conflicts among the decided comparisons, NaN without any."""
        return self.n_conflict / self.n_decided if self.n_decided else float("nan")

    @property
    def agree_rate(self) -> float:
        """Share of decided comparisons where all objectives that prefer a side prefer the same."""
        return 1.0 - self.conflict_rate


def count_conflicts(labels: Array) -> ConflictCounts:
    """How often objectives prefer different sides of a comparison.

    Args:
        labels: ``(P, M)`` signed labels or margins of any size: positive = the first response is
            better, 0 = a tie, NaN = not labelled.

    Returns:
        Counts that can be added over several sets of comparisons.

    Raises:
        ShapeError: if ``labels`` has not two dimensions.

    Example:
        >>> counts = count_conflicts(np.array([[1.0, 1.0], [1.0, -1.0], [0.0, 1.0], [1.0, np.nan]]))
        >>> counts.n_decided, counts.n_conflict, counts.conflict_rate
        (2, 1, 0.5)
        >>> counts.labelled.tolist(), counts.tied.tolist()
        ([4, 3], [1, 0])
    """
    if labels.ndim != 2:
        raise ShapeError(f"labels: found shape {labels.shape}, expected (P, M)")
    up, down = (labels > 0).astype(np.int64), (labels < 0).astype(np.int64)
    decides = up + down
    is_decided = decides.sum(axis=1) >= 2
    is_conflict = up.any(axis=1) & down.any(axis=1)
    return ConflictCounts(
        labelled=(~np.isnan(labels)).sum(axis=0),
        tied=(labels == 0).sum(axis=0),
        both=decides.T @ decides,
        opposed=up.T @ down + down.T @ up,
        n_comparisons=len(labels),
        n_decided=int(is_decided.sum()),
        n_conflict=int(is_conflict.sum()),
    )


def count_score_conflicts(rewards: Array, prompt_of: Counts) -> ConflictCounts:
    """The same for the comparisons that scores imply: all pairs of responses to one prompt.

    Args:
        rewards: ``(N, M)``, larger is better, NaN = not scored.
        prompt_of: ``(N,)`` prompt of each response.

    Returns:
        Counts over all pairs of rows with the same prompt that share a scored objective; memory
        does not grow with their number.

    Raises:
        ShapeError: if the two do not have the same length.

    Example:
        >>> rewards = np.array([[1.0, 0.0], [0.0, 1.0], [5.0, 5.0]])
        >>> count_score_conflicts(rewards, np.array([0, 0, 1])).n_conflict
        1
    """
    if rewards.ndim != 2 or prompt_of.shape != (len(rewards),):
        raise ShapeError(
            f"prompt_of: found shape {prompt_of.shape} beside rewards {rewards.shape}, "
            "expected (N,) beside (N, M)"
        )
    counts = ConflictCounts.none(rewards.shape[1])
    for margins in _margins(rewards, prompt_of):
        is_scored = ~np.isnan(margins).all(axis=1)
        counts = counts + count_conflicts(margins[is_scored])
    return counts


def _margins(rewards: Array, prompt_of: Counts) -> Iterator[Array]:
    """Margins of all pairs within a prompt, in blocks of bounded size."""
    order = np.argsort(prompt_of, kind="stable")
    borders = np.flatnonzero(np.diff(prompt_of[order])) + 1
    waiting: list[Array] = []
    n_waiting = 0
    for rows in np.split(order, borders):
        for i in range(len(rows) - 1):
            # Only signs are counted: a margin beyond the largest double may be infinite.
            with np.errstate(over="ignore"):
                waiting.append(rewards[rows[i]] - rewards[rows[i + 1 :]])
            n_waiting += len(waiting[-1])
            if n_waiting >= _CHUNK:
                yield np.concatenate(waiting)
                waiting, n_waiting = [], 0
    if waiting:
        yield np.concatenate(waiting)


def summarize_scores(rewards: Array) -> tuple[ScoreSummary, ...]:
    """Count, range and mean of the scored cells of each objective.

    Args:
        rewards: ``(N, M)``, NaN = not scored.

    Returns:
        One entry an objective, ``(M,)``.

    Example:
        >>> summarize_scores(np.array([[1.0, np.nan], [3.0, np.nan]]))[0]
        ScoreSummary(scored=2, low=1.0, high=3.0, mean=2.0)
    """
    summaries = []
    for column in rewards.T:
        values = column[~np.isnan(column)]
        if len(values):
            low, high, mean = values.min(), values.max(), (values / len(values)).sum()
        else:
            low = high = mean = np.nan
        summaries.append(ScoreSummary(len(values), float(low), float(high), float(mean)))
    return tuple(summaries)


def pearson(rewards: Array) -> Array:
    """Linear correlation of each two objectives over the responses scored on both.

    Args:
        rewards: ``(N, M)``, NaN = not scored.

    Returns:
        ``(M, M)`` in [-1, 1], symmetric; NaN where fewer than two responses are scored on both or
        one of the two is constant among them.

    Example:
        >>> pearson(np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]]))[0, 1]
        np.float64(-1.0)
    """
    return _pairwise(rewards, lambda values: values)


def spearman(rewards: Array) -> Array:
    """Rank correlation of each two objectives; equal scores share the mean of their ranks.

    Args:
        rewards: ``(N, M)``, NaN = not scored.

    Returns:
        ``(M, M)`` in [-1, 1], symmetric; NaN as in :func:`pearson`.

    Example:
        >>> spearman(np.array([[1.0, 1.0], [2.0, 10.0], [3.0, 99.0]]))[0, 1]
        np.float64(1.0)
    """
    return _pairwise(rewards, mean_ranks)


def mean_ranks(values: Array) -> Array:
    """Ranks from 1, equal values share the mean of their ranks, ``(N,)``.

    Example:
        >>> mean_ranks(np.array([10.0, 30.0, 10.0])).tolist()
        [1.5, 3.0, 1.5]
    """
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Array = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return ranks


def _pairwise(rewards: Array, change: Callable[[Array], Array]) -> Array:
    n_objectives = rewards.shape[1]
    result = np.full((n_objectives, n_objectives), np.nan)
    is_scored = ~np.isnan(rewards)
    for i in range(n_objectives):
        for j in range(i, n_objectives):
            both = is_scored[:, i] & is_scored[:, j]
            result[i, j] = result[j, i] = _correlation(
                change(rewards[both, i]), change(rewards[both, j])
            )
    return result


def _correlation(x: Array, y: Array) -> float:
    if len(x) < 2 or x.min() == x.max() or y.min() == y.max():
        return float("nan")
    # Scaled first: sums and products of scores near the largest double stay finite.
    x, y = x / np.abs(x).max(), y / np.abs(y).max()
    x, y = x - x.mean(), y - y.mean()
    value = float((x @ y) / np.sqrt((x @ x) * (y @ y)))
    return min(1.0, max(-1.0, value))
