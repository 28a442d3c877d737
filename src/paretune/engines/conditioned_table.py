"""Conditioned policies of a table: parameters that are linear in the trade-off, fitted to all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from paretune.core.job import TrainingJob
from paretune.engines.minimize import minimize
from paretune.engines.table_pairs import TablePairs
from paretune.errors import InputError
from paretune.functional.dirichlet import dirichlet_nodes
from paretune.functional.scalarized_loss import ScalarizedLoss

_ORDER = {2: 8, 3: 6}
"""Nodes an objective; with more objectives 4. More change nothing that tests or claims see."""


def fit_conditioned(job: TrainingJob, pairs: TablePairs, start: Tensor, tolerance: float) -> Tensor:
    r"""Parameters of every corner whose mixtures minimize the expected loss over trade-offs.

    What a low-rank adapter is to a network, :math:`\theta(\lambda) = C + \sum_i \lambda_i V_i` is
    to a table. Weights sum to 1, so :math:`C` is part of the :math:`V_i`, and
    :math:`\theta(\lambda) = \sum_i \lambda_i \theta_i`. The rank of an adapter has no counterpart:
    every update of a table is attainable. The expectation over trade-offs is a sum over the nodes
    of :func:`~paretune.functional.dirichlet.dirichlet_nodes`.

    Args:
        job: pairwise, with an adapter and a ``ScalarizedLoss`` without weights.
        pairs: of the job.
        start: ``(D,)`` parameters of a policy, or ``(M D,)`` of a conditioned one.
        tolerance: largest entry of the gradient at the end.

    Returns:
        ``(M D,)`` parameters at the corners, one after the other.

    Raises:
        InputError: if the loss is of another kind.
        RunError: if it does not converge, as with the kinks of a plain maximum.
    """
    adapter, loss = job.adapter, job.step_loss
    if adapter is None or not isinstance(loss, ScalarizedLoss) or loss.weights is not None:
        raise InputError(
            f"job {job.id!r}: found {loss!r}, expected an adapter and a ScalarizedLoss without "
            "weights"
        )
    n_objectives = pairs.labels.shape[1]
    order = _ORDER.get(n_objectives, 4)
    nodes, shares = map(
        torch.as_tensor, dirichlet_nodes(n_objectives, adapter.concentration, order)
    )
    state = loss.scalarizer.start(n_objectives)

    def mean_loss(parameters: Tensor) -> Tensor:
        corners = parameters.view(n_objectives, -1)
        total = torch.zeros((), dtype=parameters.dtype)
        for node, share in zip(nodes, shares, strict=True):
            batch = replace(pairs.batch(node @ corners), weights=node.expand_as(pairs.labels))
            total = total + share * loss(batch, state, pairs.counts).loss
        return total

    length = pairs.model.start().numel()
    first = start if start.numel() > length else start.repeat(n_objectives)
    return minimize(mean_loss, first, tolerance, job.id)


def at_tradeoff(parameters: Tensor, weights: Sequence[float], length: int) -> Tensor:
    """``(D,)`` parameters of a policy at a trade-off; those of a plain policy as they are.

    Args:
        parameters: ``(D,)``, or ``(M D,)`` as :func:`fit_conditioned` returns them.
        weights: ``(M,)`` the trade-off.
        length: D.

    Example:
        >>> at_tradeoff(torch.tensor([0.0, 4.0, 1.0, 0.0]), (0.25, 0.75), 2)
        tensor([0.7500, 1.0000])
    """
    if parameters.numel() == length:
        return parameters
    return torch.as_tensor(weights, dtype=parameters.dtype) @ parameters.view(-1, length)
