"""A pairwise loss that is told what the other objectives think of a pair."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from paretune.errors import InputError, ShapeError
from paretune.functional.losses import PairBatch


def modpo_loss(batch: PairBatch, beta: float, weights: Sequence[float], axis: int) -> Tensor:
    r"""MODPO: DPO on the labels of one objective, with the others' rewards as a margin.

    .. math:: -\log\sigma\Big(\frac{1}{w_k}\big[\beta\,\Delta h
              - \sum_{i \ne k} w_i\,m_i\big]\Big)

    with :math:`\Delta h` the log-ratio margin and :math:`m_i` the reward margin of objective i.
    Where rewards are in Bradley-Terry units (a label is positive with probability
    :math:`\sigma(m_i)`), the minimum of its expectation over all policies is
    :math:`\pi_{ref}\exp(w \cdot r/\beta)`: the optimum of the weighted reward, whatever k. It is
    DPO with the penalty :math:`\beta/w_k` and a reference that is tilted by the others,
    :math:`\pi_{ref}\exp(\sum_{i \ne k} w_i r_i/\beta)`.

    Args:
        batch: B preference pairs, chosen and rejected by the labels of objective ``axis``, with
            ``margins``. Margins of that objective, and of those without weight, are not read.
        beta: strength of the KL penalty, > 0.
        weights: ``(M,)`` trade-off on the simplex.
        axis: column k of the objective that orders the pairs, in [0, M); its weight > 0. The
            slope of the loss is :math:`1/w_k`, so a small weight makes large gradients.

    Returns:
        ``(B,)`` losses, >= 0.

    Raises:
        InputError: if the batch has no margins, or ``axis`` is no objective with a weight.
        ShapeError: if the number of weights is not the number of margins.

    Source:
        Zhou et al. 2023, "Beyond One-Preference-Fits-All Alignment", the MODPO loss of Sec. 3, for
        any number of objectives.

    Example:
        >>> one, zero = torch.ones(1), torch.zeros(1)
        >>> margins = torch.tensor([[0.0, 1.0]])
        >>> batch = PairBatch(one, zero, zero, zero, one, one, torch.ones(1, 2), margins=margins)
        >>> modpo_loss(batch, beta=1.0, weights=(0.5, 0.5), axis=0)
        tensor([0.3133])
    """
    if batch.margins is None:
        raise InputError("modpo_loss: found pairs without margins, expected margins of all")
    if len(weights) != batch.margins.shape[1]:
        raise ShapeError(f"{len(weights)} weights for {batch.margins.shape[1]} margins")
    if not (0 <= axis < len(weights) and weights[axis] > 0):
        raise InputError(
            f"modpo_loss: found objective {axis} of trade-off {tuple(weights)}, expected one with "
            "a weight > 0: the loss divides by it"
        )
    if not beta > 0:
        raise InputError(f"modpo_loss: found beta {beta}, expected > 0")
    # Not a product with zeros: 0 * NaN, of an objective that nobody asks for, is NaN.
    others = [i for i, weight in enumerate(weights) if i != axis and weight > 0]
    w = torch.tensor([weights[i] for i in others]).to(batch.margins)
    shift = batch.margins[:, others] @ w
    return -logsigmoid((beta * batch.log_ratio_margin - shift) / weights[axis])
