"""Constrained goals: one objective is maximized while the others keep a floor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final, get_args

Labels = Literal["pool", "table", "pair_soft", "pair_hard"]
Updates = Literal["dual", "alternating", "barrier"]
Divergence = Literal[
    "reverse_kl", "forward_kl", "jsd", "alpha", "jeffrey", "total_variation", "chi_squared"
]
DIVERGENCES: tuple[Divergence, ...] = get_args(Divergence)


@final
@dataclass(frozen=True)
class ConstrainedGoal:
    r"""What a constrained job maximizes, and under which floors.

    Over policies, :math:`\max_\pi E[p_k] - \tau D(\pi\|\pi_{ref})` subject to
    :math:`E[p_i] \ge b_i` for the secondary objectives, where :math:`p_i(y|x)` is the probability
    that a reply y is preferred on objective i to a reply of the behavior policy. Multipliers
    :math:`\lambda_i \ge 0` belong to the floors, temperatures :math:`\chi_i > 0` to the robust
    lower bound.

    Args:
        primary: column of the objective that is maximized, in [0, M).
        thresholds: ``(M,)`` floors :math:`b_i` in [0, 1], in preference probability; ``None`` at
            the primary, and where the floor adapts or is given as a reward.
        reward_floors: ``(M,)`` floors of the expected reward, in the units of the rewards;
            ``None`` where there is none.
        is_adaptive: floors that are given by neither start at ``relaxation`` times what the
            reference reaches, and follow the policy at every refresh; otherwise those objectives
            have no floor.
        tau: strength of the divergence penalty, > 0, in preference probability per nat.
        divergence: which one; ``alpha`` has its parameter in ``alpha``.
        alpha: in (0, 1).
        radius: of the KL ball of the robust lower bound (:math:`\epsilon`), >= 0 nats; 0 takes
            expectations as they are.
        relaxation: :math:`\beta` in (0, 1], factor of adaptive floors.
        lag: optimizer steps between refreshes of the reference (:math:`t_0`); ``None`` = never.
        labels: where :math:`p_i` comes from. ``pool``: every response against the others of its
            prompt, by reward; ``table``: mean label over the comparisons of a response;
            ``pair_soft``, ``pair_hard``: each comparison by itself, by reward or by label.
        slope: label log-odds per unit of reward, > 0; ``None``: the larger reward is preferred
            for certain, equal ones half.
        updates: of the multipliers: ``dual`` solves for them, ``alternating`` follows the
            gradient step by step, ``barrier`` takes them from a log barrier.
        multiplier_rate: step size of alternating multipliers, > 0.
        temperature_rate: step size of the temperatures, > 0.
        decay: of the moving average of the constraint values, in [0, 1).
        barrier: weight of the log barrier, > 0.
        is_literal: the source's formulas as printed, errors included.
    """

    primary: int
    thresholds: tuple[float | None, ...]
    reward_floors: tuple[float | None, ...]
    is_adaptive: bool = True
    tau: float = 0.08
    divergence: Divergence = "reverse_kl"
    alpha: float = 0.5
    radius: float = 0.0
    relaxation: float = 0.9995
    lag: int | None = 500
    labels: Labels = "pool"
    slope: float | None = None
    updates: Updates = "dual"
    multiplier_rate: float = 0.02
    temperature_rate: float = 0.05
    decay: float = 0.99
    barrier: float = 1e-3
    is_literal: bool = False

    @property
    def secondary(self) -> tuple[int, ...]:
        """Columns that have a floor, in order."""
        return tuple(
            i
            for i, (threshold, floor) in enumerate(
                zip(self.thresholds, self.reward_floors, strict=True)
            )
            if i != self.primary
            and (self.is_adaptive or threshold is not None or floor is not None)
        )
