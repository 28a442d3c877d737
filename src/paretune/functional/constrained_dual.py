"""Duals of constrained optima on tables, for many instances at once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from paretune.core.constrained import Divergence
from paretune.errors import InfeasibleError, InputError, RunError, ShapeError
from paretune.functional.divergences import divergence_value, tilt
from paretune.functional.feasibility import check_floors
from paretune.functional.generators import generator

_COOLING = 4.0
_ROOM = 1e-9


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


@final
@dataclass(frozen=True)
class KLDual:
    """Dual functions under reverse KL of many instances, in units of tau.

    Variables are the multipliers over tau and over the scale of their constraint.

    Args:
        ref: ``(I, S, A)`` log-probabilities of the reference.
        primary: ``(I, S, A)`` over tau.
        cuts: ``(I, S, A, C)`` values less their floors, over their scale.
        weights: ``(I, S)`` of the contexts.
    """

    ref: Tensor
    primary: Tensor
    cuts: Tensor
    weights: Tensor

    def at(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Values, gradients and Hessians at ``(I, C)``."""
        logits = self.ref + self.scores(x)
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

    def scores(self, x: Tensor) -> Tensor:
        """``(I, S, A)`` what each action is worth with the multipliers ``(I, C)``."""
        return self.primary + (self.cuts @ x[:, None, :, None]).squeeze(-1)

    def take(self, rows: Tensor) -> KLDual:
        """Some of the instances."""
        return KLDual(self.ref[rows], self.primary[rows], self.cuts[rows], self.weights[rows])

    def lower_bound(self) -> Tensor:
        """What any policy is worth: the worst action for certain. A dual below it: no policy."""
        worst = self.primary.masked_fill(self.ref.isneginf(), math.inf).amin(-1)
        rarest = self.ref.masked_fill(self.ref.isneginf(), 0.0).amin(-1)
        return (self.weights * (worst + rarest)).sum(-1) - 1e-6


@final
@dataclass(frozen=True)
class DivergenceDual:
    r"""Dual functions under another divergence of many instances, in units of tau.

    The policy of a multiplier is :math:`\pi = \pi_{ref}\,(f')^{-1}(s - \zeta)`, so that a change of
    scores moves mass in proportion to :math:`h = \pi_{ref}/f''(\pi/\pi_{ref})`: the Hessian is the
    covariance under h, as it is under the policy itself for reverse KL. Without barrier the dual
    is smooth but for kinks in its slope, where policies drop an action.

    Args:
        tables: what is maximized, as under reverse KL.
        divergence: one with a slope that has an inverse: not total variation.
        alpha: of the alpha divergence.
    """

    tables: KLDual
    divergence: Divergence
    alpha: float

    def at(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Values, gradients and Hessians at ``(I, C)``."""
        ref, cuts, weights = self.tables.ref, self.tables.cuts, self.tables.weights
        scores = self.tables.scores(x)
        logps = tilt(ref, scores, self.divergence, self.alpha)
        chances = logps.exp()
        worth = (chances * scores).sum(-1)
        worth = worth - divergence_value(logps, ref, self.divergence, self.alpha)
        means = (chances[..., None, :] @ cuts).squeeze(-2)
        slope = -generator(self.divergence, self.alpha).slack_slope(logps - ref)
        moved = torch.where(chances > 0, chances / slope, 0.0)
        total = moved.sum(-1, keepdim=True)
        share = torch.where(total > 0, moved / total, 0.0)
        centers = (share[..., None, :] @ cuts).squeeze(-2)
        spread = (weights[..., None] * moved).sqrt()[..., None] * (cuts - centers[..., None, :])
        flat = spread.flatten(1, 2)
        gradient = (weights[..., None] * means).sum(-2)
        return (weights * worth).sum(-1), gradient, flat.mT @ flat

    def take(self, rows: Tensor) -> DivergenceDual:
        """Some of the instances."""
        return DivergenceDual(self.tables.take(rows), self.divergence, self.alpha)

    def lower_bound(self) -> Tensor:
        """None is known: a policy that never takes an action may be infinitely far away."""
        return torch.full_like(self.tables.weights[:, 0], -math.inf)


@final
@dataclass(frozen=True)
class ConstrainedTables:
    """The instances of a problem with one leading dimension, checked.

    Args:
        shape: leading dimensions of the arguments.
        ref: ``(I, S, A)``.
        primary: ``(I, S, A)``; 0 where an action does not exist.
        secondary: ``(I, S, A, C)``; 0 where an action does not exist.
        floors: ``(I, C)``.
        weights: ``(I, S)``.
        scale: ``(I, C)`` one over the range of each constraint.
        cuts: ``(I, S, A, C)`` values less their floors, times their scale.
    """

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
    ) -> ConstrainedTables:
        """Check the arguments of a constrained optimum and bring them to one shape."""
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
        shape = _leading(
            (ref_logps, 2), (primary, 2), (secondary, 3), (floors, 1), (context_weights, 1)
        )

        def flat(tensor: Tensor, n_own: int) -> Tensor:
            own = tensor.shape[tensor.ndim - n_own :]
            return tensor.double().expand(*shape, *own).reshape(math.prod(shape), *own)

        ref, weights = flat(ref_logps, 2), flat(context_weights, 1)
        primary, secondary, floors = flat(primary, 2), flat(secondary, 3), flat(floors, 1)
        is_absent = ref.isneginf()
        if is_absent.all(-1).any():
            raise InputError("constrained optimum: found a context without an action in reference")
        ref = ref.log_softmax(-1)
        primary = primary.masked_fill(is_absent, 0.0)
        secondary = secondary.masked_fill(is_absent[..., None], 0.0)
        _require_numbers(primary, secondary, floors, weights, ref.masked_fill(is_absent, 0.0))
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

    def stages(self, tau: float) -> list[float]:
        """Falling values of tau that end at the one asked for.

        Far from its minimum the dual of a small tau is flat; that of a tau like the range of the
        primary objective is not, and each minimum is a good start for the next.
        """
        hottest = max(tau, float(self.spread))
        n_stages = math.ceil(math.log(hottest / tau) / math.log(_COOLING))
        return [tau * _COOLING**stage for stage in range(max(0, n_stages), -1, -1)]

    def dual(self, tau: float) -> KLDual:
        """The dual functions under reverse KL at some tau."""
        return KLDual(self.ref, self.primary / tau, self.cuts, self.weights)

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
        if verdict.margin > _ROOM:
            raise RunError(
                f"constrained optimum: {place}did not converge; {verdict.explain()}, at once by "
                f"{verdict.margin:.3g}"
            )
        if verdict.is_feasible:
            told = f"{verdict.explain()}, but only just: lower the floors a little"
            raise InfeasibleError(f"constrained optimum: {place}{told}", verdict)
        raise InfeasibleError(f"constrained optimum: {place}{verdict.explain()}", verdict)

    def optimum(
        self,
        multipliers: Tensor,
        tau: float,
        divergence: Divergence = "reverse_kl",
        alpha: float = 0.5,
        logps: Tensor | None = None,
    ) -> ConstrainedOptimum:
        """The policy of some multipliers, or another one, with its values."""
        # From the cuts, whose floors are folded in: the same numbers that the solver saw.
        scores = self.dual(tau).scores(multipliers / (tau * self.scale))
        best = tilt(self.ref, scores, divergence, alpha)

        def after_penalty(logps: Tensor, values: Tensor) -> Tensor:
            penalty = divergence_value(logps, self.ref, divergence, alpha)
            return (self.weights * ((logps.exp() * values).sum(-1) - tau * penalty)).sum(-1)

        dual = after_penalty(best, tau * scores)
        logps = best if logps is None else logps
        value = after_penalty(logps, self.primary)
        joint = self.weights[..., None] * logps.exp()
        reached = (joint * self.primary).sum((1, 2))
        constraints = (joint[..., None] * self.secondary).sum((1, 2))
        return ConstrainedOptimum(
            logps.reshape(*self.shape, *logps.shape[1:]),
            multipliers.reshape(*self.shape, *multipliers.shape[1:]),
            reached.reshape(self.shape),
            constraints.reshape(*self.shape, *constraints.shape[1:]),
            value.reshape(self.shape),
            (dual - value).reshape(self.shape),
        )


def _leading(*tensors: tuple[Tensor, int]) -> tuple[int, ...]:
    """Common leading dimensions of tensors that have so many of their own."""
    shapes = [tuple(tensor.shape[: tensor.ndim - n_own]) for tensor, n_own in tensors]
    try:
        shape = np.broadcast_shapes(*shapes)
    except ValueError:
        shape = (0,)
    if not math.prod(shape):
        raise ShapeError(
            f"constrained optimum: found leading dimensions {shapes} of reference, primary, "
            "secondary, floors and context weights, expected ones that broadcast to some instances"
        )
    return shape


def _require_numbers(
    primary: Tensor, secondary: Tensor, floors: Tensor, weights: Tensor, ref: Tensor
) -> None:
    if not all(bool(x.isfinite().all()) for x in (primary, secondary, floors, weights, ref)):
        raise InputError(
            "constrained optimum: found values that are not finite, expected a number for every "
            "action of the reference"
        )
    total = weights.sum(-1)
    if bool((weights < 0).any()) or bool(((total - 1).abs() > 1e-6).any()):
        raise InputError(
            f"constrained optimum: found context weights from {float(weights.min()):g} with sum "
            f"{float(total[0]):g}, expected >= 0 that sum to 1"
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
