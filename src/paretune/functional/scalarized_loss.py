"""The loss of a step: one loss per objective, ideal and weights, given to a scalarizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final, get_args

import torch
from torch import Tensor

from paretune.errors import ConfigError, InputError, ShapeError
from paretune.functional.losses import PairBatch
from paretune.functional.objective_losses import (
    Ideal,
    Kind,
    ScoreMode,
    ideal_losses,
    margin_losses,
    margins,
    used_labels,
    weights_per_pair,
)
from paretune.functional.ranges import require_number, require_word
from paretune.functional.scalarizer import Scalarized, Scalarizer, StepLosses
from paretune.functional.scalarizers import Linear
from paretune.functional.step_means import mean_losses

Stage = Literal["loss", "score"]


@final
@dataclass(frozen=True)
class ScalarizedLoss:
    r"""Losses on several objectives, scalarized: the loss of multi-objective FSPO.

    The policy enters through the margin of each pair and nothing else. A loss that needs the whole
    step can so be trained in small batches, exactly: one pass without gradient gives all margins,
    :meth:`cotangents` the derivative :math:`a_b` of the loss with respect to each, and a second
    pass descends :math:`\sum_b a_b m_b` batch by batch.

    Args:
        scalarizer: how the losses of the objectives become one number.
        weights: ``(M,)`` trade-off, normalized here; ``None`` = each pair brings its user's.
        kind: ``sigmoid``, ``ipo`` or ``soft``, see
            :func:`~paretune.functional.objective_losses.margin_losses`.
        beta: slope of the margin, > 0. Margins per token are about a hundred times smaller than
            sums: 5 suits the first, 0.1 the second.
        is_length_normalized: divide each log-ratio by its number of tokens.
        score_mode: what a negative label means: ``signed``, ``clip`` or ``error``.
        stage: ``loss`` scalarizes losses; ``score`` first averages the labels of a pair by its
            weights and takes one loss, which leaves nothing to any scalarizer but a weighted sum.
        ideal: ``margin`` or ``zero``, what Chebyshev's kind subtracts.
        kappa: margin times ``beta`` that is large enough for the ideal, > 0.

    Raises:
        ConfigError: for a field out of range, a scalarizer of utilities, or ``stage="score"``
            with a scalarizer that is not a weighted sum over pairs.

    Source:
        The multi-objective FSPO report, Sec. 3. Deviations: signed labels, an ideal above 0.

    Example:
        >>> one, zero = torch.ones(1), torch.zeros(1)
        >>> batch = PairBatch(one, zero, zero, zero, one, one, torch.tensor([[1.0, -1.0]]))
        >>> loss = ScalarizedLoss(Linear(), weights=(0.75, 0.25), beta=1.0)
        >>> loss(batch, loss.scalarizer.start(2))
        Scalarized(loss=tensor(0.5633), objective_weights=tensor([0.7500, 0.2500]))
    """

    scalarizer: Scalarizer
    weights: tuple[float, ...] | None
    kind: Kind = "sigmoid"
    beta: float = 5.0
    is_length_normalized: bool = True
    score_mode: ScoreMode = "signed"
    stage: Stage = "loss"
    ideal: Ideal = "margin"
    kappa: float = 6.0

    def __post_init__(self) -> None:
        require_word(self, "kind", get_args(Kind))
        require_number(self, "beta", above=0)
        require_word(self, "score_mode", get_args(ScoreMode))
        require_word(self, "stage", get_args(Stage))
        require_word(self, "ideal", get_args(Ideal))
        require_number(self, "kappa", above=0)
        if self.weights is not None:
            everything = torch.ones(1, len(self.weights), dtype=torch.bool)
            weights_per_pair(torch.tensor(self.weights, dtype=torch.float64), everything)
        if not self.scalarizer.takes_losses:
            raise ConfigError(f"scalarized loss: found {self.scalarizer!r}, which takes utilities")
        is_sum = isinstance(self.scalarizer, Linear) and self.scalarizer.is_separable
        if self.stage == "score" and not is_sum:
            raise ConfigError(
                f"scalarized loss: found stage 'score' with {self.scalarizer!r}; one loss a pair "
                "is left, expected Linear over pairs"
            )

    def __call__(self, batch: PairBatch, state: Tensor, counts: Tensor | None = None) -> Scalarized:
        """The loss of a batch that is a whole step.

        Args:
            batch: all pairs of the step.
            state: of the scalarizer.
            counts: ``(B,)`` how much each pair counts; ``None`` = all alike.

        Returns:
            A scalar, differentiable with respect to the policy, and the weights of the objectives.
        """
        return self.scalarizer(self.step(batch, counts), state)

    def margins(self, batch: PairBatch) -> Tensor:
        """``(B,)`` log-ratio margins: all that the loss sees of the policy."""
        return margins(batch, self.is_length_normalized)

    def step(self, batch: PairBatch, counts: Tensor | None = None) -> StepLosses:
        """What the scalarizer is given for a batch; arguments as those of a call."""
        return self.step_at(self.margins(batch), batch.labels, batch.weights, counts)

    def step_at(
        self,
        margins: Tensor,
        labels: Tensor,
        weights: Tensor | None = None,
        counts: Tensor | None = None,
    ) -> StepLosses:
        """What the scalarizer is given at some margins.

        Args:
            margins: ``(B,)`` from :meth:`margins`, of all batches of the step.
            labels: ``(B, M)`` in [-1, 1], NaN = not labelled.
            weights: ``(B, M)`` trade-offs of the users; not read where the loss has its own.
            counts: ``(B,)`` how much each pair counts; ``None`` = all alike.

        Returns:
            Losses that are differentiable with respect to the margins; rest without gradient.

        Raises:
            InputError: if a label or a weight is out of range, or weights are missing.
            ShapeError: if shapes do not agree.
        """
        is_labelled = ~torch.isnan(labels)
        rows = self._rows(labels, weights).to(margins)
        used = used_labels(labels, self.score_mode).to(margins)
        if self.stage == "score":
            shares = weights_per_pair(rows, is_labelled)
            mean = (shares * torch.nan_to_num(used)).sum(1, keepdim=True)
            used = torch.where(is_labelled, mean, used)
        return StepLosses(
            margin_losses(margins, used, self.kind, self.beta),
            rows,
            is_labelled,
            ideal_losses(used, self.kind, self.ideal, self.kappa),
            torch.ones_like(margins) if counts is None else counts.to(margins),
        )

    def cotangents(
        self,
        margins: Tensor,
        labels: Tensor,
        weights: Tensor | None,
        state: Tensor,
        counts: Tensor | None = None,
    ) -> Tensor:
        """``(B,)`` derivative of the loss with respect to the margin of each pair.

        Args:
            margins: ``(B,)`` of all pairs of the step, from a pass without gradient.
            labels: ``(B, M)``.
            weights: ``(B, M)`` or ``None``.
            state: of the scalarizer.
            counts: ``(B,)`` or ``None``.

        Source:
            The chain rule; the losses of all pairs depend on the policy through B numbers.

        Example:
            >>> loss = ScalarizedLoss(Linear(), weights=(1.0,), beta=1.0)
            >>> labels = torch.tensor([[1.0], [-1.0]])
            >>> loss.cotangents(torch.tensor([0.0, 0.0]), labels, None, torch.zeros(0))
            tensor([-0.2500,  0.2500])
        """
        with torch.enable_grad():
            leaf = margins.detach().requires_grad_()
            loss = self.scalarizer(self.step_at(leaf, labels, weights, counts), state).loss
            (found,) = torch.autograd.grad(loss, leaf)
        return found

    def objective_cotangents(
        self,
        margins: Tensor,
        labels: Tensor,
        weights: Tensor | None = None,
        counts: Tensor | None = None,
    ) -> Tensor:
        """``(M, B)`` derivative of the mean loss of each objective with respect to each margin.

        Times the ``(B, P)`` derivatives of the margins it gives the gradients of the objectives,
        whose inner products a scalarizer that needs gradients combines. Arguments as those of
        :meth:`cotangents`.
        """
        with torch.enable_grad():
            leaf = margins.detach().requires_grad_()
            step = self.step_at(leaf, labels, weights, counts)
            means = mean_losses(step.losses, step)
            rows = [torch.autograd.grad(one, leaf, retain_graph=True)[0] for one in means]
        return torch.stack(rows)

    def _rows(self, labels: Tensor, weights: Tensor | None) -> Tensor:
        """``(B, M)`` trade-off of every pair over all objectives."""
        found: Tensor | Sequence[float] | None = self.weights if self.weights else weights
        if found is None:
            raise InputError(
                "scalarized loss: found pairs without weights, expected their users' trade-offs, "
                "or a loss with its own"
            )
        rows = torch.as_tensor(found, dtype=torch.float64, device=labels.device)
        if rows.shape[-1] != labels.shape[1]:
            raise ShapeError(
                f"scalarized loss: {rows.shape[-1]} weights for {labels.shape[1]} label columns"
            )
        return weights_per_pair(rows, torch.ones_like(labels, dtype=torch.bool))
