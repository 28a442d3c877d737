"""Constrained optima under total variation: linear programs that move probability."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from scipy.optimize import linprog
from torch import Tensor

from paretune.errors import RunError
from paretune.functional.constrained_dual import ConstrainedTables

Floats = npt.NDArray[np.float64]


def transported_optimum(tables: ConstrainedTables, tau: float) -> tuple[Tensor, Tensor]:
    r"""Policies and multipliers of the constrained optima under total variation.

    With :math:`\pi = \pi_{ref} + u - d`, where u is what each action gains and d what it gives,
    the divergence is :math:`\tfrac12\sum(u + d)`: everything is linear. One program an instance.

    Args:
        tables: the instances; their floors can be met.
        tau: strength of the penalty, > 0.

    Returns:
        ``(I, S, A)`` log-probabilities and ``(I, C)`` multipliers.

    Raises:
        RunError: if a program does not end.
    """
    found = [_moved(tables, row, tau) for row in range(len(tables.ref))]
    return torch.stack([logps for logps, _ in found]), torch.stack([price for _, price in found])


def _moved(tables: ConstrainedTables, row: int, tau: float) -> tuple[Tensor, Tensor]:
    ref = tables.ref[row]
    is_held = ref.isfinite()
    context = is_held.nonzero()[:, 0].numpy()
    chances, joint = ref[is_held].exp().numpy(), tables.weights[row][context].numpy()
    gain, cuts = tables.primary[row][is_held].numpy() * joint, tables.cuts[row][is_held].numpy()
    cuts = cuts * joint[:, None]
    n = len(chances)
    sums = sparse.csr_array((np.ones(n), (context, np.arange(n))), shape=(len(ref), n))
    result: Any = linprog(
        np.concatenate([tau / 2 * joint - gain, tau / 2 * joint + gain]),
        A_ub=np.concatenate([-cuts.T, cuts.T], axis=1),
        b_ub=cuts.T @ chances,
        A_eq=sparse.hstack([sums, -sums]),
        b_eq=np.zeros(len(ref)),
        bounds=[(0, 1)] * n + [(0, chance) for chance in chances],
        method="highs",
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    if result.status != 0:
        raise RunError(f"constrained optimum, total variation: instance {row}: {result.message}")
    policy = ref.exp()
    policy[is_held] += torch.as_tensor(result.x[:n] - result.x[n:])
    policy = policy.clamp_min(0)
    logps = (policy / policy.sum(-1, keepdim=True)).log()
    return logps, torch.as_tensor(-result.ineqlin.marginals) * tables.scale[row]
