"""Preference tables: how likely each response is preferred on each objective, from data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import numpy as np
import numpy.typing as npt

from paretune.errors import InputError, ShapeError
from paretune.functional.draws import hash_keys

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_OPPONENTS = 20
"""Names the draw that deals opponents into folds."""

N_FOLDS = 10
_FEWEST = 2
"""Opponents that an entry needs for folds: with one, nothing is left to choose by."""


@final
@dataclass(frozen=True)
class Folds:
    """What opponents say of each entry when some of them are held out.

    Args:
        rest: ``(F, E, M)`` preference probabilities without the opponents of fold f.
        held: ``(F, E, M)`` with these opponents only.
        mass: ``(F, E)`` how much fold f counts for an entry; sums to 1 over folds.
        is_candidate: ``(F, E)`` bool: False where the entry itself is held out. A strong reply
            that were left among the candidates would take the probability that its absence as an
            opponent promises to others.
    """

    rest: Floats
    held: Floats
    mass: Floats
    is_candidate: npt.NDArray[np.bool_]


@final
@dataclass(frozen=True)
class PreferenceTable:
    r"""Entries in groups: every entry is one response, a group is what competes for probability.

    A group is a prompt with its pool of responses, or a single comparison with its two. Entries of
    a group are a sample of the reference policy, so means over them are expectations.

    Args:
        row: ``(E,)`` response of each entry.
        group: ``(E,)`` group of each entry, 0 to G - 1, ascending.
        values: ``(E, M)`` preference probabilities in [0, 1]; NaN where nothing is known.
        count: ``(E,)`` how often each entry was given, >= 1.
        folds: the same with opponents held out; ``None`` where they cannot be. In groups where an
            entry has a single one, nothing is held out.
    """

    row: Ints
    group: Ints
    values: Floats
    count: Floats
    folds: Folds | None = None

    @property
    def n_groups(self) -> int:
        """G."""
        return int(self.group[-1]) + 1 if len(self.group) else 0


def pool_table(
    rewards: Floats,
    prompt_of: Ints,
    slope: float | None = None,
    seed: int = 0,
    counts: Ints | None = None,
) -> PreferenceTable:
    r"""Every response against the other responses of its prompt, by reward.

    :math:`\hat p_i(y|x)` is the mean over the other responses of the pool of
    :math:`\sigma(s\,(r_i(y) - r_i(y')))`, or of 1, 1/2, 0 for a larger, an equal, a smaller reward.

    Args:
        rewards: ``(N, M)``, every cell scored.
        prompt_of: ``(N,)``.
        slope: label log-odds per unit of reward, > 0; ``None`` for certain labels.
        seed: deals the opponents into folds.
        counts: ``(N,)`` how often each response was given, >= 1: it competes with its own copies
            too, and ties with them; ``None`` = once.

    Raises:
        InputError: if a reward is missing, or no prompt has two responses. Prompts with a single
            response hold no comparison and are left out.

    Source:
        Agnihotri et al. 2025 (MOPO), Sec. 4: labels of all pairs of a pool of candidates.

    Example:
        >>> rewards = np.array([[3.0, 0.0], [1.0, 0.0], [2.0, 5.0]])
        >>> pool_table(rewards, np.zeros(3, np.int64)).values
        array([[1.  , 0.25],
               [0.  , 0.25],
               [0.5 , 1.  ]])
    """
    if np.isnan(rewards).any():
        missing = int(np.isnan(rewards).any(axis=1).sum())
        raise InputError(
            f"pool labels: found {missing} of {len(rewards)} responses without a reward, expected "
            "every response scored on every objective"
        )
    order = np.argsort(prompt_of, kind="stable")
    sizes = np.bincount(prompt_of)
    rows = order[sizes[prompt_of[order]] > 1]
    if not len(rows):
        raise InputError(
            f"pool labels: found one response a prompt ({len(rewards)} in all), expected at least "
            "two of some prompt: a reply is preferred to another one"
        )
    kept = sizes[sizes > 1]
    group = np.repeat(np.arange(len(kept)), kept)
    # Every (entry, opponent) of a group, side by side: sum of n^2 cells.
    starts = np.repeat(np.cumsum(kept) - kept, kept)
    count = np.ones(len(rows)) if counts is None else counts[rows].astype(np.float64)
    sizes = kept[group]
    entry = np.repeat(np.arange(len(rows)), sizes)
    place = np.arange(len(entry)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    opponent = starts[entry] + place
    # An entry is not its own opponent, but its copies are.
    weight = count[opponent] - (opponent == entry)
    chance = preferred(rewards[rows[entry]] - rewards[rows[opponent]], slope)
    # By the opponent: who is held out of a group is held out for all its entries. Dealt in a
    # hashed order, so that the folds of a group are of equal size.
    shuffled = np.lexsort([hash_keys(seed, _OPPONENTS, rows), group])
    deal = np.empty(len(rows), dtype=np.int64)
    deal[shuffled] = np.arange(len(rows)) - (np.cumsum(kept) - kept)[group]
    values = _means(entry, chance, weight, len(rows))
    fold = deal % N_FOLDS
    is_whole = _is_thin(entry, weight, fold[opponent], group)
    # A fold counts as much as the responses in it, the same for all entries of a group.
    own = fold == np.arange(N_FOLDS)[:, None]
    shares = np.stack([np.bincount(group, count * mine) for mine in own])
    mass = (shares / shares.sum(axis=0))[:, group]
    folds = _folds(entry, chance, weight, fold[opponent], mass, is_whole, values)
    folds = replace(folds, is_candidate=~own | is_whole)
    return PreferenceTable(rows, group, values, count, folds)


def label_table(
    first: Ints,
    second: Ints,
    labels: Floats,
    prompt_of: Ints,
    multiplicity: Floats | None = None,
    seed: int = 0,
    counts: Ints | None = None,
) -> PreferenceTable:
    """Every compared response with the mean of its labels.

    Args:
        first: ``(P,)`` row of the first response of each comparison.
        second: ``(P,)`` of the second.
        labels: ``(P, M)`` in [-1, 1], 1 = the first is better, NaN = not labelled.
        prompt_of: ``(N,)``.
        multiplicity: ``(P,)`` how often each comparison counts; ``None`` = once.
        seed: deals the comparisons into folds.
        counts: ``(N,)`` how often each response was given; ``None`` = once.

    Raises:
        InputError: if an objective is not labelled at all.

    Example:
        >>> labels = np.array([[1.0], [-1.0], [0.0]])
        >>> first, second = np.array([0, 0, 1]), np.array([1, 2, 2])
        >>> label_table(first, second, labels, np.zeros(3, np.int64)).values.ravel()
        array([0.5 , 0.25, 0.75])
    """
    _require_labels(labels)
    count = np.ones(len(first)) if multiplicity is None else multiplicity
    chance = np.concatenate([(1 + labels) / 2, (1 - labels) / 2])
    compared = np.unique(np.concatenate([first, second]))
    order = compared[np.argsort(prompt_of[compared], kind="stable")]
    place = np.full(len(prompt_of), -1)
    place[order] = np.arange(len(order))
    entry = place[np.concatenate([first, second])]
    group = np.unique(prompt_of[order], return_inverse=True)[1].astype(np.int64)
    fold = (hash_keys(seed, _OPPONENTS, np.arange(len(first))) % np.uint64(N_FOLDS)).astype(int)
    weight, fold = np.concatenate([count, count]), np.concatenate([fold, fold])
    values = _means(entry, chance, weight, len(order))
    is_whole = _is_thin(entry, weight, fold, group)
    total = np.bincount(entry, weight)
    mass = np.stack([np.bincount(entry, weight * (fold == f)) / total for f in range(N_FOLDS)])
    folds = _folds(entry, chance, weight, fold, mass, is_whole, values)
    given = np.ones(len(order)) if counts is None else counts[order].astype(np.float64)
    return PreferenceTable(order, group, values, given, folds)


def pair_table(
    first: Ints,
    second: Ints,
    labels: Floats,
    rewards: Floats | None = None,
    slope: float | None = None,
) -> PreferenceTable:
    """Every comparison by itself: a group of two whose preference is its own label.

    A single label stands for the preference probability inside an exponential, so the constraint
    value that the table shows is optimistic (the policy follows the noise that it is measured by),
    and its opponents cannot be split. A pool is the remedy.

    Args:
        first: ``(P,)`` row of the first response of each comparison.
        second: ``(P,)`` of the second.
        labels: ``(P, M)`` in [-1, 1], used when ``rewards`` is ``None``.
        rewards: ``(N, M)`` for soft labels.
        slope: of soft labels; see :func:`pool_table`.

    Raises:
        InputError: if an objective is not labelled, or a reward is missing.

    Example:
        >>> table = pair_table(np.array([4]), np.array([7]), np.array([[1.0, -1.0]]))
        >>> table.row, table.values.tolist()
        (array([4, 7]), [[1.0, 0.0], [0.0, 1.0]])
    """
    if rewards is None:
        _require_labels(labels)
        chance = (1 + labels) / 2
    else:
        chance = preferred(rewards[first] - rewards[second], slope)
        if np.isnan(chance).any():
            raise InputError(
                "pair labels: found compared responses without a reward, expected every one "
                "scored on every objective"
            )
    values = np.stack([chance, 1 - chance], axis=1).reshape(-1, chance.shape[1])
    return PreferenceTable(
        np.stack([first, second], axis=1).reshape(-1),
        np.repeat(np.arange(len(first)), 2),
        values,
        np.ones(2 * len(first)),
    )


def preferred(margins: Floats, slope: float | None = None) -> Floats:
    r"""How likely a response is preferred to another one, from the difference of their rewards.

    Args:
        margins: any shape, in reward units; NaN stays NaN.
        slope: label log-odds per unit of reward, > 0: :math:`\sigma(s\,\Delta r)`; ``None``: 1, 1/2
            or 0 for a larger, an equal, a smaller reward.

    Example:
        >>> preferred(np.array([2.0, 0.0, -1.0])).tolist()
        [1.0, 0.5, 0.0]
    """
    if slope is None:
        return (1 + np.sign(margins)) / 2
    return np.asarray(1 / (1 + np.exp(-slope * margins)))


def _is_thin(entry: Ints, weight: Floats, fold: Ints, group: Ints) -> npt.NDArray[np.bool_]:
    """``(E,)`` entries of groups in which one has too few opponents, or all of them in a fold."""
    n = len(group)
    total = np.bincount(entry, weight, n)
    most = np.max([np.bincount(entry, weight * (fold == f), n) for f in range(N_FOLDS)], axis=0)
    thin = (total < _FEWEST) | (most == total)
    return np.asarray(np.bincount(group, thin)[group] > 0)


def _folds(
    entry: Ints, chance: Floats, weight: Floats, fold: Ints, mass: Floats,
    is_whole: npt.NDArray[np.bool_], values: Floats,
) -> Folds:  # fmt: skip
    """Opponents held out fold by fold; where ``is_whole``, all of them always there."""
    n = len(values)
    rest = np.stack([_means(entry, chance, weight * (fold != f), n) for f in range(N_FOLDS)])
    held = np.stack([_means(entry, chance, weight * (fold == f), n) for f in range(N_FOLDS)])
    keep = is_whole[None, :, None]
    return Folds(
        np.where(keep | np.isnan(rest), values, rest),
        np.where(keep | np.isnan(held), values, held),
        np.where(is_whole, 1 / N_FOLDS, mass),
        np.ones(mass.shape, dtype=bool),
    )


def _means(entry: Ints, chance: Floats, weight: Floats, n_entries: int) -> Floats:
    """``(n_entries, M)`` weighted mean of what is known, NaN where nothing is."""
    if chance.shape[0] != entry.shape[0]:
        raise ShapeError(f"labels: found {chance.shape[0]} for {entry.shape[0]} entries")
    out = np.full((n_entries, chance.shape[1]), np.nan)
    for column in range(chance.shape[1]):
        w = np.where(np.isnan(chance[:, column]), 0.0, weight)
        total = np.bincount(entry, w, n_entries)
        sums = np.bincount(entry, w * np.nan_to_num(chance[:, column]), n_entries)
        out[:, column] = np.divide(sums, total, out=out[:, column], where=total > 0)
    return out


def _require_labels(labels: Floats) -> None:
    empty = np.flatnonzero(np.isnan(labels).all(axis=0))
    if len(empty):
        raise InputError(
            f"labels: found objective {', '.join(map(str, empty))} without a single label, "
            "expected some on every objective"
        )
