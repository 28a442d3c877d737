"""Robust constrained optima on tables: floors that hold for every base distribution near by."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from paretune.errors import InfeasibleError, InputError, RunError, ShapeError
from paretune.functional.constrained import constrained_optimum
from paretune.functional.nonnegative import nonnegative_minimum
from paretune.functional.robust_bound import (
    adversary,
    bound_at,
    kl_ball_bound,
    kl_to_base,
    temperature_gradient,
)

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
_STEPS, _HALVINGS = 200, 25
_COLDEST = 1e-5
_NOISE = 1e-13
_STILL, _SHORT, _FAR = 1e-13, 1e-6, 10.0


@final
@dataclass(frozen=True)
class RobustOptimum:
    """A policy, its multipliers and temperatures, and how far from optimal they can be.

    Args:
        logps: ``(S, A)`` log-probabilities of the policy, in nats.
        multipliers: ``(C,)`` price of each floor, >= 0.
        temperatures: ``(C,)`` of the adversary of each floor, in the unit of its values.
        primary: expected value of the primary objective.
        constraints: ``(C,)`` expected values of the constrained objectives.
        bounds: ``(C,)`` their robust lower bounds.
        value: ``primary`` minus tau times the divergence from the reference.
        gap: an upper bound on the value of every policy that keeps the floors robustly, minus
            ``value``; 0 up to rounding at an optimum, and only there.
    """

    logps: Tensor
    multipliers: Tensor
    temperatures: Tensor
    primary: Tensor
    constraints: Tensor
    bounds: Tensor
    value: Tensor
    gap: Tensor


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
    problem = _Problem.of(ref_logps, primary, secondary, floors, radius, context_weights)
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
        dual = _RobustDual(problem, heat, logits)
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
    problem = _Problem.of(ref_logps, primary, secondary, floors, radius, context_weights)
    multipliers = torch.zeros_like(problem.floors)
    for _ in range(steps):
        logps = problem.tilted(problem.secondary @ multipliers, tau)
        bounds, _ = problem.bounds(logps)
        last = multipliers
        multipliers = (last + rate * tau * (problem.floors - bounds)).clamp_min(0)
        if bool(((multipliers - last).abs() <= 1e-12).all()):
            break
    return problem.outcome(problem.tilted(problem.secondary @ multipliers, tau), multipliers, tau)


@final
@dataclass(frozen=True)
class _Problem:
    """Existing (context, action) cells in one row of length n, with their base probabilities."""

    place: Tensor
    context: Tensor
    ref: Tensor
    base: Tensor
    primary: Tensor
    secondary: Tensor
    floors: Tensor
    scale: Tensor
    radius: float

    @classmethod
    def of(
        cls,
        ref_logps: Tensor,
        primary: Tensor,
        secondary: Tensor,
        floors: Tensor,
        radius: float,
        context_weights: Tensor | None,
    ) -> _Problem:
        table = tuple(ref_logps.shape)
        is_fine = len(table) == 2 and primary.shape == table and secondary.shape[:-1] == table
        if not is_fine or floors.shape != secondary.shape[2:]:
            raise ShapeError(
                f"robust optimum: found reference {table}, primary {tuple(primary.shape)}, "
                f"secondary {tuple(secondary.shape)} and floors {tuple(floors.shape)}, expected "
                "(S, A), (S, A), (S, A, C) and (C,)"
            )
        if not radius >= 0:
            raise InputError(f"robust optimum: found radius {radius}, expected >= 0 nats")
        place = ref_logps.isfinite()
        n_contexts = len(ref_logps)
        weights = torch.full((n_contexts,), 1 / n_contexts, dtype=torch.float64)
        weights = weights if context_weights is None else context_weights.double()
        ref = ref_logps.double()[place]
        context = place.nonzero()[:, 0]
        cells = secondary.double()[place]
        span = cells.abs().amax(0)
        return cls(
            place,
            context,
            ref,
            weights[context] * ref.exp(),
            primary.double()[place],
            cells,
            floors.double(),
            1 / torch.where(span > 0, span, 1.0),
            radius,
        )

    def log_policy(self, logits: Tensor) -> Tensor:
        """``(n,)`` log-probabilities of the policy with some logits relative to the reference."""
        table = torch.full(self.place.shape, -math.inf, dtype=torch.float64)
        table[self.place] = self.ref + logits
        return table.log_softmax(-1)[self.place]

    def tilted(self, bonus: Tensor, tau: float) -> Tensor:
        return self.log_policy((self.primary + bonus) / tau)

    def bounds(self, logps: Tensor) -> tuple[Tensor, Tensor]:
        """Lower bounds and temperatures, ``(C,)``, of the values of a policy."""
        values = (logps - self.ref).exp() * self.secondary.mT
        bound, chi = kl_ball_bound(values, self.base, self.radius)
        coldest = _COLDEST / self.scale
        if bool((chi >= coldest).all()):
            return bound, chi
        chi = torch.maximum(chi, coldest)
        return bound_at(values, self.base, chi, self.radius), chi

    def value(self, logps: Tensor, tau: float) -> tuple[Tensor, Tensor]:
        """Expected primary value, and what is left of it after the penalty."""
        ratio = (logps - self.ref).exp()
        reached = (self.base * ratio * self.primary).sum()
        penalty = (self.base * torch.special.xlogy(ratio, ratio)).sum()
        return reached, reached - tau * penalty

    def outcome(self, logps: Tensor, multipliers: Tensor, tau: float) -> RobustOptimum:
        """Everything about a policy; the gap by the adversary's weights, which prove a bound."""
        bounds, chi = self.bounds(logps)
        ratio = (logps - self.ref).exp()
        weights = adversary(ratio * self.secondary.mT, self.base, chi).mT
        worst = (self.secondary * weights) @ multipliers
        table = torch.full(self.place.shape, -math.inf, dtype=torch.float64)
        table[self.place] = self.ref + (self.primary + worst) / tau
        context_weights = torch.zeros(len(table), dtype=torch.float64)
        context_weights.index_add_(0, self.context, self.base)
        dual = tau * (context_weights * table.logsumexp(-1)).sum() - multipliers @ self.floors
        # Adversaries of temperatures above the best one are inside the ball only.
        reached, value = self.value(logps, tau)
        whole = torch.full(self.place.shape, -math.inf, dtype=torch.float64)
        whole[self.place] = logps
        constraints = (self.base * ratio) @ self.secondary
        return RobustOptimum(
            whole, multipliers, chi, reached, constraints, bounds, value, dual - value
        )

    def complaint(self) -> str:
        asked = ", ".join(f"{x:.4g}" for x in self.floors.tolist())
        return (
            f"robust optimum: floors {asked} can be met on average, but no policy meets them in "
            f"the worst case of a ball of radius {self.radius:g} nats; lower the floors (adaptive "
            "floors start at what the reference reaches in the worst case) or the radius"
        )


@final
@dataclass
class _RobustDual:
    """The dual function of the floors in units of tau; ``logits`` of its last policy, to start."""

    problem: _Problem
    tau: float
    logits: Tensor = field(repr=False)

    def at(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        problem = self.problem
        multipliers = x[0] * self.tau * problem.scale
        logits, value, bounds, curve = self.solve(multipliers)
        self.logits = logits
        gradient = (bounds - problem.floors) * problem.scale
        hessian = curve * self.tau * problem.scale * problem.scale[:, None]
        return (value / self.tau)[None], gradient[None], hessian[None]

    def take(self, rows: Tensor) -> _RobustDual:
        return self

    def lower_bound(self) -> Tensor:
        """What any policy is worth: the worst action for certain."""
        problem, total = self.problem, torch.zeros(len(self.problem.place), dtype=torch.float64)
        total.index_add_(0, problem.context, problem.base)
        worst = torch.full(problem.place.shape, math.inf, dtype=torch.float64)
        worst[problem.place] = problem.primary / self.tau + problem.ref
        return (total * worst.amin(-1)).sum()[None] - 1e-6

    def solve(self, multipliers: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Best policy for some multipliers: its logits, value, bounds, and the dual's curvature."""
        logits = self.logits
        logps = self.problem.log_policy(logits)
        value, bounds, chi = self._lagrangian(logps, multipliers)
        last = math.inf
        for _ in range(_STEPS):
            step, gain, _ = self._newton(logps, multipliers, chi)
            length = float(step.abs().max())
            # Below rounding of the value Newton's full step is trusted, as long as steps shrink.
            size_of_terms = multipliers @ (bounds.abs() + self.problem.floors.abs())
            is_noise = float(gain) <= _NOISE * (1 + float(value.abs() + size_of_terms))
            if length <= _STILL or (length <= _SHORT and is_noise and length > last / 2):
                break
            # Far steps in log-probabilities overshoot into a corner where nothing is measurable.
            size, last = min(1.0, _FAR / length), length
            for _ in range(_HALVINGS):
                new_logps = self.problem.log_policy(logps - self.problem.ref + size * step)
                new = self._lagrangian(new_logps, multipliers)
                if is_noise or bool(new[0] > value + 1e-4 * size * gain):
                    break
                size /= 2
            logps, (value, bounds, chi) = new_logps, new
        _, _, curve = self._newton(logps, multipliers, chi)
        return logps - self.problem.ref, value, bounds, curve

    def _lagrangian(self, logps: Tensor, multipliers: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        bounds, chi = self.problem.bounds(logps)
        _, value = self.problem.value(logps, self.tau)
        return value + multipliers @ (bounds - self.problem.floors), bounds, chi

    def _newton(
        self, logps: Tensor, multipliers: Tensor, chi: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Newton step of the log-ratios, its promised gain, and the curvature of the dual.

        In variables :math:`y = \\sqrt{j}\\,d\\log w` with j the joint probability, the negative
        Hessian is tau plus, for each floor, a diagonal less two products: one because the
        adversary's weights have mean 1, one because its temperature follows.
        """
        problem = self.problem
        log_ratio = logps - problem.ref
        ratio = log_ratio.exp()
        joint = problem.base * ratio
        root = joint.sqrt()
        values = ratio * problem.secondary.mT
        weights = adversary(values, problem.base, chi)
        pull = problem.primary + multipliers @ (weights * problem.secondary.mT)
        pull = pull - self.tau * log_ratio
        rate = multipliers / chi
        slope = weights * problem.secondary.mT
        lean = values - (problem.base * weights * values).sum(-1, keepdim=True)
        variance = (problem.base * weights * lean**2).sum(-1)
        is_free = (variance > 0) & (chi > _COLDEST / problem.scale)
        diagonal = self.tau + rate @ (slope * values)
        follow = torch.where(is_free, rate / torch.where(is_free, variance, 1.0), 0.0)
        products = torch.cat([slope, slope * lean]) * root
        size = torch.cat([rate, follow])
        n_contexts = len(problem.place)
        sums = torch.zeros(len(root), n_contexts, dtype=torch.float64)
        sums[torch.arange(len(root)), problem.context] = root
        matrix = torch.diag(diagonal) - (products.mT * size) @ products
        corner = torch.zeros(n_contexts, n_contexts, dtype=torch.float64)
        system = torch.cat([torch.cat([matrix, sums], 1), torch.cat([sums.mT, corner], 1)])
        targets = torch.cat([(root * pull)[None], slope * root]).mT
        targets = torch.cat([targets, torch.zeros(n_contexts, targets.shape[1])])
        solved = torch.linalg.solve(system, targets)
        y, shift = solved[: len(root)], solved[len(root) :, 0]
        # From the equation of each cell: also where its probability is 0 to machine precision.
        pushed = (torch.cat([slope, slope * lean]).mT * size) @ (products @ y[:, 0])
        step = (pull - shift[problem.context] + pushed) / diagonal
        curve = (slope * root) @ y[:, 1:]
        return step, (root * pull) @ y[:, 0], (curve + curve.mT) / 2
