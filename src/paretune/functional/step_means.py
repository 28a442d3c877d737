"""Means of the losses of a step: over pairs, over objectives, in either order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from paretune.functional.objective_losses import weights_per_pair
from paretune.functional.scalarizer import StepLosses

Reduce = Literal["auto", "batch", "example"]
REDUCE = ("auto", "batch", "example")
Fold = Callable[[Tensor, Tensor, Tensor], Tensor]


def pair_weights(step: StepLosses) -> Tensor:
    """``(B, M)`` weights over the labelled objectives of each pair, rows on the simplex or 0."""
    return weights_per_pair(step.weights, step.is_labelled)


def pair_mean(values: Tensor, step: StepLosses) -> Tensor:
    """Mean of ``(B,)`` values over the pairs that say something; 0 if none does."""
    says = (step.weights * step.is_labelled).sum(1) > 0
    counts = step.counts * says
    total = counts.sum()
    return (torch.where(says, values, 0) * counts).sum() / torch.where(total > 0, total, 1)


def objective_mean(values: Tensor, step: StepLosses) -> Tensor:
    """``(M,)`` mean of ``(B, M)`` values over the pairs labelled on each objective; 0 if none."""
    counts = step.counts[:, None] * step.is_labelled
    total = counts.sum(0)
    return (torch.where(step.is_labelled, values, 0) * counts).sum(0) / torch.where(
        total > 0, total, 1
    )


def mean_weights(step: StepLosses) -> Tensor:
    """``(M,)`` mean weight of each objective over its labelled pairs, on the simplex.

    0 for an objective that no pair is labelled on; all 0 if no pair says anything.
    """
    means = objective_mean(step.weights, step)
    total = means.sum()
    return means / torch.where(total > 0, total, 1)


def mean_losses(losses: Tensor, step: StepLosses) -> Tensor:
    r"""``(M,)`` mean loss of each objective, pairs weighing what their users give the objective.

    :math:`\sum_b w_{bd} L_{bd} / \sum_b w_{bd}`: with one trade-off for all, the plain mean over
    labelled pairs; 0 for an objective that no labelled pair gives weight to.
    """
    weights = step.weights * step.counts[:, None] * step.is_labelled
    total = weights.sum(0)
    return (weights * losses).sum(0) / torch.where(total > 0, total, 1)


def fold_terms(terms: Tensor, step: StepLosses, reduce: Reduce, fold: Fold) -> Tensor:
    """One number from weighted losses: fold the mean terms, or the terms of each pair.

    Args:
        terms: ``(B, M)`` losses, to be multiplied by the weights.
        step: weights, labels and counts.
        reduce: ``batch``: mean over pairs, then fold; ``example``: fold, then mean over pairs.
        fold: maps weighted terms ``(..., M)``, which of them exist, and the number of objectives
            that the weights are spread over, ``(...)``, to ``(...)``.
    """
    if reduce == "example":
        number = step.is_labelled.sum(1).to(terms)
        return pair_mean(fold(pair_weights(step) * terms, step.is_labelled, number), step)
    number = torch.full((), float(terms.shape[1])).to(terms)
    return fold(objective_mean(step.weights * terms, step), step.is_labelled.any(0), number)


def fold_losses(
    losses: Tensor, step: StepLosses, reduce: Reduce, fold: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """One number from losses and weights apart, for scalarizers that are not functions of w L.

    Args:
        losses: ``(B, M)``.
        step: weights, labels and counts.
        reduce: ``batch``: fold the mean losses with the mean weights, so that a pair drives an
            objective by its own weight times what the fold makes of the objective; ``example``:
            fold each pair's losses with its own weights, then mean over pairs.
        fold: maps losses and weights ``(..., M)`` to ``(...)``; must take rows of zero weights.
    """
    if reduce == "example":
        return pair_mean(fold(losses, pair_weights(step)), step)
    return fold(mean_losses(losses, step), mean_weights(step))
