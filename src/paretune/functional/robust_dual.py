"""The dual of a robust constrained optimum on a table, and the policies of its multipliers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from paretune.errors import InputError, ShapeError
from paretune.functional.robust_bound import adversary, bound_at, kl_ball_bound

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


@final
@dataclass(frozen=True)
class RobustTables:
    """One instance, its existing (context, action) cells in one row of length n.

    Args:
        place: ``(S, A)`` which cells exist.
        context: ``(n,)`` context of each.
        ref: ``(n,)`` log-probabilities of the reference.
        base: ``(n,)`` probability of the context times that of the action.
        primary: ``(n,)``.
        secondary: ``(n, C)``.
        floors: ``(C,)``.
        scale: ``(C,)`` one over the largest absolute value of each constraint.
        radius: of the ball, in nats.
    """

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
    ) -> RobustTables:
        """Check the arguments of a robust optimum and keep the cells that exist."""
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
        """The policy of the primary values with a bonus ``(n,)``."""
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

    def solve_normalized(
        self, matrix: Tensor, root: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Solutions ``(n, T)`` that keep every context's sum of probabilities, and its prices."""
        n, n_contexts = len(root), len(self.place)
        sums = torch.zeros(n, n_contexts, dtype=torch.float64)
        sums[torch.arange(n), self.context] = root
        corner = torch.zeros(n_contexts, n_contexts, dtype=torch.float64)
        system = torch.cat([torch.cat([matrix, sums], 1), torch.cat([sums.mT, corner], 1)])
        rest = torch.zeros(n_contexts, targets.shape[1], dtype=torch.float64)
        solved = torch.linalg.solve(system, torch.cat([targets, rest]))
        return solved[:n], solved[n:]

    def complaint(self) -> str:
        """Why there is no policy, where there is one on average."""
        asked = ", ".join(f"{x:.4g}" for x in self.floors.tolist())
        return (
            f"robust optimum: floors {asked} can be met on average, but no policy meets them in "
            f"the worst case of a ball of radius {self.radius:g} nats; lower the floors (adaptive "
            "floors start at what the reference reaches in the worst case) or the radius"
        )


@final
@dataclass
class RobustDual:
    """The dual function of the floors in units of tau; ``logits`` of its last policy, to start."""

    problem: RobustTables
    tau: float
    logits: Tensor = field(repr=False)

    def at(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Value, gradient and Hessian at ``(1, C)``."""
        problem = self.problem
        multipliers = x[0] * self.tau * problem.scale
        logits, value, bounds, curve = self.solve(multipliers)
        self.logits = logits
        gradient = (bounds - problem.floors) * problem.scale
        hessian = curve * self.tau * problem.scale * problem.scale[:, None]
        return (value / self.tau)[None], gradient[None], hessian[None]

    def take(self, rows: Tensor) -> RobustDual:
        """Itself: there is a single instance."""
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
        r"""Newton step of the log-ratios, its promised gain, and the curvature of the dual.

        In variables :math:`y = \sqrt{j}\,d\log w` with j the joint probability, the negative
        Hessian is tau plus, for each floor, a diagonal less two products: one because the
        adversary's weights have mean 1, one because its temperature follows.
        """
        problem = self.problem
        log_ratio = logps - problem.ref
        ratio = log_ratio.exp()
        root = (problem.base * ratio).sqrt()
        values = ratio * problem.secondary.mT
        weights = adversary(values, problem.base, chi)
        slope = weights * problem.secondary.mT
        pull = problem.primary + multipliers @ slope - self.tau * log_ratio
        rate = multipliers / chi
        lean = values - (problem.base * weights * values).sum(-1, keepdim=True)
        variance = (problem.base * weights * lean**2).sum(-1)
        follows = (variance > 0) & (chi > _COLDEST / problem.scale)
        diagonal = self.tau + rate @ (slope * values)
        size = torch.cat([rate, torch.where(follows, rate / variance.clamp_min(1e-300), 0.0)])
        products = torch.cat([slope, slope * lean])
        matrix = torch.diag(diagonal) - (root * products).mT * size @ (root * products)
        targets = torch.cat([(root * pull)[None], slope * root]).mT
        y, shift = problem.solve_normalized(matrix, root, targets)
        # From the equation of each cell: also where its probability is 0 to machine precision.
        pushed = products.mT * size @ (products @ (root * y[:, 0]))
        step = (pull - shift[problem.context, 0] + pushed) / diagonal
        curve = (slope * root) @ y[:, 1:]
        return step, (root * pull) @ y[:, 0], (curve + curve.mT) / 2
