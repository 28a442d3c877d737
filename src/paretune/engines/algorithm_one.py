r"""Algorithm 1 of MOPO on tables, as it is run: mini-batches, noisy steps, many seeds at once.

The exact engine says what the method means; this one says what its algorithm makes of it. A
policy is a softmax over the actions of each context, all seeds advance together, and nothing is
known but the records that a step draws and the labels' table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from paretune.core.constrained import ConstrainedGoal, Labels
from paretune.core.record import PreferenceData
from paretune.engines.goal_cells import GoalCells, goal_cells
from paretune.errors import InputError
from paretune.functional.imitation_weights import (
    clipped_log_ratios,
    constrained_scores,
    effective_sample_size,
    literal_log_weights,
    pair_weights,
)
from paretune.functional.multipliers import MultiplierState
from paretune.functional.robust_bound import kl_ball_bound

_BOUND_RECORDS = 96
"""Records behind a robust bound, at least: the bound of a small batch is optimistic."""

_ADVERSARY_STEP = 0.1
"""Of the log-adversary towards its answer: larger ones oscillate at small tau."""

_COOLING = 0.2
"""Last share of the steps, in which all step sizes fall linearly to 0."""

_CHECK_EVERY = 100


@final
@dataclass(frozen=True)
class StochasticPolicies:
    """What R seeds end with.

    Args:
        logps: ``(R, S, A)`` log-probabilities of the policies, in nats.
        ref_logps: ``(R, S, A)`` of the references they have moved to.
        state: multipliers, temperatures and floors ``(R, C)``.
        effective_share: ``(R,)`` effective sample size of the importance ratios over the records,
            as a share of their number, in (0, 1].
    """

    logps: Tensor
    ref_logps: Tensor
    state: MultiplierState
    effective_share: Tensor


def algorithm_one(
    goal: ConstrainedGoal,
    data: PreferenceData,
    action_of: npt.NDArray[np.int64],
    ref_logps: Tensor,
    seeds: Sequence[int],
    *,
    steps: int = 20_000,
    batch_size: int = 12,
    learning_rate: float = 0.015,
    opponent_logps: Tensor | None = None,
) -> StochasticPolicies:
    r"""Algorithm 1 with Adam on a softmax table, for several seeds.

    A step draws ``batch_size`` records, looks at each from both sides, moves temperatures and
    multipliers, and imitates the responses by their weights. Records are comparisons, or, with
    ``pool`` labels, any two responses of a prompt. Responses are weighed so that they count as
    the reference draws them; ratios of a reference that moved are clipped.

    Args:
        goal: with reverse KL and updates that follow the records (not ``dual``).
        data: a prompt is a context; the first response of a comparison was drawn by the
            reference, the second by the opponent.
        action_of: ``(N,)`` int64 action of each response, in [0, A).
        ref_logps: ``(S, A)`` float64 log-probabilities of the reference, in nats; finite.
        seeds: R of them, one run each.
        steps: optimizer steps, >= 1.
        batch_size: records a step, >= 1.
        learning_rate: of Adam, > 0; constant, then falling to 0 over the last fifth.
        opponent_logps: ``(S, A)`` of the policy that drew the second responses; ``None`` for the
            reference itself. Not read with ``pool`` labels, whose opponents are the pool.

    Returns:
        Policies and state of every seed.

    Raises:
        InputError: if the goal asks for what this algorithm does not define, or labels are missing.
        InfeasibleError: if no policy keeps the floors (they are not looked at when literal).
        RunError: if a multiplier grows without end, which a floor out of reach makes it.

    Source:
        Agnihotri et al. 2025 (MOPO), Algorithm 1, in the order of version 2. Deviations: weights
        normalized in each context; floors relative to the lower bound that they are compared with;
        the adversary's weights in those of the policy; the constraint measured on the mean label
        of a response, not on the one label behind its weight. ``is_literal`` undoes all of them.
    """
    _check(goal)
    sides = _sides(goal, data)
    swap = _swap_weights(goal, data.prompt_of[sides], action_of[sides], ref_logps, opponent_logps)
    cells = _cells(goal, data, action_of, ref_logps, swap)
    records = _Records.of(goal, data, action_of, sides, swap, cells, ref_logps)
    run = _Run.start(goal, cells, records, ref_logps, len(seeds))
    draws = [torch.Generator().manual_seed(seed) for seed in seeds]
    names = cells.table.names
    if not goal.is_literal:
        cells.require_floors()
    window = -(-_BOUND_RECORDS // batch_size) if goal.radius > 0 else 1
    recent: list[Tensor] = []
    for step in range(1, steps + 1):
        drawn = [
            torch.multinomial(records.chance, batch_size, replacement=True, generator=draw)
            for draw in draws
        ]
        recent = [*recent[1 - window :], torch.stack(drawn)] if window > 1 else [torch.stack(drawn)]
        pace = min(1.0, (steps - step + 1) / (_COOLING * steps))
        run = run.stepped(recent, step, pace, learning_rate)
        if goal.lag is not None and step % goal.lag == 0:
            run = run.refreshed()
        if step % _CHECK_EVERY == 0 or step == steps:
            run.state.require_bounded(names)
    log_ratios = run.log_ratios[..., records.cell.flatten()]
    share = effective_sample_size(log_ratios) / records.cell.numel()
    return StochasticPolicies(run.logps(), run.ref, run.state, share)


@final
@dataclass(frozen=True)
class _Records:
    """Comparisons seen from both sides: columns ``(N, 2)`` of cells, labels and weights."""

    cell: Tensor
    primary: Tensor
    secondary: Tensor
    weight: Tensor
    chance: Tensor

    @classmethod
    def of(
        cls,
        goal: ConstrainedGoal,
        data: PreferenceData,
        action_of: npt.NDArray[np.int64],
        sides: npt.NDArray[np.int64],
        swap: Tensor | None,
        cells: GoalCells,
        ref_logps: Tensor,
    ) -> _Records:
        n_contexts, n_actions = ref_logps.shape
        count = np.ones(len(sides))
        if goal.labels != "pool" and data.multiplicity is not None:
            count = data.multiplicity
        cell = torch.as_tensor(data.prompt_of[sides] * n_actions + action_of[sides])
        chance = torch.as_tensor(count / count.sum())
        if goal.labels.startswith("pair"):
            shape = (len(sides), 2)
            primary = cells.table.primary.view(shape)
            secondary = cells.table.secondary.view(*shape, -1)
        else:
            primary = cells.primary.flatten()[cell]
            secondary = cells.secondary.flatten(0, 1)[cell]
        weight = torch.ones_like(cell, dtype=torch.float64) if swap is None else swap
        if not goal.is_literal:
            ref = ref_logps.flatten()
            seen = torch.zeros_like(ref).index_add_(
                0, cell.flatten(), (chance[:, None] * weight).flatten() / 2
            )
            weight = weight * (ref.exp() / n_contexts)[cell] / seen[cell]
        return cls(cell, primary, secondary, weight, chance)


@final
@dataclass(frozen=True)
class _Run:
    """Everything that a step changes, ``R`` runs in the first dimension; ``Y`` = S * A cells."""

    goal: ConstrainedGoal
    cells: GoalCells
    records: _Records
    initial: Tensor
    ref: Tensor
    snapshot: Tensor
    logits: Tensor
    moment: Tensor
    square: Tensor
    state: MultiplierState
    log_adversary: Tensor

    @classmethod
    def start(
        cls,
        goal: ConstrainedGoal,
        cells: GoalCells,
        records: _Records,
        ref_logps: Tensor,
        n_runs: int,
    ) -> _Run:
        ref = ref_logps.expand(n_runs, *ref_logps.shape)
        nothing = torch.zeros_like(ref)
        joint = (records.chance[:, None] * records.weight).flatten() / 2
        values = records.secondary.flatten(0, 1)
        if goal.radius > 0 and not goal.is_literal:
            reached, _ = kl_ball_bound(values.T, joint / joint.sum(), goal.radius)
        else:
            reached = (joint[:, None] * values).sum(0)
        floors = cells.table.floors.expand(n_runs, -1)
        state = MultiplierState.start(floors, reached.expand_as(floors), goal.relaxation)
        adversary = torch.zeros(*ref.shape, floors.shape[-1], dtype=torch.float64)
        return cls(
            goal, cells, records, ref_logps, ref, ref, ref.clone(), nothing, nothing, state,
            adversary,
        )  # fmt: skip

    def logps(self) -> Tensor:
        """``(R, S, A)`` log-probabilities of the policies."""
        return self.logits.log_softmax(-1)

    @property
    def log_ratios(self) -> Tensor:
        """``(R, Y)`` log importance ratios of the reference that moved."""
        return clipped_log_ratios(self.ref, self.initial).flatten(1)

    def stepped(
        self, recent: Sequence[Tensor], step: int, pace: float, learning_rate: float
    ) -> _Run:
        """After temperatures, multipliers, adversary, weights and policy have moved."""
        goal = self.goal
        run = self._with_multipliers(torch.cat(list(recent), dim=1), pace)
        entries = recent[-1]
        cell = self.records.cell[entries].flatten(1)
        counts = self._counts(entries, cell)
        mass = counts * run._weights(entries, cell) / cell.shape[1]
        # The gradient of -sum m w log pi on a softmax table, in closed form.
        drawn = torch.zeros_like(self.logits).flatten(1).scatter_add_(1, cell, mass)
        drawn = drawn.view_as(self.logits)
        gradient = self.logps().exp() * drawn.sum(-1, keepdim=True) - drawn
        moment = 0.9 * self.moment + 0.1 * gradient
        square = 0.999 * self.square + 0.001 * gradient**2
        rate = pace * learning_rate / (1 - 0.9**step)
        scale = (square / (1 - 0.999**step)).sqrt() + 1e-8
        logits = self.logits - rate * moment / scale
        return replace(run, goal=goal, logits=logits, moment=moment, square=square)

    def refreshed(self) -> _Run:
        """After the reference has become the snapshot, and the snapshot the policy."""
        is_adaptive = self.cells.table.floors.isnan()
        state = self.state.refresh(is_adaptive, self.goal.relaxation)
        return replace(self, ref=self.snapshot, snapshot=self.logps(), state=state)

    def _with_multipliers(self, entries: Tensor, pace: float) -> _Run:
        goal, state = self.goal, self.state
        cell = self.records.cell[entries].flatten(1)
        counts, w = self._counts(entries, cell), self._weights(entries, cell)
        if goal.is_literal:
            q = self.records.secondary[entries].flatten(1, 2)
        else:
            q = self.cells.secondary.flatten(0, 1)[cell]
        f, base = w[..., None] * q, counts.clamp(min=1e-300).log()
        if goal.radius == 0:
            # An expectation needs no distribution: the plain mean is unbiased, a ratio is not.
            f, base = f * counts[..., None], torch.zeros_like(base)
        state, _ = state.advance(
            f, base, radius=goal.radius, multiplier_rate=pace * goal.multiplier_rate,
            temperature_rate=pace * goal.temperature_rate, decay=goal.decay,
            barrier=goal.barrier if goal.updates == "barrier" else None,
        )  # fmt: skip
        log_adversary = self.log_adversary
        if goal.radius > 0 and not goal.is_literal:
            chi = state.temperatures[:, None, None, :]
            w_cells = self._table_weights()[..., None]
            answer = -w_cells * self.cells.secondary / chi
            worst = torch.logsumexp(base[..., None] - f / state.temperatures[:, None, :], dim=1)
            answer = answer - (worst - base.logsumexp(-1)[:, None])[:, None, None, :]
            log_adversary = log_adversary + _ADVERSARY_STEP * (answer - log_adversary)
        return replace(self, state=state, log_adversary=log_adversary)

    def _table_weights(self) -> Tensor:
        """``(R, S, A)`` weights of the cells at the multipliers so far."""
        price = self.state.multipliers[:, None, :]
        adversary = self.log_adversary.exp() if self.goal.radius > 0 else None
        scores = constrained_scores(self.cells.primary, self.cells.secondary, price, adversary)
        if self._is_raw:
            return literal_log_weights(scores, self.goal.tau).exp()
        return ((self.ref + scores / self.goal.tau).log_softmax(-1) - self.ref).exp()

    def _weights(self, entries: Tensor, cell: Tensor) -> Tensor:
        """``(R, 2B)`` weights of the two sides of each record."""
        if not self.goal.labels.startswith("pair"):
            return self._table_weights().flatten(1).gather(1, cell)
        primary, secondary = self.records.primary[entries], self.records.secondary[entries]
        price = self.state.multipliers[:, None, :]
        scores = constrained_scores(primary, secondary, price)
        if self._is_raw:
            return literal_log_weights(scores, self.goal.tau).exp().flatten(1)
        first = pair_weights(scores[..., 0] - scores[..., 1], self.goal.tau)
        return torch.stack([first, 2 - first], dim=-1).flatten(1)

    @property
    def _is_raw(self) -> bool:
        """Without a normalizer every floor looks met, and a ball around that shows nothing."""
        return self.goal.is_literal and self.goal.radius == 0

    def _counts(self, entries: Tensor, cell: Tensor) -> Tensor:
        """``(R, 2B)`` how much each side of a record counts; 1 on average."""
        return self.records.weight[entries].flatten(1) * self.log_ratios.gather(1, cell).exp()


def _sides(goal: ConstrainedGoal, data: PreferenceData) -> npt.NDArray[np.int64]:
    """``(N, 2)`` rows of the two responses of each record."""
    if goal.labels != "pool":
        return np.stack([data.first, data.second], axis=1)
    is_same = data.prompt_of[:, None] == data.prompt_of[None]
    return np.stack(np.nonzero(np.triu(is_same, k=1)), axis=1)


def _swap_weights(
    goal: ConstrainedGoal,
    context: npt.NDArray[np.int64],
    action: npt.NDArray[np.int64],
    ref_logps: Tensor,
    opponent_logps: Tensor | None,
) -> Tensor | None:
    """``(N, 2)`` what the opponent drew counts as if the reference had, and met the opponent."""
    if opponent_logps is None or goal.is_literal or goal.labels == "pool":
        return None
    odds = (ref_logps - opponent_logps)[torch.as_tensor(context), torch.as_tensor(action)]
    swapped = (odds[:, 1] - odds[:, 0]).exp()
    return torch.stack([torch.ones_like(swapped), swapped], dim=1)


def _cells(
    goal: ConstrainedGoal,
    data: PreferenceData,
    action_of: npt.NDArray[np.int64],
    ref_logps: Tensor,
    swap: Tensor | None,
) -> GoalCells:
    """Preferences of the cells, against the opponent."""
    cells = goal_cells(goal, data, action_of, ref_logps.shape)
    if swap is None:
        return cells
    labels: Labels = "pair_hard" if goal.labels == "table" else goal.labels
    against = goal_cells(
        replace(goal, labels=labels), data, action_of, ref_logps.shape, side_weights=swap
    )
    return replace(cells, primary=against.primary, secondary=against.secondary)


def _check(goal: ConstrainedGoal) -> None:
    if goal.divergence != "reverse_kl":
        raise InputError(
            f"algorithm 1: found divergence {goal.divergence!r}, expected 'reverse_kl'"
        )
    if goal.updates == "dual":
        raise InputError(
            "algorithm 1: found updates 'dual', expected 'alternating' or 'barrier': a step sees "
            "a few records only"
        )
    if goal.radius > 0 and goal.labels.startswith("pair") and not goal.is_literal:
        raise InputError(
            f"algorithm 1: found a radius with labels {goal.labels!r}, expected 'table' or 'pool': "
            "the adversary weighs responses, and single labels are not their preferences"
        )
