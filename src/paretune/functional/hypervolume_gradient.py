"""Several policies spread over a front by the gradient of their hypervolume, without trade-offs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor

from paretune.errors import InputError, ShapeError
from paretune.functional.hypervolume_facets import contributions_and_facets
from paretune.functional.indicators import pareto_rank, require_points
from paretune.functional.ranges import require_number
from paretune.functional.scalarizer import Scalarized, Scalarizer, StepLosses, scalarized
from paretune.functional.step_means import mean_losses as means_of


@final
@dataclass(frozen=True)
class HypervolumeGradient(Scalarizer):
    """K policies that train together and spread over the front by themselves.

    Args:
        reference: above every mean loss, the same for all objectives, > 0. Losses of pairs start at
            log 2 = 0.69; a policy that lets one objective go raises its loss above that.

    Raises:
        ConfigError: if the reference is not positive.

    Source:
        Deist et al. 2021, see :func:`hypervolume_gradient`. Deviation: policies with the same
        losses, as all have at the start, or so close that their volumes are lost in rounding,
        take the weights of their trade-offs; otherwise nothing would ever tell them apart.
    """

    reference: float = 3.0
    is_joint: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_number(self, "reference", above=0)

    def start(self, n_objectives: int) -> Tensor:
        """``(M,)`` even weights, until the first are spread."""
        return torch.full((n_objectives,), 1 / n_objectives, dtype=torch.float64)

    def __call__(self, step: StepLosses, state: Tensor) -> Scalarized:
        """The mean losses with the weights of this policy."""
        return scalarized(lambda losses: (state.to(losses) * means_of(losses, step)).sum(), step)

    def spread(self, mean_losses: Tensor, tradeoffs: Tensor) -> Tensor:
        """``(K, M)`` rows of Euclidean length 1.

        Example:
            >>> losses, corners = torch.tensor([[0.7, 0.7], [0.7, 0.7]]), torch.eye(2)
            >>> HypervolumeGradient().spread(losses, corners)
            tensor([[1., 0.],
                    [0., 1.]])
        """
        weights = hypervolume_gradient(mean_losses, (self.reference,) * mean_losses.shape[1])
        gaps = (mean_losses[:, None] - mean_losses[None]).abs().amax(-1)
        gaps.fill_diagonal_(torch.inf)
        is_copy = (gaps <= _SAME).any(1)
        is_lost = is_copy | (weights.norm(dim=1) == 0)
        planned = tradeoffs / tradeoffs.norm(dim=1, keepdim=True)
        return torch.where(is_lost[:, None], planned.to(weights), weights)


_SAME = 1e-6
"""Mean losses closer than this tell nothing apart."""


def hypervolume_gradient(mean_losses: Tensor, reference: tuple[float, ...]) -> Tensor:
    r"""Weights of the losses of K policies that increase their joint hypervolume.

    The loss of a step is :math:`\sum_{kd} v_{kd} L_{kd}` with
    :math:`v_k \propto -\partial V/\partial L_k` held constant. A dominated policy has no share in
    the volume, so every Pareto layer is taken as if the layers before it were absent. Policies
    with the same losses get the same weights.

    Args:
        mean_losses: ``(K, M)`` mean loss of each policy on each objective, smaller is better.
        reference: ``(M,)`` fixed, above all losses.

    Returns:
        ``(K, M)`` weights >= 0, rows of Euclidean length 1, no gradient; a row of zeros where the
        share of a policy in the volume is lost in rounding.

    Raises:
        ShapeError: if shapes do not agree.
        InputError: if a loss reaches the reference.

    Source:
        Deist et al. 2021, "Multi-Objective Learning to Predict Pareto Fronts Using Hypervolume
        Maximization", Eqs. 6 and 7. Deviation: copies share their weights instead of having none.

    Example:
        >>> hypervolume_gradient(torch.tensor([[0.0, 0.6], [0.2, 0.0]]), (1.0, 1.0))
        tensor([[0.8944, 0.4472],
                [0.6000, 0.8000]])
    """
    values = mean_losses.detach().double().cpu().numpy()
    corner = np.asarray(reference, dtype=np.float64)
    if values.ndim != 2 or values.shape[1:] != corner.shape:
        raise ShapeError(
            f"hypervolume gradient: found losses of shape {values.shape} and a reference of shape "
            f"{corner.shape}, expected (K, M) and (M,)"
        )
    require_points(values, "mean losses")
    if (values >= corner).any():
        row, column = np.argwhere(values >= corner)[0]
        raise InputError(
            f"hypervolume gradient: found a loss of {values[row, column]:.4g} for policy {row} on "
            f"objective {column}, expected it below the reference {corner[column]:.4g}"
        )
    points, copy_of = np.unique(-values, axis=0, return_inverse=True)
    layers = pareto_rank(points)
    weights = np.zeros_like(points)
    for layer in range(layers.max() + 1):
        rows = layers == layer
        _, weights[rows] = contributions_and_facets(points[rows], -corner)
    lengths = np.linalg.norm(weights, axis=1, keepdims=True)
    weights /= np.where(lengths > 0, lengths, 1.0)
    return torch.from_numpy(weights[copy_of.reshape(-1)]).to(mean_losses)
