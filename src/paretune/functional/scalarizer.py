"""The contract of a scalarizer: the losses of a step, one number to descend."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
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
        weights: ``(B, M)`` trade-off of each pair's user, rows on the simplex over all objectives,
            labelled or not: a scalarizer over pairs renormalizes them, one over mean losses does
            not, because a mean does not shrink when labels are missing.
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
        loss: scalar, differentiable once with respect to the losses.
        objective_weights: ``(M,)`` what ``loss`` gains when every loss of an objective grows by
            one, detached: how much each objective drives the step.
    """

    loss: Tensor
    objective_weights: Tensor


class Scalarizer(ABC):
    """One number from the losses of a step. A concrete one is a final frozen dataclass.

    A scalarizer holds no state: what it learns from step to step is a tensor that the caller
    keeps, saves with checkpoints, and hands back.
    """

    needs_gradients: ClassVar[bool] = False
    """Whether :meth:`combine` is asked for the weights, with the gradients of the objectives; the
    state of the call is then what it returned."""

    is_joint: ClassVar[bool] = False
    """Whether :meth:`spread` is asked for the weights of several policies that train together; the
    state of the call is then the row of the policy."""

    @property
    def is_separable(self) -> bool:
        """Whether the loss is a mean over pairs and nothing is learned from step to step.

        Then the batches of a step need not know each other.
        """
        return False

    @property
    def takes_losses(self) -> bool:
        """Whether smaller inputs are better; a scalarizer of utilities says no."""
        return True

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
            weights: ``(M,)`` trade-off, 0 where an objective has no mean loss.
        """
        raise NotImplementedError

    def spread(self, mean_losses: Tensor, tradeoffs: Tensor) -> Tensor:
        """``(K, M)`` weights of the mean losses of K policies that share a front.

        Args:
            mean_losses: ``(K, M)`` of the step.
            tradeoffs: ``(K, M)`` what each policy was planned for.
        """
        raise NotImplementedError


def scalarized(value: Callable[[Tensor], Tensor], step: StepLosses) -> Scalarized:
    r"""Value of a function of the losses, its gradient and the weights of the objectives.

    The function is called once, on a copy of the losses; the result is
    :math:`f(L_0) + \langle\nabla f(L_0), L - L_0\rangle` at :math:`L = L_0`, which has the value
    and the gradient of :math:`f`, also where gradients are switched off.

    Args:
        value: maps ``(B, M)`` losses to a scalar; cells that are not labelled reach it as 0.
        step: the losses.
    """
    losses = torch.where(step.is_labelled, step.losses, torch.zeros_like(step.losses))
    with torch.enable_grad():
        leaf = losses.detach().requires_grad_()
        loss = value(leaf)
        (gradient,) = torch.autograd.grad(loss, leaf)
    moved = (gradient * (losses - losses.detach())).sum()
    return Scalarized(loss.detach() + moved, gradient.sum(0))
