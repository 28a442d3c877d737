"""Constrained optima on tables: one objective is maximized while the others keep their floors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from paretune.core.constrained import Divergence
from paretune.errors import InfeasibleError, InputError, RunError, ShapeError
from paretune.functional.feasibility import check_floors
from paretune.functional.nonnegative import nonnegative_minimum

_ROUGH, _FINE, _ENOUGH = 1e-3, 1e-15, 1e-9
_COOLING = 4.0


@final
@dataclass(frozen=True)
class ConstrainedOptimum:
    """A policy, its multipliers, and how far from optimal they can be.

    Args:
        logps: ``(..., S, A)`` log-probabilities of the policy, in nats.
        multipliers: ``(..., C)`` price of each floor, >= 0; 0 where it does not bind.
        primary: ``(...)`` expected value of the primary objective.
        constraints: ``(..., C)`` expected values of the constrained objectives.
        value: ``(...)`` ``primary`` minus tau times the divergence from the reference.
        gap: ``(...)`` dual value minus ``value``: no policy that keeps the floors is better by
            more. 0 up to rounding at an optimum.
    """

    logps: Tensor
    multipliers: Tensor
    primary: Tensor
    constraints: Tensor
    value: Tensor
    gap: Tensor


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
    instance, because a floor is kept on average over contexts. Small tau is reached from a large
    one, each solution being the start of the next, since far from its solution a cold dual is
    flat.

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
    if divergence != "reverse_kl":
        raise NotImplementedError(divergence)
    tables = _Tables.of(ref_logps, primary, secondary, floors, tau, context_weights)
    tables.require_each_floor()
    hottest = max(tau, float(tables.spread))
    n_stages = max(0, math.ceil(math.log(hottest / tau) / math.log(_COOLING)))
    multipliers = torch.zeros_like(tables.floors)
    residual = multipliers.sum(-1)
    for stage in range(n_stages, -1, -1):
        heat = tau * _COOLING**stage
        dual = _Dual(tables.ref, tables.primary / heat, tables.cuts, tables.weights)
        start = multipliers / (heat * tables.scale)
        tolerance = _ROUGH if stage else _FINE
        found, residual, value = nonnegative_minimum(dual, start, dual.lower_bound(), tolerance)
        tables.require_floors(value < dual.lower_bound())
        multipliers = found * heat * tables.scale
    tables.require_floors(residual > _ENOUGH)
    return tables.optimum(multipliers, tau)


@final
@dataclass(frozen=True)
class _Dual:
    """Dual functions of many instances in units of tau, with their floors folded in.

    Variables are the multipliers over tau and over the scale of their constraint; ``cuts`` are
    ``(I, S, A, C)`` distances of values to floors, in that scale.
    """

    ref: Tensor
    primary: Tensor
    cuts: Tensor
    weights: Tensor

    def at(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits = self.ref + self.primary + (self.cuts @ x[:, None, :, None]).squeeze(-1)
        log_sums = logits.logsumexp(-1)
        chances = (logits - log_sums[..., None]).exp()
        means = (chances[..., None, :] @ self.cuts).squeeze(-2)
        gradient = (self.weights[..., None] * means).sum(-2)
        # Centered before it is squared: nothing cancels when a policy is almost sure.
        spread = (self.weights[..., None] * chances).sqrt()[..., None] * (
            self.cuts - means[..., None, :]
        )
        flat = spread.flatten(1, 2)
        return (self.weights * log_sums).sum(-1), gradient, flat.mT @ flat

    def take(self, rows: Tensor) -> _Dual:
        return _Dual(self.ref[rows], self.primary[rows], self.cuts[rows], self.weights[rows])

    def lower_bound(self) -> Tensor:
        """What any policy is worth: the worst action for certain. A dual below it: no policy."""
        worst = self.primary.masked_fill(self.ref.isneginf(), math.inf).amin(-1)
        rarest = self.ref.masked_fill(self.ref.isneginf(), 0.0).amin(-1)
        return (self.weights * (worst + rarest)).sum(-1) - 1e-6


@final
@dataclass(frozen=True)
class _Tables:
    """The instances with one leading dimension, checked, and a scale for each constraint."""

    shape: tuple[int, ...]
    ref: Tensor
    primary: Tensor
    secondary: Tensor
    floors: Tensor
    weights: Tensor
    scale: Tensor
    cuts: Tensor

    @classmethod
    def of(
        cls,
        ref_logps: Tensor,
        primary: Tensor,
        secondary: Tensor,
        floors: Tensor,
        tau: float,
        context_weights: Tensor | None,
    ) -> _Tables:
        if not 0 < tau < math.inf:
            raise InputError(f"constrained optimum: found tau {tau}, expected a number > 0")
        n_contexts = _n_contexts(ref_logps, primary, secondary, floors)
        if context_weights is None:
            context_weights = ref_logps.new_full((n_contexts,), 1 / n_contexts, dtype=torch.float64)
        if context_weights.shape[-1:] != (n_contexts,):
            raise ShapeError(
                f"constrained optimum: found {tuple(context_weights.shape)} context weights, "
                f"expected (..., {n_contexts})"
            )
        shape = np.broadcast_shapes(
            ref_logps.shape[:-2],
            primary.shape[:-2],
            secondary.shape[:-3],
            floors.shape[:-1],
            context_weights.shape[:-1],
        )

        def flat(tensor: Tensor, n_own: int) -> Tensor:
            own = tensor.shape[tensor.ndim - n_own :]
            return tensor.double().expand(*shape, *own).reshape(-1, *own)

        ref, weights = flat(ref_logps, 2), flat(context_weights, 1)
        primary, secondary, floors = flat(primary, 2), flat(secondary, 3), flat(floors, 1)
        is_absent = ref.isneginf()
        if is_absent.all(-1).any():
            raise InputError("constrained optimum: found a context without an action in reference")
        primary = primary.masked_fill(is_absent, 0.0)
        secondary = secondary.masked_fill(is_absent[..., None], 0.0)
        finite = (primary, secondary, floors, weights, ref.masked_fill(is_absent, 0.0))
        if not all(bool(tensor.isfinite().all()) for tensor in finite):
            raise InputError(
                "constrained optimum: found values that are not finite, expected a number for "
                "every action of the reference"
            )
        if bool((weights < 0).any()) or bool(((weights.sum(-1) - 1).abs() > 1e-6).any()):
            raise InputError("constrained optimum: context weights must be >= 0 and sum to 1")
        absent = is_absent[..., None]
        top = secondary.masked_fill(absent, -math.inf).amax((1, 2))
        span = top - secondary.masked_fill(absent, math.inf).amin((1, 2))
        scale = 1 / torch.where(span > 0, span, 1.0)
        cuts = (secondary - floors[:, None, None, :]) * scale[:, None, None, :]
        cuts = cuts.masked_fill(absent, 0.0)
        return cls(shape, ref, primary, secondary, floors, weights, scale, cuts)

    @property
    def spread(self) -> Tensor:
        """Largest range of the primary objective in an instance."""
        return (self.primary.amax((1, 2)) - self.primary.amin((1, 2))).amax()

    def require_each_floor(self) -> None:
        """Refuse floors above the best action of every context."""
        absent = self.ref.isneginf()[..., None]
        best = self.cuts.masked_fill(absent, -math.inf).amax(2)
        reached = (self.weights[..., None] * best).sum(1)
        self.require_floors((reached < -1e-12).any(-1))

    def require_floors(self, is_doubtful: Tensor) -> None:
        """Explain the first doubtful instance, by its linear program."""
        if not is_doubtful.any():
            return
        row = int(is_doubtful.nonzero()[0])
        verdict = check_floors(
            self.secondary[row].numpy(),
            self.floors[row].numpy(),
            self.weights[row].numpy(),
            self.ref[row].isfinite().numpy(),
        )
        place = f"instance {row}: " if len(self.ref) > 1 else ""
        if verdict.is_feasible:
            raise RunError(
                f"constrained optimum: {place}did not converge; {verdict.explain()}, at once by "
                f"{verdict.margin:.3g}"
            )
        raise InfeasibleError(f"constrained optimum: {place}{verdict.explain()}", verdict)

    def optimum(self, multipliers: Tensor, tau: float) -> ConstrainedOptimum:
        """The policy of some multipliers, with its values."""
        # From the cuts, whose floors are folded in: the same numbers that the solver saw.
        x = multipliers / (tau * self.scale)
        logits = self.ref + self.primary / tau + (self.cuts @ x[:, None, :, None]).squeeze(-1)
        logps = logits.log_softmax(-1)
        joint = self.weights[..., None] * logps.exp()
        reached = (joint * self.primary).sum((1, 2))
        terms = torch.where(joint > 0, joint * (logps - self.ref), 0.0)
        value = reached - tau * terms.sum((1, 2))
        dual = tau * (self.weights * logits.logsumexp(-1)).sum(-1)
        constraints = (joint[..., None] * self.secondary).sum((1, 2))
        return ConstrainedOptimum(
            logps.reshape(*self.shape, *logps.shape[1:]),
            multipliers.reshape(*self.shape, -1),
            reached.reshape(self.shape),
            constraints.reshape(*self.shape, -1),
            value.reshape(self.shape),
            (dual - value).reshape(self.shape),
        )


def _n_contexts(ref_logps: Tensor, primary: Tensor, secondary: Tensor, floors: Tensor) -> int:
    is_fine = ref_logps.ndim >= 2 and primary.ndim >= 2 and secondary.ndim >= 3 and floors.ndim >= 1
    is_fine = is_fine and ref_logps.shape[-2:] == primary.shape[-2:] == secondary.shape[-3:-1]
    if not (is_fine and secondary.shape[-1:] == floors.shape[-1:]):
        raise ShapeError(
            f"constrained optimum: found reference {tuple(ref_logps.shape)}, primary "
            f"{tuple(primary.shape)}, secondary {tuple(secondary.shape)} and floors "
            f"{tuple(floors.shape)}, expected (..., S, A), (..., S, A), (..., S, A, C) and (..., C)"
        )
    return ref_logps.shape[-2]
