"""Calibration: rewards of any unit in the unit of labels, log-odds of being preferred."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from paretune.errors import InputError, ShapeError

Floats = npt.NDArray[np.float64]

_STEPS = 200
"""Halvings at most: a bracket of doubles has no more."""


def bradley_terry_slopes(
    differences: Floats,
    labels: Floats,
    counts: Floats | None = None,
    names: Sequence[str] | None = None,
) -> Floats:
    """Slope of every objective: see :func:`bradley_terry_slope`.

    Args:
        differences: ``(P, M)`` reward of the first response minus that of the second.
        labels: ``(P, M)`` in [-1, 1], NaN = not labelled.
        counts: ``(P,)`` how often each comparison counts, > 0; ``None`` = once.
        names: ``(M,)`` of the objectives, for messages.

    Returns:
        ``(M,)`` slopes, > 0, log-odds per unit of reward.

    Raises:
        ShapeError: if the shapes differ.
        InputError: naming the objective whose slope cannot be found.

    Example:
        >>> differences = np.array([[2.0, 0.1]] * 4)
        >>> labels = np.array([[1.0, 1.0], [1.0, 1.0], [1.0, -1.0], [-1.0, 1.0]])
        >>> bradley_terry_slopes(differences, labels).round(2)
        array([ 0.55, 10.99])
    """
    if differences.shape != labels.shape or differences.ndim != 2:
        raise ShapeError(
            f"calibration: found differences {differences.shape} and labels {labels.shape}, "
            "expected (P, M) both"
        )
    called = names or [f"objective {i}" for i in range(labels.shape[1])]
    slopes = []
    for column, name in enumerate(called):
        try:
            slopes.append(bradley_terry_slope(differences[:, column], labels[:, column], counts))
        except InputError as error:
            raise InputError(f"calibration: {name}: {error}") from error
    return np.array(slopes)


def bradley_terry_slope(differences: Floats, labels: Floats, counts: Floats | None = None) -> float:
    r"""How much a unit of reward moves the log-odds of being preferred.

    The slope s of a logistic regression of labels on differences of rewards, without intercept:
    it maximizes :math:`\sum_p c_p\,[t_p\log\sigma(s\,x_p) + (1 - t_p)\log\sigma(-s\,x_p)]` with
    :math:`t = (1 + \text{label})/2`. Times s, rewards are in Bradley-Terry units: temperature 1.
    Graded labels are chances, and a tie says that both are as likely. Comparisons without a label,
    without a reward, or with equal rewards say nothing of the slope.

    Where every label agrees with its difference, no slope is too steep. So it is bounded: at the
    slope where labels would be expected to contradict the differences once in n + 2 comparisons,
    as by the rule of succession (or as often as they do, where chances close to 1 say that this is
    less). Labels with the noise that their slope implies do not reach the bound.

    Args:
        differences: ``(P,)`` x, in any unit; NaN = not scored.
        labels: ``(P,)`` in [-1, 1], positive = the first response is better, NaN = not labelled.
        counts: ``(P,)`` c, how often each comparison counts, > 0; ``None`` = once.

    Returns:
        The slope, > 0, in log-odds per unit of reward.

    Raises:
        InputError: if no labelled comparison has different rewards, or the labels prefer the
            smaller ones, or neither.

    Source:
        Bradley and Terry 1952; the bound is ours.

    Example:
        >>> differences, labels = np.array([1.0, 1.0, -1.0, 1.0]), np.array([1.0, 1.0, -1.0, -1.0])
        >>> round(bradley_terry_slope(differences, labels), 4), round(float(np.log(3)), 4)
        (1.0986, 1.0986)
    """
    is_known = ~np.isnan(differences) & ~np.isnan(labels) & (differences != 0)
    if not is_known.any():
        raise InputError(
            f"found no labelled one of {len(labels)} comparisons with different rewards, expected "
            "some to calibrate by"
        )
    c = (np.ones(len(labels)) if counts is None else counts)[is_known]
    # All first responses are the better rewarded ones: then only the size and the chance count.
    signs = np.sign(differences[is_known])
    size, chance = np.abs(differences[is_known]), (1 + signs * labels[is_known]) / 2
    # Near 1, so that the bracket is found in few steps, whatever the unit.
    unit = float(np.average(size, weights=c))
    size = size / unit
    found = float(np.average(1 - chance, weights=c))
    least = min(found or 1.0, 1 / (len(c) + 2))

    def gain(slope: float) -> float:
        return float(c @ (size * (chance - _sigmoid(slope * size))))

    def contradictions(slope: float) -> float:
        return float(np.average(_sigmoid(-slope * size), weights=c)) - least

    if gain(0.0) <= 0:
        raise InputError(
            f"found labels that agree with the rewards in {1 - found:.0%} of {len(c)} comparisons "
            "and do not prefer the larger rewards, expected them to: is a smaller one better "
            "(sign: -1)?"
        )
    bound = _root(contradictions)
    return (bound if gain(bound) >= 0 else _root(gain)) / unit


def _root(falling: Callable[[float], float]) -> float:
    """Where a function that falls from above 0 crosses 0, to the last digits."""
    low, high = 0.0, 1.0
    while falling(high) > 0:
        low, high = high, 2 * high
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if falling(middle) > 0 else (low, middle)
    return (low + high) / 2


def _sigmoid(x: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -700, 700))))
