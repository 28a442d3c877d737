"""Robust constrained optima on tables: floors that hold for every base distribution near by."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from paretune.errors import InfeasibleError, InputError, RunError
from paretune.functional.constrained import constrained_optimum
from paretune.functional.nonnegative import nonnegative_minimum
from paretune.functional.robust_bound import (
    adversary,
    bound_at,
    kl_ball_bound,
    kl_to_base,
    temperature_gradient,
)
from paretune.functional.robust_dual import RobustDual, RobustOptimum, RobustTables

__all__ = [
    "RobustOptimum",
    "adversary",
    "bound_at",
    "kl_ball_bound",
    "kl_to_base",
    "plug_in_optimum",
    "robust_optimum",
    "temperature_gradient",
]

_COOLING = 4.0


def robust_optimum(
    ref_logps: Tensor,
    primary: Tensor,
    secondary: Tensor,
    floors: Tensor,
    tau: float,
    radius: float,
    context_weights: Tensor | None = None,
) -> RobustOptimum:
    r"""Best policy whose floors hold in the worst case of a KL ball, exactly.

    Solves :math:`\max_w E_m[w p - \tau w\log w]` subject to :math:`LB_k(w) \ge b_k`, where
    :math:`w = \pi/\pi_{ref}`, :math:`m = \nu\,\pi_{ref}` is the distribution of (context, action)
    and :math:`LB_k` the smallest mean of :math:`w q_k` within :math:`\epsilon` of m. The program is
    concave. Its dual has one variable per floor, gradient :math:`LB - b`, and is minimized by
    projected Newton; the policy of each multiplier solves
    :math:`w \propto \exp((p + \sum_k\lambda_k r_k q_k)/\tau)`, with :math:`r_k` the adversary's
    weights of that policy, by Newton steps on :math:`\log w`.

    Args:
        ref_logps: ``(S, A)`` log-probabilities of the reference, in nats; ``-inf`` for actions
            that do not exist.
        primary: ``(S, A)`` values of the objective that is maximized.
        secondary: ``(S, A, C)`` values of the constrained objectives.
        floors: ``(C,)`` in the units of ``secondary``.
        tau: strength of the KL penalty, > 0.
        radius: :math:`\epsilon` of the ball, >= 0 nats; 0 is :func:`constrained_optimum`.
        context_weights: ``(S,)`` probabilities; ``None`` = evenly likely.

    Returns:
        The optimum in float64. Temperatures are at least 1e-5 times the largest value, so that a
        bound stays smooth where the ball holds a single action; there it is conservative by less
        than that times :math:`\log(1/m)`.

    Raises:
        ShapeError: if the shapes do not agree.
        InputError: if ``tau`` or ``radius`` is out of range.
        InfeasibleError: if no policy keeps the floors.

    Source:
        Agnihotri et al. 2025 (MOPO), Eq. 6, solved as it is stated. The source keeps the policy of
        the problem without a ball, in which r is missing (:func:`plug_in_optimum`): not optimal,
        and for larger radii not feasible.
    """
    problem = RobustTables.of(ref_logps, primary, secondary, floors, radius, context_weights)
    if not 0 < tau < math.inf:
        raise InputError(f"robust optimum: found tau {tau}, expected a number > 0")
    # Infeasible on average is infeasible in the worst case, and is told better there.
    average = constrained_optimum(ref_logps, primary, secondary, floors, tau, context_weights)
    if radius == 0:
        return problem.outcome(average.logps[problem.place], average.multipliers, tau)
    spread = float(problem.primary.max() - problem.primary.min())
    n_stages = max(0, math.ceil(math.log(max(tau, spread) / tau) / math.log(_COOLING)))
    multipliers, logits = torch.zeros_like(problem.floors), 0 * problem.ref
    for stage in range(n_stages, -1, -1):
        heat = tau * _COOLING**stage
        dual = RobustDual(problem, heat, logits)
        start = multipliers / (heat * problem.scale)
        lower = dual.lower_bound()
        tolerance = 1e-3 if stage else 1e-13
        x, residual, value = nonnegative_minimum(dual, start[None], lower, tolerance)
        if bool(value < lower):
            raise InfeasibleError(problem.complaint())
        if bool(residual > 1e-7) and not stage:
            raise RunError(f"robust optimum: did not converge, residual {float(residual):.3g}")
        multipliers = x[0] * heat * problem.scale
        logits = dual.solve(multipliers)[0]
    return problem.outcome(problem.log_policy(logits), multipliers, tau)


def plug_in_optimum(
    ref_logps: Tensor,
    primary: Tensor,
    secondary: Tensor,
    floors: Tensor,
    tau: float,
    radius: float,
    context_weights: Tensor | None = None,
    steps: int = 5000,
    rate: float = 0.5,
) -> RobustOptimum:
    r"""The source's robust policy: the policy without a ball, with multipliers of the bound.

    Keeps :math:`w \propto \exp((p + \lambda\cdot q)/\tau)` and moves :math:`\lambda` along
    :math:`b - LB(w_\lambda)`. For comparison only: ``gap`` says how far from the optimum of
    :func:`robust_optimum` it may be, and ``bounds`` whether it keeps its floors at all.

    Args:
        ref_logps: ``(S, A)``.
        primary: ``(S, A)``.
        secondary: ``(S, A, C)``.
        floors: ``(C,)``.
        tau: > 0.
        radius: >= 0 nats.
        context_weights: ``(S,)``; ``None`` = evenly likely.
        steps: of the multipliers at most.
        rate: of each step, in units of ``tau``.

    Source:
        Agnihotri et al. 2025 (MOPO), Eqs. 5 to 7, with the normalizer of every context.
    """
    problem = RobustTables.of(ref_logps, primary, secondary, floors, radius, context_weights)
    multipliers = torch.zeros_like(problem.floors)
    for _ in range(steps):
        logps = problem.tilted(problem.secondary @ multipliers, tau)
        bounds, _ = problem.bounds(logps)
        last = multipliers
        multipliers = (last + rate * tau * (problem.floors - bounds)).clamp_min(0)
        if bool(((multipliers - last).abs() <= 1e-12).all()):
            break
    return problem.outcome(problem.tilted(problem.secondary @ multipliers, tau), multipliers, tau)
