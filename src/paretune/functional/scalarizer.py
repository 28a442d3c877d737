"""The contract of a scalarizer: the losses of a step, one number to descend."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor


@final
@dataclass(frozen=True)
class StepLosses:
    """Losses of all pairs of one optimizer step, over every batch and process.

    Args:
        losses: ``(B, M)`` loss of each pair on each objective, smaller is better; what stands
            where nothing is labelled is not read.
        weights: ``(B, M)`` trade-off of each pair, rows on the simplex over the labelled
            objectives; a row of zeros has no labelled objective that weighs anything.
        is_labelled: ``(B, M)`` bool.
        ideal: ``(B, M)`` the smallest loss worth aiming at, no gradient.
        counts: ``(B,)`` how much each pair counts in a mean, > 0.
    """

    losses: Tensor
    weights: Tensor
    is_labelled: Tensor
    ideal: Tensor
    counts: Tensor


@final
@dataclass(frozen=True)
class Scalarized:
    """What a scalarizer made of a step.

    Args:
        loss: scalar, differentiable with respect to the losses.
        objective_weights: ``(M,)`` derivative of ``loss`` with respect to the mean loss of each
            objective, detached: how much each objective drives the step.
    """

    loss: Tensor
    objective_weights: Tensor


class Scalarizer(ABC):
    """One number from the losses of a step. A concrete one is a final frozen dataclass.

    A scalarizer holds no state: what it learns from step to step is a tensor that the caller
    keeps, saves with checkpoints, and hands back.
    """

    is_separable: ClassVar[bool] = False
    """Whether the loss is a mean over pairs: then batches of a step need not know each other."""

    needs_gradients: ClassVar[bool] = False
    """Whether :meth:`combine` is asked for the weights, with the gradients of the objectives."""

    @abstractmethod
    def __call__(self, step: StepLosses, state: Tensor) -> Scalarized:
        """The loss of a step."""

    def start(self, n_objectives: int) -> Tensor:
        """The state before the first step, ``(S,)`` float64; empty where there is none."""
        return torch.zeros(0, dtype=torch.float64)

    def advance(self, step: StepLosses, state: Tensor) -> Tensor:
        """The state after a step, from its detached losses."""
        return state

    def combine(self, gramian: Tensor, weights: Tensor) -> Tensor:
        """``(M,)`` weights of the mean losses from the inner products of their gradients.

        Args:
            gramian: ``(M, M)`` float64, inner products of the gradients of the mean losses.
            weights: ``(M,)`` trade-off.
        """
        raise NotImplementedError
