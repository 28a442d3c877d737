"""Constrained jobs on tables: what a goal means, solved exactly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize as scipy_minimize
from torch import Tensor

from paretune.core.constrained import ConstrainedGoal
from paretune.engines.goal_cells import GoalCells
from paretune.engines.minimize import minimize
from paretune.engines.table_policy import Table, TanhNetwork
from paretune.errors import InfeasibleError, InputError, RunError
from paretune.functional.constrained import constrained_optimum, log_barrier_optimum
from paretune.functional.divergences import tilt
from paretune.functional.feasibility import check_floors
from paretune.functional.imitation_weights import constrained_scores, literal_log_weights
from paretune.functional.robust import robust_optimum
from paretune.functional.robust_bound import kl_ball_bound

Floats = npt.NDArray[np.float64]

LOWEST_LOG_RATIO = -700.0
"""Of an action that is ruled out: no chance in float64, and still a number that can be merged."""

_STEPS = 20_000
_SETTLED = 1e-13
_AGREEMENT = 1e-7
_CAP = 100.0


@final
@dataclass(frozen=True)
class ConstrainedPolicy:
    """The policy that a goal asks for.

    Args:
        logps: ``(S, A)`` log-probabilities, in nats.
        multipliers: ``(C,)``, >= 0.
        floors: ``(C,)`` that were kept: the goal's own, or where the adaptive ones ended.
        values: ``(C,)`` what was compared with the floors: expectations, or lower bounds.
    """

    logps: Tensor
    multipliers: Tensor
    floors: Tensor
    values: Tensor


def constrained_policy(
    goal: ConstrainedGoal,
    cells: GoalCells,
    ref_logps: Tensor,
    names: Sequence[str],
    steps: int | None = None,
) -> ConstrainedPolicy:
    r"""The policy that a constrained goal converges to, segment by segment of its reference.

    The reference moves at the end of a segment of ``goal.lag`` steps, to the policy that the
    segment before ended with, and adaptive floors move with it. Every segment is solved exactly,
    so that m of them tilt the first reference :math:`\lceil m/2 \rceil` times. Without ``steps``
    or lag there is one segment.

    Robust floors are solved for whatever the updates.

    With ``pair`` labels each comparison is a problem of two responses with one multiplier for
    all, and the policy imitates the responses by their mean weight; floors are measured by the
    same labels, which promise too much.

    Args:
        goal: what is maximized, and under which floors.
        cells: what its labels say of the table.
        ref_logps: ``(S, A)`` float64 log-probabilities of the first reference, in nats; finite.
        names: ``(C,)`` of the objectives with a floor, for messages.
        steps: optimizer steps that an engine with steps would take.

    Raises:
        InputError: if robust floors, a barrier or the literal formulas are asked for under
            another divergence than reverse KL.
        InfeasibleError: if no policy keeps the floors, told with the names.
        RunError: if alternating updates do not settle.

    Source:
        Agnihotri et al. 2025 (MOPO). With ``is_literal`` the weights as printed, without a
        normalizer; with a radius the normalized weights without the adversary's, since without a
        normalizer every floor looks met.
    """
    is_special = goal.radius > 0 or goal.updates == "barrier" or goal.is_literal
    if is_special and goal.divergence != "reverse_kl":
        raise InputError(
            f"goal: found divergence {goal.divergence!r} with robust floors, a barrier or the "
            "literal formulas, expected 'reverse_kl'"
        )
    problem = _Problem.of(goal, cells, ref_logps)
    is_adaptive = cells.table.floors.isnan()
    n_segments = 1 if goal.lag is None or steps is None else max(1, math.ceil(steps / goal.lag))
    reached = before = problem.at_reference(ref_logps)
    floors = torch.where(is_adaptive, goal.relaxation * reached, cells.table.floors)
    ref = snapshot = ref_logps
    for segment in range(1, n_segments + 1):
        try:
            found = problem.solved(ref, floors)
        except InfeasibleError as error:
            told = str(error) if error.verdict is None else error.verdict.explain(names)
            raise InfeasibleError(f"floors: {told}, on this table", error.verdict) from error
        if segment < n_segments:
            ref, snapshot = snapshot, found.logps
            floors = torch.where(is_adaptive, goal.relaxation * before, floors)
            before = found.values
    return found


def fit_policies(
    model: Table | TanhNetwork,
    targets: Sequence[Tensor],
    start: Tensor,
    tolerance: float,
    name: str,
) -> list[Tensor]:
    """Parameters of policies that imitate targets, with what the model shares in common.

    On a table each target is met exactly. On a network all policies are fitted together, on one
    set of hidden units and with output parameters of their own, so that merging the parameters
    of several mixes their log-probabilities exactly.

    Args:
        model: turns parameters into policies.
        targets: K policies ``(S, A)``, log-probabilities in nats.
        start: ``(D,)`` parameters that each starts from.
        tolerance: largest entry of the gradient at the end, > 0.
        name: of the jobs, for messages.

    Returns:
        K parameters ``(D,)``.
    """
    if isinstance(model, Table):
        ratios = [(target - model.ref_logps).clamp(min=LOWEST_LOG_RATIO) for target in targets]
        return [ratio.flatten() for ratio in ratios]
    n_shared, n_own = model.n_shared, len(start) - model.n_shared
    shares = [target.exp() / len(target) for target in targets]

    def split(joint: Tensor) -> list[Tensor]:
        heads = joint[n_shared:].view(-1, n_own)
        return [torch.cat([joint[:n_shared], head]) for head in heads]

    def mean_loss(joint: Tensor) -> Tensor:
        losses = [
            -(share * model.logps(parameters)).sum()
            for share, parameters in zip(shares, split(joint), strict=True)
        ]
        return torch.stack(losses).sum()

    joint = torch.cat([start[:n_shared], start[n_shared:].repeat(len(targets))])
    return split(minimize(mean_loss, joint, tolerance, name))


@final
@dataclass(frozen=True)
class _Problem:
    """A goal as a table whose rows are the contexts, or the comparisons with their two responses.

    ``primary`` ``(rows, A)``, ``secondary`` ``(rows, A, C)`` and ``weights`` ``(rows,)``.
    """

    goal: ConstrainedGoal
    primary: Tensor
    secondary: Tensor
    weights: Tensor
    cells: GoalCells

    @classmethod
    def of(cls, goal: ConstrainedGoal, cells: GoalCells, ref_logps: Tensor) -> _Problem:
        n_contexts = len(ref_logps)
        if not goal.labels.startswith("pair"):
            weights = torch.full((n_contexts,), 1 / n_contexts, dtype=torch.float64)
            return cls(goal, cells.primary, cells.secondary, weights, cells)
        table, count = cells.table, cells.count[::2]
        secondary = table.secondary.view(len(count), 2, -1)
        return cls(goal, table.primary.view(-1, 2), secondary, count / count.sum(), cells)

    @property
    def is_paired(self) -> bool:
        return self.goal.labels.startswith("pair")

    def at_reference(self, ref: Tensor) -> Tensor:
        """``(C,)`` what the reference reaches."""
        return self.values(self.rows(ref), self.rows(ref))

    def rows(self, policy: Tensor) -> Tensor:
        """The policy on the rows of the problem; two responses that were compared are alike."""
        if not self.is_paired:
            return policy
        return torch.full_like(self.primary, -math.log(2))

    def values(self, ref: Tensor, logps: Tensor) -> Tensor:
        """``(C,)`` expectations of the constrained objectives, or their lower bounds."""
        goal = self.goal
        if goal.radius == 0:
            joint = self.weights[:, None] * logps.exp()
            return torch.einsum("sa,sac->c", joint, self.secondary)
        base = (self.weights[:, None] * ref.exp()).flatten()
        f = ((logps - ref).exp()[..., None] * self.secondary).flatten(0, 1)
        return kl_ball_bound(f.T, base, goal.radius)[0]

    def solved(self, ref: Tensor, floors: Tensor) -> ConstrainedPolicy:
        """The policy from one reference, under floors that no longer adapt."""
        rows = self.rows(ref)
        logps, multipliers = self._solution(rows, floors)
        policy = self._imitated(ref, logps - rows) if self.is_paired else logps
        return ConstrainedPolicy(policy, multipliers, floors, self.values(rows, logps))

    def _solution(self, ref: Tensor, floors: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities ``(S, A)`` on the rows, and multipliers ``(C,)``."""
        goal = self.goal
        tables = (ref, self.primary, self.secondary, floors, goal.tau)
        if goal.is_literal:
            return self._settled(ref, floors) if goal.radius > 0 else self._literal(ref, floors)
        if goal.radius > 0:
            robust = robust_optimum(*tables, goal.radius, self.weights)
            return robust.logps, robust.multipliers
        if goal.updates == "alternating":
            self._require(floors)
            return self._settled(ref, floors)
        if goal.updates == "barrier":
            best = log_barrier_optimum(*tables, goal.barrier, self.weights)
        else:
            best = constrained_optimum(*tables, self.weights, goal.divergence, goal.alpha)
        return best.logps, best.multipliers

    def _tilted(self, ref: Tensor, multipliers: Tensor) -> Tensor:
        scores = constrained_scores(self.primary, self.secondary, multipliers) / self.goal.tau
        if self.goal.divergence == "reverse_kl":
            # Once a step: the checks of the general form would take most of the time.
            return (ref + scores).log_softmax(-1)
        return tilt(ref, scores, self.goal.divergence, self.goal.alpha)

    def _require(self, floors: Tensor) -> None:
        verdict = check_floors(self.secondary.numpy(), floors.numpy(), self.weights.numpy())
        if not verdict.is_feasible:
            raise InfeasibleError(f"floors: {verdict.explain()}", verdict)

    def _settled(self, ref: Tensor, floors: Tensor) -> tuple[Tensor, Tensor]:
        """Where gradient steps of the multipliers stop, each on the whole table."""
        # The slope of a constraint is at most a quarter of its squared range over tau.
        span = self.secondary.amax((0, 1)) - self.secondary.amin((0, 1))
        rate = 0.5 * self.goal.tau / torch.where(span > 0, span, 1.0) ** 2
        multipliers = torch.zeros_like(floors)
        for _ in range(_STEPS):
            short = floors - self.values(ref, self._tilted(ref, multipliers))
            moved = (multipliers + rate * short).clamp(min=0)
            change = (moved - multipliers).abs()
            multipliers = moved
            if bool((change <= _SETTLED).all()) or bool((multipliers > _CAP).any()):
                break
        if bool((change > _AGREEMENT).any()):
            raise RunError(
                f"alternating updates: found multipliers {multipliers.tolist()} that still move "
                f"by {float(change.max()):.1e} a step, with floors missed by "
                f"{float(short.max()):.3g}, expected them to settle within {_STEPS} steps and "
                f"below {_CAP:g}; 'dual' solves for them"
            )
        return self._tilted(ref, multipliers), multipliers

    def _literal(self, ref: Tensor, floors: Tensor) -> tuple[Tensor, Tensor]:
        """The minimum of the dual as printed: its weights do not average to 1."""
        joint = self.weights[:, None] * ref.exp()

        def weights(multipliers: Tensor) -> Tensor:
            scores = constrained_scores(self.primary, self.secondary, multipliers)
            return literal_log_weights(scores, self.goal.tau).exp() * joint

        def dual(x: Floats) -> tuple[float, Floats]:
            multipliers = torch.as_tensor(x)
            w = weights(multipliers)
            gradient = torch.einsum("sa,sac->c", w, self.secondary) - floors
            return float(self.goal.tau * w.sum() - multipliers @ floors), gradient.numpy()

        start = torch.zeros_like(floors).numpy()
        box = [(0.0, _CAP)] * len(start)
        options = {"ftol": 0.0, "gtol": 1e-12}
        found = scipy_minimize(
            dual, start, jac=True, method="L-BFGS-B", bounds=box, options=options
        )
        multipliers = torch.as_tensor(found.x)
        scores = constrained_scores(self.primary, self.secondary, multipliers)
        # Pairs are imitated by the weights as they are; on a table only their shares matter.
        w = ref + literal_log_weights(scores, self.goal.tau)
        return (w if self.is_paired else w.log_softmax(-1)), multipliers

    def _imitated(self, ref: Tensor, log_w: Tensor) -> Tensor:
        """``(S, A)`` the policy that imitates compared responses by their weights.

        What nobody compared has no chance, unless its whole context was never asked.
        """
        cells, log_count = self.cells, self.cells.count.log()
        total = _log_sums(cells.cell, log_count + log_w.flatten(), ref.numel())
        if not self.goal.is_literal:
            # Responses count as the reference draws them, not as the records happen to hold them.
            total = total - _log_sums(cells.cell, log_count, ref.numel()) + ref.flatten()
            total = torch.where(cells.is_seen.flatten(), total, -torch.inf)
        total = total.view_as(ref)
        is_asked = cells.is_seen.any(-1, keepdim=True)
        return torch.where(is_asked, total, ref).log_softmax(-1)


def _log_sums(index: Tensor, values: Tensor, size: int) -> Tensor:
    """``(size,)`` logsumexp of the values of each index, ``-inf`` where there is none."""
    top = values.max()
    return (
        torch.zeros(size, dtype=values.dtype).index_add_(0, index, (values - top).exp()).log() + top
    )
