"""Comparisons into preference pairs: which are used, and which side is chosen.

The pair rules take the labels ``(P, M)`` and one random key a comparison ``(P,)``, and return a
:class:`~paretune.core.job.PairOrder`; methods bind their other arguments with
``functools.partial`` so that a job stays describable. A rule holds no state: two calls with the
same keys return the same pairs, and the draw of one comparison never depends on another one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from paretune.core.job import PairOrder
from paretune.errors import ConfigError, InputError, ShapeError
from paretune.functional.draws import Keys, hash_keys, uniform

Labels = npt.NDArray[np.float64]

# Names of what is drawn: no two purposes share a draw.
_COMPARISONS, _SUBSETS = 10, 11

# A weighted sum of labels closer to 0 than this is a tie: 0.3 * 1 - 0.1 * 3 is not exactly 0.
_TIE = 1e-12


def order_by_objective(labels: Labels, keys: Keys, index: int) -> PairOrder:
    """Pairs ordered by one objective; its ties and unlabelled comparisons are left out.

    Args:
        labels: ``(P, M)`` in [-1, 1], 1 = the first response is better, NaN = not labelled.
        keys: ``(P,)`` unused: nothing is drawn.
        index: column of the objective, in [0, M).

    Returns:
        The labelled comparisons, in their order.

    Raises:
        ConfigError: if there is no such column.

    Example:
        >>> labels = np.array([[1.0, -1.0], [-0.5, 1.0], [0.0, 1.0]])
        >>> order = order_by_objective(labels, np.zeros(3, np.uint64), index=0)
        >>> order.index, order.flipped
        (array([0, 1]), array([False,  True]))
    """
    if not 0 <= index < labels.shape[1]:
        raise ConfigError(
            f"pair rule: found objective {index}, expected one of 0 to {labels.shape[1] - 1}"
        )
    return _order_by(labels[:, index])


def order_by_agreement(labels: Labels, keys: Keys) -> PairOrder:
    r"""Pairs on which no two objectives disagree.

    A comparison is kept when at least two objectives are labelled (with a single label there is
    nothing to agree with), at least one of them is no tie, and all that are no ties have the same
    sign. With independent Bradley-Terry labels the DPO optimum on these pairs is
    :math:`\pi_{ref}\exp(\sum_i r_i/\beta)`: one point of the front, whatever the trade-off.

    Args:
        labels: ``(P, M)`` in [-1, 1], NaN = not labelled.
        keys: ``(P,)`` unused: nothing is drawn.

    Returns:
        The comparisons without conflict, in their order.

    Example:
        >>> labels = np.array([[1.0, 0.5], [1.0, -1.0], [-1.0, 0.0], [1.0, np.nan]])
        >>> order = order_by_agreement(labels, np.zeros(4, np.uint64))
        >>> order.index, order.flipped
        (array([0, 2]), array([False,  True]))
    """
    signs = np.sign(np.nan_to_num(labels))
    is_conflict = (signs > 0).any(axis=1) & (signs < 0).any(axis=1)
    is_single = (~np.isnan(labels)).sum(axis=1) < 2
    return _order_by(np.where(is_conflict | is_single, 0.0, signs.sum(axis=1)))


def order_by_drawn_objective(labels: Labels, keys: Keys, weights: Sequence[float]) -> PairOrder:
    r"""Mixed labels: each comparison is ordered by one objective, drawn with probability w_i.

    The weights of the labelled objectives are renormalized per comparison. A comparison that
    draws a tie, or has no labelled objective of positive weight, is left out. In expectation over
    the keys the DPO loss on these pairs is loss-weighted DPO
    (:func:`~paretune.functional.losses.weighted_dpo_loss`), so both have the same minimizer.

    Args:
        labels: ``(P, M)`` in [-1, 1], NaN = not labelled.
        keys: ``(P,)`` one draw each. The same keys with other weights give coupled draws: raising
            the first weight never takes a comparison away from the first objective.
        weights: ``(M,)`` trade-off on the simplex.

    Returns:
        The ordered comparisons, in their order.

    Raises:
        ShapeError: if the number of weights is not the number of label columns.

    Example:
        >>> labels = np.array([[1.0, -1.0], [np.nan, -1.0]])
        >>> order_by_drawn_objective(labels, np.zeros(2, np.uint64), (1.0, 0.0)).index
        array([0])
    """
    chances = ~np.isnan(labels) * _fitting(weights, labels)
    total = chances.sum(axis=1)
    edges = np.cumsum(chances, axis=1)
    # Strictly below the edge: an objective of weight 0 is never drawn, not even by key 0. A draw
    # is below 1, but its product with the total may round up to the last edge.
    draw = np.minimum(uniform(keys) * total, np.nextafter(total, 0.0))
    drawn = (draw[:, None] < edges).argmax(axis=1)
    votes = np.take_along_axis(labels, drawn[:, None], axis=1)[:, 0]
    return _order_by(np.where(total > 0, votes, 0.0))


def order_by_weighted_labels(labels: Labels, keys: Keys, weights: Sequence[float]) -> PairOrder:
    r"""Pairs ordered by the sign of :math:`w \cdot s`, over the labelled objectives.

    Args:
        labels: ``(P, M)`` in [-1, 1], NaN = not labelled (counts as no opinion).
        keys: ``(P,)`` unused: nothing is drawn.
        weights: ``(M,)`` trade-off on the simplex.

    Returns:
        The comparisons whose weighted sum is not 0, in their order.

    Raises:
        ShapeError: if the number of weights is not the number of label columns.

    Example:
        >>> labels = np.array([[1.0, -1.0], [1.0, -1.0]])
        >>> order_by_weighted_labels(labels, np.zeros(2, np.uint64), (0.4, 0.6)).flipped
        array([ True,  True])
    """
    return _order_by(np.nan_to_num(labels) @ _fitting(weights, labels))


def keep_labelled(labels: Labels, keys: Keys, weights: Sequence[float]) -> PairOrder:
    """Every comparison that a loss with labels can learn from, as it stands.

    For losses that read the labels themselves (loss-weighted DPO): a comparison is kept when an
    objective of positive weight is labelled and no tie there. Nothing is flipped, so "chosen"
    only means "first".

    Args:
        labels: ``(P, M)`` in [-1, 1], NaN = not labelled.
        keys: ``(P,)`` unused: nothing is drawn.
        weights: ``(M,)`` trade-off on the simplex.

    Returns:
        The kept comparisons, none flipped.

    Raises:
        ShapeError: if the number of weights is not the number of label columns.

    Example:
        >>> labels = np.array([[0.0, -1.0], [1.0, np.nan]])
        >>> keep_labelled(labels, np.zeros(2, np.uint64), (1.0, 0.0)).index
        array([1])
    """
    counts = (np.nan_to_num(labels) != 0) & (_fitting(weights, labels) > 0)
    index = np.flatnonzero(counts.any(axis=1))
    return PairOrder(index, np.zeros(len(index), dtype=np.bool_))


def keep_every(labels: Labels, keys: Keys) -> PairOrder:
    """Every comparison with a label, as it stands: for pairs that their users have ordered.

    Args:
        labels: ``(P, M)`` in [-1, 1], NaN = not labelled.
        keys: ``(P,)`` unused: nothing is drawn.

    Example:
        >>> keep_every(np.array([[0.0, -1.0], [np.nan, np.nan]]), np.zeros(2, np.uint64)).index
        array([0])
    """
    index = np.flatnonzero(~np.isnan(labels).all(axis=1))
    return PairOrder(index, np.zeros(len(index), dtype=np.bool_))


def keep_every_objective(labels: Labels, keys: Keys) -> PairOrder:
    """The same for a policy that learns all objectives: each must be labelled somewhere.

    Args:
        labels: ``(P, M)`` in [-1, 1], NaN = not labelled.
        keys: ``(P,)`` unused: nothing is drawn.

    Raises:
        InputError: naming the columns of objectives without a label that is no tie.

    Example:
        >>> keep_every_objective(np.array([[0.0, -1.0], [1.0, 0.0]]), np.zeros(2, np.uint64)).index
        array([0, 1])
    """
    silent = np.flatnonzero((np.nan_to_num(labels) == 0).all(axis=0)).tolist()
    if silent:
        raise InputError(
            f"comparisons: found no label that is no tie for the objectives in columns {silent}, "
            "expected some for every objective: the policy of a trade-off learns from all of them"
        )
    return keep_every(labels, keys)


def label_from_rewards(
    margins: npt.NDArray[np.float64], slope: float | None = None, keys: Keys | None = None
) -> Labels:
    r"""Labels from reward margins: their signs, or Bradley-Terry draws.

    Args:
        margins: ``(P, M)`` reward of the first response minus that of the second, NaN = not
            scored.
        slope: ``None`` for the sign of the margin (0 = tie); else the label is 1 with probability
            :math:`\sigma(\text{slope} \cdot \text{margin})` and -1 otherwise, > 0, per reward
            unit.
        keys: ``(P,)`` one a comparison, needed with ``slope``; each objective draws its own
            number from it.

    Returns:
        ``(P, M)`` labels in {-1, 0, 1}, NaN where not scored.

    Raises:
        ConfigError: if ``slope`` is not positive, or given without ``keys``.

    Example:
        >>> label_from_rewards(np.array([[0.2, -3.0, 0.0, np.nan]]))
        array([[ 1., -1.,  0., nan]])
    """
    if slope is None:
        return np.sign(margins)
    if slope <= 0 or keys is None:
        raise ConfigError(
            f"labels: found slope {slope} and {'no ' if keys is None else ''}keys, "
            "expected a slope > 0 and one key a comparison"
        )
    chance = 1 / (1 + np.exp(-np.clip(slope * margins, -700, 700)))
    draws = np.stack([uniform(keys, stream) for stream in range(margins.shape[1])], axis=1)
    drawn = np.where(draws < chance, 1.0, -1.0)
    return np.where(np.isnan(margins), np.nan, drawn)


def comparisons_from_scores(
    rewards: npt.NDArray[np.float64],
    prompt_of: npt.NDArray[np.int64],
    per_prompt: int | None = None,
    seed: int = 0,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Comparisons between the responses to one prompt, for data with scores and no comparisons.

    A pair is a candidate when some objective is scored on both sides and differs. Which ones are
    kept depends on the seed and the rows only, never on the order of a set or a clock.

    Args:
        rewards: ``(N, M)``, NaN where not scored.
        prompt_of: ``(N,)`` prompt of each response.
        per_prompt: comparisons kept a prompt, >= 1; ``None`` keeps all.
        seed: of the choice among a prompt's candidates.

    Returns:
        Two ``(P,)`` int64 arrays, rows of the first and of the second response, sorted by
        (first, second); the first is always the earlier row.

    Raises:
        ConfigError: if ``per_prompt`` is below 1.

    Example:
        >>> rewards = np.array([[1.0], [0.0], [0.5], [0.0]])
        >>> first, second = comparisons_from_scores(rewards, np.array([0, 0, 1, 0]))
        >>> first, second
        (array([0, 0]), array([1, 3]))
    """
    if per_prompt is not None and per_prompt < 1:
        raise ConfigError(f"comparisons: found per_prompt {per_prompt}, expected at least 1")
    first, second = _pairs_within(prompt_of)
    gaps = np.nan_to_num(rewards[first] - rewards[second])
    differs = (gaps != 0).any(axis=1)
    first, second = first[differs], second[differs]
    if per_prompt is not None:
        keys = hash_keys(seed, _SUBSETS, first, second)
        order = np.lexsort((keys, prompt_of[first]))
        prompts = prompt_of[first][order]
        rank = np.arange(len(order)) - np.searchsorted(prompts, prompts, side="left")
        kept = order[rank < per_prompt]
        first, second = first[kept], second[kept]
    order = np.lexsort((second, first))
    return first[order], second[order]


def comparison_keys(n_comparisons: int, seed: int) -> Keys:
    """One random 64-bit key a comparison: a hash of (seed, row) and of nothing else.

    Args:
        n_comparisons: P, >= 0.
        seed: any integer.

    Returns:
        ``(P,)`` uint64; longer data of the same seed start with the same keys.

    Example:
        >>> bool((comparison_keys(3, seed=1) == comparison_keys(5, seed=1)[:3]).all())
        True
    """
    return hash_keys(seed, _COMPARISONS, np.arange(n_comparisons))


def _order_by(votes: npt.NDArray[np.float64]) -> PairOrder:
    """Comparisons with a vote, ordered by its sign."""
    votes = np.nan_to_num(votes)
    index = np.flatnonzero(np.abs(votes) > _TIE)
    return PairOrder(index, votes[index] < 0)


def _fitting(weights: Sequence[float], labels: Labels) -> npt.NDArray[np.float64]:
    """Weights as an array, one a label column."""
    if len(weights) != labels.shape[1]:
        raise ShapeError(
            f"pair rule: found {len(weights)} weights, expected {labels.shape[1]}, one a column "
            "of the labels"
        )
    return np.asarray(weights, dtype=np.float64)


def _pairs_within(
    prompt_of: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Every pair of rows of one prompt, the earlier row first."""
    order = np.argsort(prompt_of, kind="stable")
    _, starts, sizes = np.unique(prompt_of[order], return_index=True, return_counts=True)
    firsts, seconds = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for size in np.unique(sizes):
        # All prompts with the same number of responses at once: few sizes, many prompts.
        a, b = np.triu_indices(size, k=1)
        start = starts[sizes == size][:, None]
        firsts.append(order[start + a].ravel())
        seconds.append(order[start + b].ravel())
    return np.concatenate(firsts), np.concatenate(seconds)
