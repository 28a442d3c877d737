"""MOPO: maximize one objective, keep the others above floors; a head per primary objective."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import ClassVar, Literal, final

from paretune.core.constrained import ConstrainedGoal, Divergence, Labels, Updates
from paretune.core.job import BASE, Head, Offline, Replies, TrainingJob
from paretune.core.method import Method, Needs
from paretune.core.policy import Steering
from paretune.core.tradeoff import TradeOff
from paretune.methods._fields import check, check_choices

Floors = tuple[float | None, ...]
_GROUP = "heads"


@final
@dataclass(frozen=True)
class MOPO(Method):
    r"""Multi-objective preference optimization: a constrained, KL-regularized policy per primary.

    Each objective in turn is the primary one, maximized in preference probability, while the
    others keep a floor: :math:`\max_\pi E[p_k] - \tau KL(\pi\|\pi_{ref})` with
    :math:`E[p_i] \ge b_i`. The optimum :math:`\pi_{ref}\exp((p_k + \sum_i\lambda_i p_i)/\tau)` is
    extracted by weighted imitation. The M policies share a backbone and differ in their heads; a
    trade-off between corners mixes the heads by its weights, which mixes log-probabilities
    exactly. With ``primary`` there is one policy, and it answers for every trade-off.

    What holds: on tables the policies are the exact constrained optima, and mixed heads the
    optimum of the mixed utility while the reference stays. With finite ``lag`` the reference
    follows the policy, so that ``tau`` only sets the pace and the limit is the optimum without
    penalty.

    Source: Agnihotri et al. 2025. Deviations, each measured there: the weights are normalized per
    prompt (as printed, multipliers stay 0); floors adapt to the lower bound that they are compared
    with; robust weights carry the adversary's; labels come from a pool instead of a single
    comparison. ``is_literal`` brings the printed formulas back. Mixing heads is an extension.

    Args:
        primary: column of the only primary objective, >= 0; ``None`` trains a head for each.
        thresholds: a floor for each objective in preference probability, in [0, 1], ``None``
            where there is none; the primary's own is not read, and must be ``None`` with
            ``primary``. Empty, and no ``reward_floors``: every floor adapts.
        reward_floors: the same in expected reward, in the units of the rewards.
        tau: strength of the KL penalty, > 0, in preference probability per nat.
        divergence: instead of the reverse KL, with ``primary``: heads mix exactly under that one.
        alpha: of the ``alpha`` divergence, in (0, 1); not read otherwise.
        radius: of the KL ball of the robust lower bound, >= 0 nats; 0 takes expectations. Tables
            solve for it; a language model follows the adversary by damped steps, which settle for
            ``tau`` from about .3 only.
        relaxation: factor of adaptive floors, in (0, 1].
        lag: optimizer steps between refreshes of the reference, >= 1; ``None`` = never.
        labels: ``pool``, ``table``, ``pair_soft`` or ``pair_hard``; the last two measure floors
            by the very labels that the weights follow, which promises too much.
        candidates: replies of the reference to each training prompt that are scored and compared
            in place of the records, >= 3, with ``pool``; ``None`` takes the records. Then the
            pool is a sample of the reference, as the theory wants it.
        candidate_prompts: training prompts that get candidates, >= 1, drawn at random; not read
            without ``candidates``.
        slope: label log-odds per unit of reward, > 0, of ``pool`` and ``pair_soft``; ``None``: the
            larger reward is preferred for certain.
        updates: of the multipliers: ``dual``, ``alternating`` or ``barrier``.
        multiplier_rate: step size of ``alternating`` and ``barrier`` multipliers, > 0.
        temperature_rate: step size of the temperatures of the lower bound, > 0.
        decay: of the moving average of constraint values, in [0, 1).
        barrier: weight of the log barrier, > 0.
        is_literal: the formulas as printed, errors included.
        heads: ``lm_head``: an output layer per objective; ``adapter``: a low-rank update of it.
        head_rank: rank of ``adapter``, >= 1.
        steps: optimizer steps, >= 1; ``None`` takes the run's.
    """

    primary: int | None = None
    thresholds: Floors = ()
    reward_floors: Floors = ()
    tau: float = 0.08
    divergence: Divergence = "reverse_kl"
    alpha: float = 0.5
    radius: float = 0.0
    relaxation: float = 0.9995
    lag: int | None = 500
    labels: Labels = "pool"
    candidates: int | None = None
    candidate_prompts: int = 10_000
    slope: float | None = None
    updates: Updates = "dual"
    multiplier_rate: float = 0.02
    temperature_rate: float = 0.05
    decay: float = 0.99
    barrier: float = 1e-3
    is_literal: bool = False
    heads: Literal["lm_head", "adapter"] = "lm_head"
    head_rank: int = 16
    steps: int | None = None
    paper: ClassVar[str] = "arXiv:2505.10892"

    def __post_init__(self) -> None:
        check_choices(self, "mopo")
        at = "mopo."
        for name in ("tau", "multiplier_rate", "temperature_rate", "barrier"):
            value = getattr(self, name)
            check(0 < value < math.inf, at + name, value, "a finite number > 0")
        for name in ("primary", "lag", "head_rank", "steps", "candidate_prompts"):
            low = 0 if name == "primary" else 1
            value = getattr(self, name)
            check(value is None or value >= low, at + name, value, f"an integer >= {low}")
        n = self.candidates
        is_fine = n is None or (n >= 3 and self.labels == "pool")
        check(is_fine, at + "candidates", n, "an integer >= 3 with labels 'pool', or nothing")
        check(0 < self.alpha < 1, at + "alpha", self.alpha, "a number in (0, 1)")
        check(0 <= self.radius < math.inf, at + "radius", self.radius, "a finite number >= 0")
        check(0 < self.relaxation <= 1, at + "relaxation", self.relaxation, "a number in (0, 1]")
        check(0 <= self.decay < 1, at + "decay", self.decay, "a number in [0, 1)")
        slope = self.slope
        is_fine = slope is None or 0 < slope < math.inf
        check(is_fine, at + "slope", slope, "a finite number > 0 or nothing")
        for value in self.thresholds:
            is_fine = value is None or 0 <= value <= 1
            check(is_fine, at + "thresholds", value, "numbers in [0, 1], in preference probability")
        for value in self.reward_floors:
            is_fine = value is None or math.isfinite(value)
            check(is_fine, at + "reward_floors", value, "finite numbers")
        is_fine = self.divergence == "reverse_kl" or self.primary is not None
        check(is_fine, at + "divergence", self.divergence, "'reverse_kl' without a primary")
        for i, (one, other) in enumerate(zip(self.thresholds, self.reward_floors, strict=False)):
            is_fine = one is None or other is None
            check(is_fine, at + "reward_floors", other, f"one floor for objective {i}")
        if self.primary is not None:
            for name in ("thresholds", "reward_floors"):
                floors = getattr(self, name)
                own = floors[self.primary] if self.primary < len(floors) else None
                check(own is None, at + name, own, "no floor for the primary objective")

    @property
    def needs(self) -> tuple[Needs, ...]:
        """Scores for ``pool`` and ``pair_soft``, comparisons for all but ``pool``."""
        needs: dict[Labels, tuple[Needs, ...]] = {
            "pool": ("scores",), "pair_soft": ("pairs", "scores"),
        }  # fmt: skip
        return needs.get(self.labels, ("pairs",))

    def plan(self, n_objectives: int, tradeoffs: Sequence[TradeOff]) -> list[TrainingJob]:
        for name in ("thresholds", "reward_floors"):
            found = getattr(self, name)
            is_fine = len(found) in (0, n_objectives)
            check(is_fine, f"mopo.{name}", found, f"{n_objectives} numbers, one an objective")
        if self.primary is not None:
            expected = f"at most {n_objectives - 1}, the last objective"
            check(self.primary < n_objectives, "mopo.primary", self.primary, expected)
            return [self._job(self.primary, n_objectives)]
        return [self._job(i, n_objectives) for i in range(n_objectives)]

    def steer(self, tradeoff: TradeOff, trained: Sequence[TradeOff]) -> Steering:
        if self.primary is not None:
            served = TradeOff.only(self.primary, len(tradeoff))
            return Steering("pick", (_job_id(self.primary),), (1.0,), served)
        heads = tuple(_job_id(i) for i in range(len(tradeoff)))
        return Steering("merge", heads, tradeoff.weights, tradeoff)

    def _job(self, primary: int, n_objectives: int) -> TrainingJob:
        is_alone = self.primary is not None
        return TrainingJob(
            id=_job_id(primary),
            kind="constrained",
            tradeoff=TradeOff.only(primary, n_objectives),
            goal=self._goal(primary, n_objectives),
            source=self._source(),
            settings={} if self.steps is None else {"steps": self.steps},
            group=None if is_alone else _GROUP,
            head=None if is_alone else Head(self.heads, self.head_rank),
        )

    def _source(self) -> Offline | Replies:
        if self.candidates is None:
            return Offline()
        return Replies(of=(BASE,), prompts=self.candidate_prompts, per_prompt=self.candidates)

    def _goal(self, primary: int, n_objectives: int) -> ConstrainedGoal:
        def without_primary(floors: Floors) -> Floors:
            floors = floors or (None,) * n_objectives
            return tuple(None if i == primary else floor for i, floor in enumerate(floors))

        # What the goal and the method call alike is the same.
        shared = {f.name for f in fields(ConstrainedGoal)} & {f.name for f in fields(self)}
        goal = ConstrainedGoal(**{name: getattr(self, name) for name in shared})
        return replace(
            goal,
            primary=primary,
            thresholds=without_primary(self.thresholds),
            reward_floors=without_primary(self.reward_floors),
            is_adaptive=not (self.thresholds or self.reward_floors),
        )


def _job_id(primary: int) -> str:
    return f"primary-{primary}"


METHOD = MOPO
