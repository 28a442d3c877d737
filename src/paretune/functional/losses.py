"""Pairwise losses: one function each, one value per preference pair; the caller reduces.

Every loss takes a :class:`PairBatch`, which an exact table and a language model fill alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from paretune.errors import ShapeError


@final
@dataclass(frozen=True)
class PairBatch:
    """Log-probabilities of B preference pairs under the policy and the reference, in nats.

    Args:
        chosen: ``(B,)`` sum of log pi over the tokens of the chosen response.
        rejected: ``(B,)`` the same of the rejected response.
        ref_chosen: ``(B,)`` under the reference policy, no gradient.
        ref_rejected: ``(B,)``.
        chosen_tokens: ``(B,)`` response tokens, >= 1 (an action of a table counts 1).
        rejected_tokens: ``(B,)``.
        labels: ``(B, M)`` in [-1, 1], positive = the chosen response is better on that
            objective, NaN = not labelled.
        weights: ``(B, M)`` trade-off of each pair's user, rows on the simplex; ``None`` = the
            loss brings its own.
        margins: ``(B, M)`` reward of the chosen response minus that of the rejected one, no
            gradient; ``None`` = not known.
    """

    chosen: Tensor
    rejected: Tensor
    ref_chosen: Tensor
    ref_rejected: Tensor
    chosen_tokens: Tensor
    rejected_tokens: Tensor
    labels: Tensor
    weights: Tensor | None = None
    margins: Tensor | None = None

    @property
    def log_ratio_margin(self) -> Tensor:
        """``(B,)`` log-ratio of the chosen response minus that of the rejected one, nats."""
        return (self.chosen - self.ref_chosen) - (self.rejected - self.ref_rejected)

    @property
    def mean_log_ratio_margin(self) -> Tensor:
        """``(B,)`` the same with each log-ratio divided by its number of tokens, nats a token."""
        chosen = (self.chosen - self.ref_chosen) / self.chosen_tokens.clamp(min=1)
        rejected = (self.rejected - self.ref_rejected) / self.rejected_tokens.clamp(min=1)
        return chosen - rejected


def dpo_loss(batch: PairBatch, beta: float) -> Tensor:
    r"""DPO: logistic loss of the log-ratio margin, :math:`-\log\sigma(\beta\,m)`.

    Args:
        batch: B preference pairs.
        beta: strength of the KL penalty, > 0.

    Returns:
        ``(B,)`` losses, >= 0.

    Source:
        Rafailov et al. 2023, Eq. 7.

    Example:
        >>> one, zero = torch.ones(1), torch.zeros(1)
        >>> batch = PairBatch(one, zero, zero, zero, one, one, torch.ones(1, 2))
        >>> dpo_loss(batch, beta=1.0)
        tensor([0.3133])
    """
    return -logsigmoid(_positive(beta) * batch.log_ratio_margin)


def mean_dpo_loss(batch: PairBatch, beta: float) -> Tensor:
    r"""DPO on length-normalized log-ratios (TRL's ``sigmoid_norm``).

    Args:
        batch: B preference pairs.
        beta: slope, > 0, per nat a token.

    Returns:
        ``(B,)`` losses, >= 0.

    Source:
        Lambert et al. 2024 (Tulu 3), Eq. 6.
    """
    return -logsigmoid(_positive(beta) * batch.mean_log_ratio_margin)


def ipo_loss(batch: PairBatch, beta: float) -> Tensor:
    r"""IPO: :math:`(m - 1/(2\beta))^2` with length-normalized log-ratios.

    Args:
        batch: B preference pairs.
        beta: strength of the KL penalty, > 0.

    Returns:
        ``(B,)`` losses, >= 0.

    Source:
        Azar et al. 2023, Eq. 17. Deviation: log-ratios are averaged over tokens, as the authors
        advised later and TRL does; the paper sums.
    """
    return (batch.mean_log_ratio_margin - 1 / (2 * _positive(beta))) ** 2


def weighted_dpo_loss(batch: PairBatch, beta: float, weights: Sequence[float]) -> Tensor:
    r"""Loss-weighted DPO: :math:`\sum_i w_i\,[-\log\sigma(\beta\,s_i\,m)]`.

    The labels :math:`s_i` are taken by sign; a tie costs ``log 2`` and has no gradient. The
    weights of labelled objectives are renormalized per pair, so that a missing label is neither
    a tie nor a discount.

    Args:
        batch: B preference pairs.
        beta: strength of the KL penalty, > 0.
        weights: ``(M,)`` trade-off on the simplex.

    Returns:
        ``(B,)`` losses, >= 0; 0 where no weighted objective is labelled.

    Raises:
        ShapeError: if the number of weights is not the number of label columns.

    Source:
        The "DPO loss weighting" baseline of Zhou et al. 2023 (MODPO), Sec. 4.
    """
    if len(weights) != batch.labels.shape[1]:
        raise ShapeError(f"{len(weights)} weights for {batch.labels.shape[1]} label columns")
    is_labelled = ~torch.isnan(batch.labels)
    signs = torch.nan_to_num(batch.labels).sign()
    w = torch.as_tensor(weights, dtype=batch.chosen.dtype, device=batch.chosen.device)
    w = w * is_labelled
    w = w / w.sum(1, keepdim=True).clamp(min=torch.finfo(w.dtype).tiny)
    margin = _positive(beta) * batch.log_ratio_margin
    return (w * softplus(-signs * margin[:, None])).sum(1)


def _positive(beta: float) -> float:
    if beta <= 0:
        raise ValueError(f"beta must be > 0, found {beta}")
    return beta
