"""Margins of preference pairs: how much more each objective likes the chosen response."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from paretune.core.job import Margins, PairOrder
from paretune.core.record import PreferenceData
from paretune.errors import InputError, NotScoredError
from paretune.functional.calibration import bradley_terry_slopes

Floats = npt.NDArray[np.float64]


def pair_margins(
    margins: Margins, data: PreferenceData, order: PairOrder, log_ratios: Mapping[str, Floats]
) -> Floats:
    """What a pairwise loss is told of all objectives.

    Args:
        margins: of the job.
        data: rows and comparisons. All of them calibrate, also those that the job leaves out.
        order: the pairs of the job.
        log_ratios: expert to ``(N,)`` log-ratio of each response under it, nats; NaN where it is
            in no comparison.

    Returns:
        ``(Q, M)`` reward of the chosen response minus that of the rejected one.

    Raises:
        NotScoredError: if a response of a pair has no reward.
        InputError: if the labels of an objective do not tell the unit of its rewards.
    """
    names = data.rewards.objectives.names
    found = data.margins if not margins.experts else _implicit(margins, data, log_ratios)
    taken = found[order.index]
    holes = np.isnan(taken).sum(axis=0)
    if holes.any():
        column = int(holes.argmax())
        raise NotScoredError(
            f"margins: found {holes[column]} of {len(taken)} pairs without a {names[column]!r} "
            "score, expected one of each response"
        )
    if margins.is_calibrated:
        taken = taken * bradley_terry_slopes(found, data.labels, data.multiplicity, names)
    return np.asarray(np.where(order.flipped[:, None], -taken, taken))


def _implicit(margins: Margins, data: PreferenceData, log_ratios: Mapping[str, Floats]) -> Floats:
    """``(P, M)`` differences of implicit rewards, beta times the log-ratio."""
    n_objectives = len(data.rewards.objectives)
    if not len(margins.experts) == len(margins.betas) == n_objectives:
        raise InputError(
            f"margins: found {len(margins.experts)} experts with {len(margins.betas)} betas, "
            f"expected {n_objectives}, one an objective"
        )
    missing = [e for e in margins.experts if e not in log_ratios]
    if missing:
        raise InputError(f"margins: found no log-probabilities of {missing}, expected all experts'")
    rewards = np.stack(
        [beta * log_ratios[e] for e, beta in zip(margins.experts, margins.betas, strict=True)],
        axis=1,
    )
    return np.asarray(rewards[data.first] - rewards[data.second])
