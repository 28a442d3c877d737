"""Several policies spread over a front by the gradient of their hypervolume, without trade-offs."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from paretune.errors import InputError, ShapeError
from paretune.functional.hypervolume_facets import contributions_and_facets
from paretune.functional.indicators import pareto_rank, require_points


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
        ``(K, M)`` weights >= 0, rows of Euclidean length 1, no gradient.

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
    weights /= np.linalg.norm(weights, axis=1, keepdims=True)
    return torch.from_numpy(weights[copy_of.reshape(-1)]).to(mean_losses)
