"""What constrained training remembers of one policy: multipliers, floors and reference."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, final

import torch
from torch import Tensor, nn

from paretune.core.constrained import ConstrainedGoal
from paretune.functional.goal_table import GoalTable, solve_multipliers
from paretune.functional.imitation_weights import (
    clipped_log_ratios,
    constrained_scores,
    effective_sample_size,
    literal_log_weights,
    log_weights,
    robust_log_weights,
)
from paretune.functional.multipliers import MultiplierState
from paretune.functional.robust_bound import kl_ball_bound

_LOWEST_ESS = 0.1
"""Below this share of what the pools give, a reference by importance is noise: the old stays."""


@final
class ConstraintState(nn.Module):
    """Multipliers, floors and reference of one policy, as buffers.

    Args:
        goal: of the policy.
        table: its labels.
    """

    def __init__(self, goal: ConstrainedGoal, table: GoalTable) -> None:
        super().__init__()
        self.goal, self.table = goal, table
        start = MultiplierState.start(table.floors, _at_reference(table, goal), goal.relaxation)
        self._fields = tuple(start.to_arrays())
        for name in self._fields:
            self.register_buffer(name, getattr(start, name).clone())
        nothing = torch.zeros(len(table.row), dtype=torch.float64)
        self.log_ratios: Tensor
        self.register_buffer("log_ratios", nothing)
        self.snapshot: Tensor
        self.register_buffer("snapshot", nothing.clone())
        self.log_w: Tensor
        self.register_buffer("log_w", nothing.clone())
        self.start_logps: Tensor
        self.register_buffer("start_logps", nothing.clone())
        self.is_kept: Tensor
        self.register_buffer("is_kept", torch.zeros((), dtype=torch.bool))

    def _apply(self, fn: Any, recurse: bool = True) -> ConstraintState:
        # A few numbers an entry in float64: they stay where the tables are, on the CPU.
        return self

    @property
    def state(self) -> MultiplierState:
        """The numbers of the buffers."""
        return MultiplierState(**{name: getattr(self, name).clone() for name in self._fields})

    def put(self, state: MultiplierState) -> None:
        """Write the numbers of a state into the buffers."""
        for name in self._fields:
            getattr(self, name).copy_(getattr(state, name))

    def solve(self) -> None:
        """Multipliers and weights of the current reference and floors, exactly (``dual``)."""
        if self.goal.updates != "dual":
            return
        multipliers, log_w = solve_multipliers(
            self.table, self.goal, self.state.floors, self.log_ratios
        )
        self.put(replace(self.state, multipliers=multipliers))
        self.log_w.copy_(log_w)

    def refresh(self, logps: Tensor) -> None:
        """The reference becomes the last snapshot, the policy the new one; floors follow.

        Args:
            logps: ``(E,)`` log-probabilities of the entries under the policy now, nats.
        """
        # The guard: with a few entries for all others, every expectation would be their opinion.
        # Against the pools as they are: uneven ones are no fault of the reference.
        moved, still = (
            float(effective_sample_size(self.table.base(ratios)))
            for ratios in (self.snapshot, torch.zeros_like(self.snapshot))
        )
        self.is_kept.fill_(moved < _LOWEST_ESS * still)
        if not self.is_kept:
            self.log_ratios.copy_(self.snapshot)
        is_adaptive = torch.isnan(self.table.floors)
        self.put(self.state.refresh(is_adaptive, self.goal.relaxation))
        self.snapshot.copy_(clipped_log_ratios(logps, self.start_logps))
        self.solve()

    def weigh(self, entries: Tensor, is_step: bool = True) -> tuple[Tensor, dict[str, Any]]:
        """Weights of the entries of a batch, after one step of the multipliers.

        Args:
            entries: ``(R,)`` distinct or repeated entries of the table.
            is_step: whether the multipliers take a step: once an optimizer step, not once a batch.

        Returns:
            ``(R,)`` weights, on average 1 an entry, alike for every group as a whole; and numbers
            for the log.
        """
        groups = torch.unique(self.table.group[entries])
        part, members = self.table.take(groups)
        base = part.base(self.log_ratios[members])
        goal, state = self.goal, self.state
        rate = 0.0 if goal.updates == "dual" else goal.multiplier_rate
        values = self._constraint(part, members, base)
        state, moments = state.advance(
            values, base, radius=goal.radius, multiplier_rate=rate,
            temperature_rate=goal.temperature_rate, decay=goal.decay,
            barrier=goal.barrier if goal.updates == "barrier" else None,
        )  # fmt: skip
        if is_step:
            self.put(state)
            if goal.updates != "dual":  # solved for, they are as large as the floors need
                state.require_bounded(self.table.names)
        log_w = self._log_weights(part, members, base)
        # What a group gives an entry, times the mean size of groups.
        scale = len(groups) * len(self.table.row) / self.table.n_groups
        counts = (log_w + base).exp() * scale
        ess = float(effective_sample_size(log_w + base)) / len(base)
        facts = {
            "multipliers": state.multipliers.tolist(),
            "temperatures": state.temperatures.tolist(),
            "floors": state.floors.tolist(),
            "values": moments.bound.tolist(),
            "averages": state.moments.tolist(),
            "ess": ess,
            "is_reference_kept": bool(self.is_kept),
        }
        return counts[torch.searchsorted(members, entries)], facts

    def _constraint(self, part: GoalTable, members: Tensor, base: Tensor) -> Tensor:
        goal, state = self.goal, self.state
        if goal.is_literal or goal.divergence != "reverse_kl" or goal.radius > 0:
            w = self._log_weights(part, members, base).exp()
            return w[:, None] * part.secondary
        return part.crossfit(state.multipliers, goal.tau, base)

    def _log_weights(self, part: GoalTable, members: Tensor, base: Tensor) -> Tensor:
        goal, state = self.goal, self.state
        if goal.updates == "dual":
            return self.log_w[members]
        scores = constrained_scores(part.primary, part.secondary, state.multipliers)
        if goal.is_literal:
            return literal_log_weights(scores, goal.tau)
        if goal.radius > 0:
            return robust_log_weights(
                part.primary, part.secondary, state.multipliers, state.temperatures, goal.tau,
                part.group, base,
            )  # fmt: skip
        return log_weights(scores, goal.tau, part.group, base)


def _at_reference(table: GoalTable, goal: ConstrainedGoal) -> Tensor:
    """``(C,)`` what the reference reaches, by the bound that floors are compared with."""
    base = table.base()
    if goal.radius == 0 or goal.is_literal or not len(table.objectives):
        return (base.exp()[:, None] * table.secondary).sum(0)
    return kl_ball_bound(table.secondary.T, base.exp(), goal.radius)[0]
