"""A constrained goal on a table: what its labels say of every context and action."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from paretune.core.constrained import ConstrainedGoal
from paretune.core.record import PreferenceData
from paretune.errors import InfeasibleError
from paretune.functional.feasibility import check_floors
from paretune.functional.goal_table import GoalTable, goal_table


@final
@dataclass(frozen=True)
class GoalCells:
    """Preferences of the cells of a table, and the entries they were read from.

    Args:
        table: entries of the goal.
        cell: ``(E,)`` int64 cell of each entry, ``context * A + action``.
        count: ``(E,)`` float64 how much each entry says of its cell, > 0.
        primary: ``(S, A)`` float64 mean over the entries of the cell.
        secondary: ``(S, A, C)``.
        is_seen: ``(S, A)`` whether the cell has an entry. Unseen cells have preference 0 (and the
            lowest reward where the floor is one): what nobody compared is not preferred.
    """

    table: GoalTable
    cell: Tensor
    count: Tensor
    primary: Tensor
    secondary: Tensor
    is_seen: Tensor

    def require_floors(self) -> None:
        """Refuses floors that no policy on the table keeps; adaptive ones always are.

        Raises:
            InfeasibleError: telling with the names what can be reached.
        """
        is_fixed = ~self.table.floors.isnan()
        floors, secondary = self.table.floors[is_fixed], self.secondary[..., is_fixed]
        verdict = check_floors(secondary.numpy(), floors.numpy())
        if not verdict.is_feasible:
            each = zip(self.table.names, is_fixed, strict=True)
            fixed = [name for name, is_one in each if is_one]
            raise InfeasibleError(f"floors: {verdict.explain(fixed)}, on this table", verdict)


def goal_cells(
    goal: ConstrainedGoal,
    data: PreferenceData,
    action_of: npt.NDArray[np.int64],
    shape: Sequence[int],
    seed: int = 0,
    side_weights: Tensor | None = None,
) -> GoalCells:
    """The preferences that a goal's labels give to the cells of a table.

    Args:
        goal: of a job.
        data: a prompt is a context, a response an action.
        action_of: ``(N,)`` int64 action of each response, in [0, A).
        shape: ``(S, A)``.
        seed: deals opponents into folds.
        side_weights: ``(P, 2)`` how much the two sides of each comparison count, with ``pair``
            labels; ``None`` for alike.

    Raises:
        InputError: if rewards or labels that the goal needs are missing.
    """
    table = goal_table(goal, data, seed)
    n_cells = shape[0] * shape[1]
    cell = torch.as_tensor(data.prompt_of[table.row] * shape[1] + action_of[table.row])
    count = table.log_count.exp()
    if goal.labels.startswith("pair") and data.multiplicity is not None:
        count = count * torch.as_tensor(np.repeat(data.multiplicity, 2))
    if side_weights is not None:
        count = count * side_weights.flatten()
    total = torch.zeros(n_cells, dtype=torch.float64).index_add_(0, cell, count)
    is_seen = total > 0

    def mean(values: Tensor, missing: Tensor) -> Tensor:
        sums = torch.zeros(n_cells, *values.shape[1:], dtype=torch.float64)
        sums.index_add_(0, cell, values * count.view(-1, *[1] * (values.ndim - 1)))
        means = sums / total.clamp(min=1e-300).view(-1, *[1] * (values.ndim - 1))
        means[~is_seen] = missing
        return means.view(*shape, *values.shape[1:])

    zero = torch.zeros((), dtype=torch.float64)
    is_reward = torch.tensor([goal.reward_floors[i] is not None for i in table.objectives])
    lowest = torch.where(is_reward.bool(), table.secondary.amin(0), zero)
    primary, secondary = mean(table.primary, zero), mean(table.secondary, lowest)
    return GoalCells(table, cell, count, primary, secondary, is_seen.view(*shape))
