"""Agreement of two sets of labels on the same comparisons, objective by objective."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt

from paretune.errors import ShapeError

Floats = npt.NDArray[np.float64]


@final
@dataclass(frozen=True)
class Agreement:
    """How two sets of labels agree on one objective.

    Args:
        n: comparisons that both label.
        same: of these, those with the same sign, no tie.
        opposite: of these, those with opposite signs.
        tau: Kendall's tau-b in [-1, 1]; NaN where one of the two never decides, or ``n`` is 0.
    """

    n: int
    same: int
    opposite: int
    tau: float


def label_agreement(labels: Floats, others: Floats) -> tuple[Agreement, ...]:
    r"""Kendall's rank correlation of two sets of labels, on what both label.

    Which response of a comparison is written first is an accident, so every comparison enters in
    both orders, as :math:`(s, t)` and :math:`(-s, -t)`: the result does not depend on it, and data
    whose first response is always the better one are no special case. With two labels of three
    values the result counts comparisons; with graded ones it also asks whether stronger
    preferences are stronger in both.

    Args:
        labels: ``(P, M)`` in [-1, 1], 1 = the first response is better, NaN = not labelled.
        others: ``(P, M)`` in any unit with the same orientation, NaN = not labelled.

    Returns:
        One entry an objective.

    Raises:
        ShapeError: if the two differ in shape.

    Source:
        Kendall 1945, "The treatment of ties in ranking problems", tau-b. Deviation: every
        comparison in both orders, as above.

    Example:
        >>> labels = np.array([[1.0], [0.5], [-1.0], [np.nan]])
        >>> label_agreement(labels, np.sign(labels))[0].n
        3
        >>> label_agreement(labels, -labels)[0].tau
        -1.0
    """
    if labels.shape != others.shape or labels.ndim != 2:
        raise ShapeError(
            f"agreement: found labels {labels.shape} and {others.shape}, expected two of one "
            "shape (P, M)"
        )
    return tuple(_agreement(labels[:, i], others[:, i]) for i in range(labels.shape[1]))


def _agreement(s: Floats, t: Floats) -> Agreement:
    from scipy.stats import kendalltau  # half a second, which most commands need not wait for

    both = ~np.isnan(s) & ~np.isnan(t)
    s, t = s[both], t[both]
    signs = np.sign(s) * np.sign(t)
    is_decided = bool(s.any() and t.any())
    tau = (
        float(kendalltau(np.concatenate([s, -s]), np.concatenate([t, -t])).statistic)
        if is_decided
        else float("nan")
    )
    return Agreement(int(both.sum()), int((signs > 0).sum()), int((signs < 0).sum()), tau)
