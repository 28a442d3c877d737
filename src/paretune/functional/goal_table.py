"""A constrained goal on data: what its labels say of every response, and which floors it has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import nan
from typing import final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from paretune.core.constrained import ConstrainedGoal
from paretune.core.record import PreferenceData
from paretune.errors import InfeasibleError, InputError
from paretune.functional.constrained import constrained_optimum
from paretune.functional.feasibility import Verdict
from paretune.functional.imitation_weights import (
    ball_moments,
    constrained_scores,
    log_base,
    log_weights,
)
from paretune.functional.preference_table import (
    Folds,
    PreferenceTable,
    label_table,
    pair_table,
    pool_table,
)

Ints = npt.NDArray[np.int64]

_CORRECTIONS = 20
"""Rounds in which floors are raised by what the multipliers' own labels promise too much."""

_AGREEMENT = 1e-4
"""Floors that are missed by less on other opponents count as met."""

_TOLERABLE = 0.05
"""Held-out opponents see fewer candidates than there are, so they deny a little too often."""


@final
@dataclass(frozen=True)
class GoalTable:
    r"""Entries of a goal: E responses in groups, with their preference on each objective.

    Args:
        row: ``(E,)`` response of each entry.
        group: ``(E,)`` int64 what competes for probability, 0 to G - 1, ascending.
        primary: ``(E,)`` float64 preference probability on the primary objective.
        secondary: ``(E, C)`` on the objectives with a floor: a preference probability, or the
            reward where the floor is one.
        rest_primary: ``(F, E)`` the same without the opponents of each fold.
        rest_secondary: ``(F, E, C)``.
        held_secondary: ``(F, E, C)`` with the opponents of each fold only.
        fold_mass: ``(F, E)`` how much each fold counts for an entry.
        is_candidate: ``(F, E)`` bool, False where the entry itself is held out.
        log_count: ``(E,)`` log of how often each entry was given.
        floors: ``(C,)``; NaN where the floor adapts.
        objectives: ``(C,)`` columns of the objectives with a floor.
        names: ``(C,)`` their names, for messages.
    """

    row: Ints
    group: Tensor
    primary: Tensor
    secondary: Tensor
    rest_primary: Tensor
    rest_secondary: Tensor
    held_secondary: Tensor
    fold_mass: Tensor
    is_candidate: Tensor
    log_count: Tensor
    floors: Tensor
    objectives: tuple[int, ...]
    names: tuple[str, ...]

    @property
    def n_groups(self) -> int:
        """G."""
        return int(self.group[-1]) + 1

    def base(self, log_ratios: Tensor | None = None) -> Tensor:
        """``(E,)`` log of how much each entry counts: groups alike, entries by count and ratio.

        Args:
            log_ratios: ``(E,)`` log importance ratios of the reference, nats; ``None`` for 0.
        """
        mass = self.log_count if log_ratios is None else self.log_count + log_ratios
        return log_base(self.group, mass)

    def constraint_values(self, log_w: Tensor, base: Tensor) -> Tensor:
        """``(C,)`` what the weights reach, by the labels that made them (optimistic)."""
        return ball_moments(log_w.exp()[:, None] * self.secondary, base, self.floors, 0.0).bound

    def crossfit(self, multipliers: Tensor, tau: float, base: Tensor) -> Tensor:
        r"""``(E, C)`` :math:`f = w q` with weights and constraint from different opponents.

        A response that was lucky with its opponents is weighed up by it and praised by it; its
        other opponents are honest.
        """
        f = torch.zeros_like(self.secondary)
        columns = (self.rest_primary, self.rest_secondary, self.held_secondary, self.fold_mass)
        for rest, others, held, mass, is_in in zip(*columns, self.is_candidate, strict=True):
            scores = constrained_scores(rest, others, multipliers)
            among = base.masked_fill(~is_in, -torch.inf)
            # Over the candidates that are left, whose base sums to less than the group's.
            w = log_weights(scores, tau, self.group, among) + log_base(self.group, among)
            f = f + (mass * (w - log_base(self.group, base)).exp())[:, None] * held
        return f

    def take(self, groups: Tensor) -> tuple[GoalTable, Tensor]:
        """The entries of some groups, and which entries of this table they are.

        Args:
            groups: ``(g,)`` distinct groups, ascending.
        """
        # Groups ascend, so each is a stretch of entries: no pass over the whole table.
        first = torch.searchsorted(self.group, groups)
        sizes = torch.searchsorted(self.group, groups, right=True) - first
        index = torch.repeat_interleave(torch.arange(len(groups)), sizes)
        within = torch.arange(len(index)) - (torch.cumsum(sizes, 0) - sizes)[index]
        entries = first[index] + within
        part = replace(
            self,
            row=self.row[entries.cpu().numpy()],
            group=index,
            primary=self.primary[entries],
            secondary=self.secondary[entries],
            rest_primary=self.rest_primary[:, entries],
            rest_secondary=self.rest_secondary[:, entries],
            held_secondary=self.held_secondary[:, entries],
            fold_mass=self.fold_mass[:, entries],
            is_candidate=self.is_candidate[:, entries],
            log_count=self.log_count[entries],
        )
        return part, entries

    def dense(self, values: Tensor, filler: float) -> Tensor:
        """``(G, A, ...)`` values of entries with one row a group, short groups filled up."""
        sizes = torch.bincount(self.group)
        starts = torch.cumsum(sizes, 0) - sizes
        place = torch.arange(len(self.group)) - starts[self.group]
        shape = (len(sizes), int(sizes.max()), *values.shape[1:])
        out = torch.full(shape, filler, dtype=values.dtype)
        out[self.group, place] = values
        return out


def goal_table(goal: ConstrainedGoal, data: PreferenceData, seed: int = 0) -> GoalTable:
    """What a goal's labels say of a data set.

    An objective on which a compared response has no label counts 1/2 there: nothing is known.

    Args:
        goal: of a job.
        data: rows with rewards, comparisons with labels.
        seed: deals opponents into folds.

    Raises:
        InputError: if rewards or labels that the goal needs are missing.
    """
    table = _preferences(goal, data, seed)
    columns = goal.secondary
    values = np.nan_to_num(table.values, nan=0.5)
    folds = table.folds or Folds(
        values[None], values[None], np.ones((1, len(values))), np.ones((1, len(values)), dtype=bool)
    )
    rest, held = np.nan_to_num(folds.rest, nan=0.5), np.nan_to_num(folds.held, nan=0.5)
    floors = np.full(len(columns), np.nan)
    secondary = values[:, columns].copy()
    rest_secondary, held_secondary = rest[:, :, columns].copy(), held[:, :, columns].copy()
    for place, column in enumerate(columns):
        threshold, floor = goal.thresholds[column], goal.reward_floors[column]
        if threshold is not None and floor is not None:
            name = data.rewards.objectives.names[column]
            raise InputError(
                f"floors: found {name} >= {threshold} in preference probability and >= {floor} in "
                "reward, expected one of the two"
            )
        if floor is not None:
            rewards = data.rewards.values[table.row, column]
            if np.isnan(rewards).any():
                name = data.rewards.objectives.names[column]
                raise InputError(
                    f"floors: found responses without a reward for {name}, expected every one "
                    "scored: its floor is a reward"
                )
            secondary[:, place] = rewards
            rest_secondary[:, :, place] = held_secondary[:, :, place] = rewards
            floors[place] = floor
        elif threshold is not None:
            floors[place] = threshold
    return GoalTable(
        table.row,
        torch.from_numpy(table.group),
        torch.from_numpy(values[:, goal.primary].copy()),
        torch.from_numpy(secondary),
        torch.from_numpy(rest[:, :, goal.primary].copy()),
        torch.from_numpy(rest_secondary),
        torch.from_numpy(held_secondary),
        torch.from_numpy(folds.mass),
        torch.from_numpy(folds.is_candidate),
        torch.from_numpy(np.log(table.count)),
        torch.from_numpy(floors),
        columns,
        tuple(data.rewards.objectives.names[column] for column in columns),
    )


def solve_multipliers(
    table: GoalTable, goal: ConstrainedGoal, floors: Tensor, log_ratios: Tensor
) -> tuple[Tensor, Tensor]:
    r"""Multipliers that meet the floors on other opponents than those behind the weights.

    The exact dual on the table meets them by the labels that it optimizes, which promise too much
    where a response has few opponents. So the floors are raised by the difference between what
    the table promises and what held-out opponents confirm, until both agree.

    Args:
        table: of the goal.
        goal: its ``tau`` and divergence.
        floors: ``(C,)``, none adaptive any more.
        log_ratios: ``(E,)`` log importance ratios of the current reference, nats.

    Returns:
        ``(C,)`` multipliers >= 0 and ``(E,)`` log-weights.

    Raises:
        InfeasibleError: if no policy on these responses meets the floors, or held-out opponents
            deny it by more than .05.
    """
    base = table.base(log_ratios)
    ref = torch.log_softmax(table.dense(base, -torch.inf), dim=-1)
    primary, secondary = table.dense(table.primary, 0.0), table.dense(table.secondary, 0.0)

    def solve(asked: Tensor) -> tuple[Tensor, Tensor]:
        best = constrained_optimum(
            ref, primary, secondary, asked, goal.tau,
            divergence=goal.divergence, alpha=goal.alpha,
        )  # fmt: skip
        tilted = best.logps - ref
        return best.multipliers, tilted[torch.isfinite(ref)]

    try:
        multipliers, log_w = solve(floors)
    except InfeasibleError as error:
        raise _named(error, table.names) from error
    if goal.divergence != "reverse_kl" or len(table.fold_mass) == 1:
        return multipliers, log_w
    excess, step = torch.zeros_like(floors), torch.full_like(floors, torch.inf)
    for _ in range(_CORRECTIONS):
        confirmed = ball_moments(
            table.crossfit(multipliers, goal.tau, base), base, floors, 0.0
        ).bound
        missing = (floors - confirmed).clamp(min=0)
        if bool((missing < _AGREEMENT).all()):
            break
        # What was too much once is halved until it fits: as high as these responses allow.
        step = torch.minimum(step, missing)
        try:
            multipliers, log_w = solve(floors + excess + step)
            excess, step = excess + step, torch.full_like(floors, torch.inf)
        except InfeasibleError:
            step = step / 2
    if bool((missing > _TOLERABLE).any()):
        verdict = Verdict(
            tuple(floors.tolist()), tuple(confirmed.tolist()), (nan,) * len(floors),
            -float(missing.max()),
        )  # fmt: skip
        raise InfeasibleError(
            f"floors: {verdict.explain(table.names)}, confirmed by held-out opponents", verdict
        )
    return multipliers, log_w


def _named(error: InfeasibleError, names: Sequence[str]) -> InfeasibleError:
    """The same verdict with the names of the objectives."""
    told = str(error) if error.verdict is None else error.verdict.explain(names)
    return InfeasibleError(
        f"floors: {told}, on the training responses; expected floors that a policy over them can "
        "keep",
        error.verdict,
    )


def check_goal(goal: ConstrainedGoal, data: PreferenceData, seed: int = 0) -> int:
    """How many responses a goal would learn from.

    Raises:
        InputError: if what its labels need is missing, or its floors cannot be met.
    """
    table = goal_table(goal, data, seed)
    require_floors(goal, table)
    return len(np.unique(table.row))


def require_floors(goal: ConstrainedGoal, table: GoalTable) -> None:
    """Refuse floors that no policy on the responses keeps; adaptive ones are always kept.

    Raises:
        InfeasibleError: telling what can be reached, with names.
    """
    known = ~torch.isnan(table.floors)
    if not known.any():
        return
    names = [name for name, is_one in zip(table.names, known.tolist(), strict=True) if is_one]
    ref = torch.log_softmax(table.dense(table.base(), -torch.inf), dim=-1)
    primary, secondary = table.dense(table.primary, 0.0), table.dense(table.secondary, 0.0)
    try:
        constrained_optimum(ref, primary, secondary[..., known], table.floors[known], goal.tau)
    except InfeasibleError as error:
        raise _named(error, names) from error


def _preferences(goal: ConstrainedGoal, data: PreferenceData, seed: int) -> PreferenceTable:
    rewards = data.rewards.values
    if goal.labels == "pool":
        return pool_table(rewards, data.prompt_of, goal.slope, seed, data.counts)
    if not data.n_comparisons:
        raise InputError(f"labels {goal.labels}: found no comparison, expected some")
    if goal.labels != "pair_soft":
        is_labelled = ~np.isnan(data.labels)
        names = enumerate(data.rewards.objectives.names)
        empty = [name for column, name in names if not is_labelled[:, column].any()]
        if empty:
            raise InputError(
                f"labels {goal.labels}: found no label for {', '.join(empty)}, expected some on "
                "every objective"
            )
    if goal.labels == "table":
        return label_table(
            data.first, data.second, data.labels, data.prompt_of, data.multiplicity, seed,
            data.counts,
        )  # fmt: skip
    is_soft = goal.labels == "pair_soft"
    return pair_table(
        data.first, data.second, data.labels, rewards if is_soft else None, goal.slope
    )
