"""One loss for each pair and each objective, from one margin a pair.

Whatever the objectives say about a pair, the policy enters through the margin of the pair and
nothing else: the gradients of one pair's losses are all parallel, and trade-offs arise between
pairs.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from paretune.errors import ConfigError, InputError, ShapeError, nearest
from paretune.functional.losses import PairBatch

Kind = Literal["sigmoid", "ipo", "soft"]
ScoreMode = Literal["signed", "clip", "error"]
Ideal = Literal["margin", "zero"]


def objective_losses(
    batch: PairBatch,
    kind: Kind = "sigmoid",
    beta: float = 5.0,
    is_length_normalized: bool = True,
    score_mode: ScoreMode = "signed",
) -> Tensor:
    """Loss of every pair on every objective: :func:`margin_losses` of the margins of a batch.

    Args:
        batch: B preference pairs.
        kind: ``sigmoid``, ``ipo`` or ``soft``.
        beta: slope of the margin, > 0, per nat (per nat a token when length-normalized).
        is_length_normalized: divide each log-ratio by its number of tokens.
        score_mode: what a negative label means, see :func:`used_labels`.

    Returns:
        ``(B, M)`` losses; 0 without gradient where nothing is labelled.

    Raises:
        InputError: if a label is outside [-1, 1], or negative with ``score_mode="error"``.
        ConfigError: for an unknown word or a ``beta`` that is not positive.

    Source:
        The multi-objective FSPO report, Eqs. 2 and 7; see :func:`margin_losses`.

    Example:
        >>> one, zero = torch.ones(1), torch.zeros(1)
        >>> batch = PairBatch(one, zero, zero, zero, one, one, torch.tensor([[1.0, 0.0, -1.0]]))
        >>> objective_losses(batch, beta=1.0)
        tensor([[0.3133, 0.6931, 1.3133]])
    """
    labels = used_labels(batch.labels, score_mode)
    return margin_losses(margins(batch, is_length_normalized), labels, kind, beta)


def margins(batch: PairBatch, is_length_normalized: bool = True) -> Tensor:
    """``(B,)`` log-ratio margins, in nats or in nats a token."""
    return batch.mean_log_ratio_margin if is_length_normalized else batch.log_ratio_margin


def margin_losses(margins: Tensor, labels: Tensor, kind: Kind, beta: float) -> Tensor:
    r"""Loss of every pair on every objective, from margins.

    With margin :math:`m` and label :math:`s \in [-1, 1]`:

    - ``sigmoid``: :math:`-\log\sigma(\beta s m)`. The label is a slope: any :math:`s > 0` pushes
      the margin without end, a smaller one more slowly; :math:`s = 0` costs :math:`\log 2`.
    - ``ipo``: :math:`(m - s/(2\beta))^2`. The label is a target.
    - ``soft``: :math:`-p\log\sigma(\beta m) - (1-p)\log\sigma(-\beta m)`,
      :math:`p = (1+s)/2`. The label is a probability: :math:`s = 0` pulls the margin to 0.

    At :math:`s = 1` they are DPO, IPO and DPO. Swapping the responses of a pair and the sign of
    its labels changes nothing.

    Args:
        margins: ``(B,)`` log-ratio margins.
        labels: ``(B, M)`` in [-1, 1], NaN = not labelled.
        kind: ``sigmoid``, ``ipo`` or ``soft``.
        beta: slope of the margin, > 0.

    Returns:
        ``(B, M)`` losses >= 0, dtype of the margins; 0 without gradient where nothing is labelled.

    Raises:
        ConfigError: for an unknown kind or a ``beta`` that is not positive.

    Source:
        ``sigmoid``: the multi-objective FSPO report, Eq. 2, with labels continued to [-1, 1] as an
        odd function, because "the rejected response is better on this objective" has no label in
        [0, 1]. ``ipo``: Azar et al. 2023, Eq. 17; with the label in the target its gradient is the
        expected one under label probability :math:`p`. ``soft``: cross-entropy of Bradley-Terry.
    """
    if not beta > 0:
        raise ConfigError(f"objective losses: found beta {beta!r}, expected a number > 0")
    is_labelled = ~torch.isnan(labels)
    s = torch.nan_to_num(labels).to(margins)
    m = margins[:, None]
    if kind == "sigmoid":
        losses = -logsigmoid(beta * s * m)
    elif kind == "ipo":
        losses = (m - s / (2 * beta)) ** 2
    elif kind == "soft":
        p = (1 + s) / 2
        losses = -p * logsigmoid(beta * m) - (1 - p) * logsigmoid(-beta * m)
    else:
        raise ConfigError(f"objective losses: found kind {kind!r}{nearest(kind, get_args(Kind))}")
    return torch.where(is_labelled, losses, torch.zeros_like(losses))


def used_labels(labels: Tensor, score_mode: ScoreMode = "signed") -> Tensor:
    """Labels as the losses use them.

    Args:
        labels: ``(B, M)`` in [-1, 1], positive = the chosen response is better, NaN = not
            labelled.
        score_mode: ``signed`` takes them as they are; ``clip`` reads a negative label as 0, as a
            scale from 0 to 1 must; ``error`` refuses it.

    Returns:
        ``(B, M)``.

    Raises:
        InputError: if a label is outside [-1, 1], or negative where that is refused.
        ConfigError: for an unknown ``score_mode``.
    """
    if score_mode not in get_args(ScoreMode):
        known = nearest(str(score_mode), get_args(ScoreMode))
        raise ConfigError(f"labels: found score_mode {score_mode!r}{known}")
    low = 0 if score_mode == "error" else -1
    wrong = (labels < low) | (labels > 1)
    if wrong.any():
        row, column = (int(i) for i in wrong.nonzero()[0])
        raise InputError(
            f"labels: found {float(labels[row, column])!r} in pair {row}, objective {column}, "
            f"expected [{low}, 1]" + (" with score_mode 'error'" if not low else "")
        )
    # Not clamp on NaN: it keeps them, which is what is wanted.
    return labels.clamp(min=0) if score_mode == "clip" else labels


def ideal_losses(
    labels: Tensor, kind: Kind = "sigmoid", ideal: Ideal = "margin", kappa: float = 6.0
) -> Tensor:
    r"""Smallest loss worth aiming at, which scalarizers of Chebyshev's kind subtract.

    With 0, an objective that calls a pair a tie would stand at :math:`\log 2` for ever, win every
    maximum and stop the training. ``margin`` is the loss that is left once :math:`\beta m` reaches
    :math:`\kappa`: :math:`\log(1 + e^{-\kappa|s|})` for ``sigmoid``, 0 for ``ipo`` and the entropy
    of :math:`(1+s)/2` for ``soft``.

    Args:
        labels: ``(B, M)`` in [-1, 1], NaN = not labelled.
        kind: of the losses.
        ideal: ``margin`` or ``zero``.
        kappa: a margin that is large enough, > 0, times ``beta``.

    Returns:
        ``(B, M)`` in nats; 0 where nothing is labelled.

    Raises:
        ConfigError: for an unknown word or a ``kappa`` that is not positive.

    Example:
        >>> ideal_losses(torch.tensor([[1.0, 0.5, 0.0]]))
        tensor([[0.0025, 0.0486, 0.6931]])
    """
    if ideal not in get_args(Ideal):
        raise ConfigError(f"ideal: found {ideal!r}{nearest(str(ideal), get_args(Ideal))}")
    if kind not in get_args(Kind):
        raise ConfigError(f"ideal: found kind {kind!r}{nearest(str(kind), get_args(Kind))}")
    if not kappa > 0:
        raise ConfigError(f"ideal: found kappa {kappa!r}, expected a number > 0")
    s = torch.nan_to_num(labels)
    if ideal == "zero" or kind == "ipo":
        return torch.zeros_like(s)
    p = (1 + s) / 2
    values = (
        -logsigmoid(kappa * s.abs())
        if kind == "sigmoid"
        else torch.special.entr(p) + torch.special.entr(1 - p)
    )
    return torch.where(torch.isnan(labels), torch.zeros_like(values), values)


def weights_per_pair(weights: Tensor, is_labelled: Tensor) -> Tensor:
    """Trade-off of every pair over its labelled objectives.

    Args:
        weights: ``(M,)`` one for all, or ``(B, M)`` each pair's own; >= 0, not all 0.
        is_labelled: ``(B, M)`` bool.

    Returns:
        ``(B, M)`` rows on the simplex; zeros for a pair that is labelled on no objective of
        positive weight.

    Raises:
        InputError: if a weight is negative, NaN or infinite, or all weights of a row are 0.
        ShapeError: if the shapes do not agree.

    Example:
        >>> labelled = torch.tensor([[True, True, True], [True, False, True]])
        >>> weights_per_pair(torch.tensor([2.0, 1.0, 1.0]), labelled)
        tensor([[0.5000, 0.2500, 0.2500],
                [0.6667, 0.0000, 0.3333]])
    """
    if weights.shape not in (is_labelled.shape, is_labelled.shape[-1:]):
        raise ShapeError(
            f"weights: found shape {tuple(weights.shape)} for labels {tuple(is_labelled.shape)}"
        )
    rows = weights if weights.ndim == 2 else weights[None]
    wrong = ~torch.isfinite(rows) | (rows < 0) | (rows.sum(1, keepdim=True) == 0)
    if wrong.any():
        row = int(wrong.any(1).nonzero()[0])
        raise InputError(
            f"weights: found {rows[row].tolist()} in row {row}, expected finite numbers >= 0, "
            "not all of them 0"
        )
    kept = rows * is_labelled
    total = kept.sum(1, keepdim=True)
    return kept / torch.where(total > 0, total, torch.ones_like(total))
