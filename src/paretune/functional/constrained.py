"""Constrained optima on tables: one objective is maximized while the others keep their floors."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from paretune.core.constrained import Divergence
from paretune.errors import InputError
from paretune.functional.constrained_dual import (
    ConstrainedOptimum,
    ConstrainedTables,
    DivergenceDual,
    KLDual,
)
from paretune.functional.generators import generator
from paretune.functional.nonnegative import nonnegative_minimum
from paretune.functional.transport import transported_optimum

__all__ = ["ConstrainedOptimum", "constrained_optimum", "log_barrier_optimum"]

_ROUGH, _CLOSE, _FINE, _ENOUGH = 1e-3, 1e-14, 1e-15, 1e-9
_LEAST_SLACK = 1e-12


def constrained_optimum(
    ref_logps: Tensor,
    primary: Tensor,
    secondary: Tensor,
    floors: Tensor,
    tau: float,
    context_weights: Tensor | None = None,
    divergence: Divergence = "reverse_kl",
    alpha: float = 0.5,
) -> ConstrainedOptimum:
    r"""Best policy for one objective under floors for the others, exactly.

    Solves :math:`\max_\pi E_{\nu,\pi}[p] - \tau E_\nu D(\pi\|\pi_{ref})` subject to
    :math:`E_{\nu,\pi}[q_k] \ge b_k` through its dual. With reverse KL the policy of a multiplier is
    :math:`\pi_\lambda \propto \pi_{ref}\exp((p + \lambda\cdot q)/\tau)` in every context, and

    .. math:: \lambda^* = \arg\min_{\lambda\ge0}\
        \tau E_\nu\log E_{\pi_{ref}}[e^{(p + \lambda\cdot q)/\tau}] - \lambda\cdot b,

    a smooth convex function of a few variables whose gradient is :math:`E[q] - b` and whose
    Hessian is :math:`E_\nu Cov_{\pi_\lambda}(q)/\tau`. One multiplier serves all contexts of an
    instance, because a floor is kept on average over contexts. Under another divergence the
    policy of a multiplier is :func:`paretune.functional.divergences.tilt` and the gradient is the
    same; total variation, whose dual has no second derivative, is a linear program.

    Small tau is reached from a large one, each solution being the start of the next: far from its
    minimum the dual of a small tau is flat.

    Args:
        ref_logps: ``(..., S, A)`` log-probabilities of the reference, in nats; ``-inf`` for
            actions that do not exist. Leading dimensions are independent instances.
        primary: ``(..., S, A)`` values of the objective that is maximized, any unit.
        secondary: ``(..., S, A, C)`` values of the constrained objectives, any unit.
        floors: ``(..., C)`` in the units of ``secondary``.
        tau: strength of the divergence penalty, > 0, in units of ``primary`` per nat.
        context_weights: ``(S,)`` or ``(..., S)`` probabilities of the contexts; ``None`` =
            evenly likely.
        divergence: from the reference.
        alpha: of the alpha divergence, in (0, 1).

    Returns:
        The optimum in float64. Where a floor can only just be met, its multiplier is very large
        instead of infinite.

    Raises:
        ShapeError: if the shapes do not agree.
        InputError: if ``tau`` is not positive or a value of an existing action is not finite.
        InfeasibleError: if no policy keeps the floors of an instance.

    Source:
        Agnihotri et al. 2025 (MOPO), Eqs. 1 to 4, with the normalizer :math:`E_{\pi_{ref}}[w|x]=1`
        that the source leaves out: without it the multipliers of active floors come out 0.

    Example:
        >>> ref = torch.full((1, 3), 1 / 3, dtype=torch.float64).log()
        >>> p, q = torch.tensor([[1.0, 0.5, 0.0]]), torch.tensor([[[0.5], [1.0], [0.0]]])
        >>> found = constrained_optimum(ref, p, q, torch.tensor([2 / 3]), tau=0.1)
        >>> found.logps.exp().numpy().round(4), found.multipliers.numpy().round(4)
        (array([[0.6667, 0.3333, 0.    ]]), array([0.8614]))
    """
    tables = ConstrainedTables.of(ref_logps, primary, secondary, floors, tau, context_weights)
    generator(divergence, alpha)
    # Reverse KL first: it proves that the floors can be met, which others cannot.
    multipliers = _descend(tables, tau, lambda heat: tables.dual(heat), _FINE)
    if divergence == "reverse_kl":
        return tables.optimum(multipliers, tau)
    if divergence == "total_variation":
        logps, multipliers = transported_optimum(tables, tau)
        return tables.optimum(multipliers, tau, divergence, alpha, logps)
    multipliers = _descend(
        tables, tau, lambda heat: DivergenceDual(tables.dual(heat), divergence, alpha), _CLOSE
    )
    return tables.optimum(multipliers, tau, divergence, alpha)


def _descend(
    tables: ConstrainedTables,
    tau: float,
    dual_at: Callable[[float], KLDual] | Callable[[float], DivergenceDual],
    tolerance: float,
) -> Tensor:
    """``(I, C)`` multipliers of the optimum, through falling values of tau."""
    multipliers = torch.zeros_like(tables.floors)
    residual = multipliers.sum(-1)
    for heat in tables.stages(tau):
        dual = dual_at(heat)
        lower = dual.lower_bound()
        start = multipliers / (heat * tables.scale)
        x, residual, value = nonnegative_minimum(
            dual, start, lower, tolerance if heat == tau else _ROUGH
        )
        tables.require_floors(value < lower)
        multipliers = x * heat * tables.scale
    tables.require_floors(residual > _ENOUGH)
    return multipliers


def log_barrier_optimum(
    ref_logps: Tensor,
    primary: Tensor,
    secondary: Tensor,
    floors: Tensor,
    tau: float,
    barrier: float,
    context_weights: Tensor | None = None,
) -> ConstrainedOptimum:
    r"""Best policy when floors push back before they are reached.

    Solves :math:`\max_\pi E_{\nu,\pi}[p] - \tau E_\nu KL(\pi\|\pi_{ref}) +
    \sigma\sum_k\log(E[q_k] - b_k)`. Its policy has the form of :func:`constrained_optimum` with
    :math:`\lambda_k = \sigma/(E[q_k] - b_k)`: every floor is kept with room to spare, and no floor
    is without a price. The value is below the constrained optimum by at most
    :math:`C\sigma`.

    Args:
        ref_logps: ``(..., S, A)`` log-probabilities, in nats; ``-inf`` for absent actions.
        primary: ``(..., S, A)``.
        secondary: ``(..., S, A, C)``.
        floors: ``(..., C)``.
        tau: > 0.
        barrier: :math:`\sigma` > 0, in units of ``primary``.
        context_weights: ``(S,)`` or ``(..., S)`` probabilities; ``None`` = evenly likely.

    Returns:
        The optimum; ``value`` without the barrier, ``gap`` :math:`=C\sigma` the bound on what it
        costs.

    Raises:
        ShapeError: if the shapes do not agree.
        InputError: if ``tau`` or ``barrier`` is not positive.
        InfeasibleError: if no policy exceeds every floor of an instance.

    Source:
        The log-barrier variant of Agnihotri et al. 2025 (MOPO), here through its dual
        :math:`\min_{\lambda>0} g(\lambda) - \sigma\sum_k\log\lambda_k`, which needs no feasible
        start.

    Example:
        >>> ref = torch.full((1, 3), 1 / 3, dtype=torch.float64).log()
        >>> p, q = torch.tensor([[1.0, 0.5, 0.0]]), torch.tensor([[[0.5], [1.0], [0.0]]])
        >>> found = log_barrier_optimum(ref, p, q, torch.tensor([0.6]), tau=0.1, barrier=0.01)
        >>> (found.multipliers * (found.constraints - 0.6)).numpy().round(6)
        array([0.01])
    """
    if not 0 < barrier < math.inf:
        raise InputError(f"log barrier: found weight {barrier}, expected a number > 0")
    tables = ConstrainedTables.of(ref_logps, primary, secondary, floors, tau, context_weights)
    # No slack exceeds the range of its constraint, which is 1 here: these start below.
    multipliers = barrier * tables.scale
    residual = multipliers.sum(-1)
    for heat in tables.stages(tau):
        start = multipliers / (heat * tables.scale)
        dual = _Barrier(tables.dual(heat), barrier / heat)
        lower = torch.full_like(residual, -math.inf)
        x, residual, _ = nonnegative_minimum(
            dual, start, lower, _FINE if heat == tau else _ROUGH, reach=0.9
        )
        # A slack below rounding errors is none.
        tables.require_floors((x * _LEAST_SLACK > barrier / heat).any(-1))
        multipliers = x * heat * tables.scale
    tables.require_floors(residual > _ENOUGH)
    return tables.optimum(multipliers, tau)


@final
@dataclass(frozen=True)
class _Barrier:
    """Dual functions with a log barrier for their variables."""

    dual: KLDual
    weight: float

    def at(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        value, gradient, hessian = self.dual.at(x)
        return (
            value - self.weight * x.log().sum(-1),
            gradient - self.weight / x,
            hessian + torch.diag_embed(self.weight / x**2),
        )

    def take(self, rows: Tensor) -> _Barrier:
        return _Barrier(self.dual.take(rows), self.weight)
