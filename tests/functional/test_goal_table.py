"""Goals on data: floors that hold on opponents that the weights never saw."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from paretune.core.constrained import ConstrainedGoal
from paretune.core.objective import Objectives
from paretune.core.record import PreferenceData
from paretune.core.rewards import RewardMatrix
from paretune.errors import InfeasibleError, InputError
from paretune.functional.constrained import constrained_optimum
from paretune.functional.goal_table import check_goal, goal_table, solve_multipliers


def pools(n_prompts: int, n_responses: int, seed: int = 0, n_objectives: int = 2) -> PreferenceData:
    rng = np.random.default_rng(seed)
    n = n_prompts * n_responses
    nothing = np.zeros(0, dtype=np.int64)
    return PreferenceData(
        prompts=tuple(f"prompt {s}" for s in range(n_prompts)),
        texts=tuple(f"text {i}" for i in range(n)),
        prompt_of=np.repeat(np.arange(n_prompts), n_responses),
        rewards=RewardMatrix(
            Objectives(tuple("abc"[:n_objectives])), rng.normal(size=(n, n_objectives))
        ),
        first=nothing, second=nothing, labels=np.zeros((0, n_objectives)),
    )  # fmt: skip


def goal(**options: object) -> ConstrainedGoal:
    defaults = {"primary": 0, "thresholds": (None, 0.6), "reward_floors": (None, None), "tau": 0.1}
    return ConstrainedGoal(**{**defaults, "is_adaptive": False, **options})  # type: ignore[arg-type]


def test_columns_and_floors() -> None:
    data = pools(3, 5, n_objectives=3)
    table = goal_table(
        goal(primary=1, thresholds=(None, None, 0.7), reward_floors=(0.1, None, None)), data
    )
    assert table.objectives == (0, 2)
    assert table.floors.tolist() == [0.1, 0.7]
    # A floor in reward is held against rewards, one in preference against preferences.
    assert table.secondary[:, 0].numpy() == pytest.approx(data.rewards.values[table.row, 0])
    assert float(table.secondary[:, 1].max()) == 1.0
    assert table.n_groups == 3


def test_adaptive_floors_are_open() -> None:
    table = goal_table(goal(thresholds=(None, None), is_adaptive=True), pools(2, 4))
    assert table.floors.isnan().all()
    assert table.objectives == (1,)


def test_both_floors_for_one_objective_are_refused() -> None:
    with pytest.raises(InputError, match=r"b >= 0\.6 in preference probability and >= 0\.5"):
        goal_table(goal(reward_floors=(None, 0.5)), pools(2, 4))


def test_dense_rows_of_ragged_groups() -> None:
    data = pools(2, 4)
    data = PreferenceData(
        data.prompts, data.texts, np.array([0, 0, 0, 1, 1, 0, 0, 1]), data.rewards,
        data.first, data.second, data.labels,
    )  # fmt: skip
    table = goal_table(goal(), data)
    dense = table.dense(torch.as_tensor(table.row, dtype=torch.float64), -1.0)
    assert dense.tolist() == [[0, 1, 2, 5, 6], [3, 4, 7, -1, -1]]


@pytest.mark.parametrize("seed", [0, 1])
def test_held_out_opponents_confirm_the_floor(seed: int) -> None:
    data = pools(400, 12, seed)
    table = goal_table(goal(), data, seed)
    free = torch.zeros(len(table.row), dtype=torch.float64)
    multipliers, log_w = solve_multipliers(table, goal(), table.floors, free)
    base = table.base()
    # True preference over the population of opponents: rewards are standard normal.
    rewards = torch.as_tensor(data.rewards.values[table.row, 1])
    truth = torch.special.ndtr(rewards)
    reached = float((base.exp() * log_w.exp() * truth).sum())
    # A little above: with some opponents held out there are fewer replies to choose from.
    assert 0.6 - 0.002 < reached < 0.6 + 0.012
    # Without folds the floor is met by the labels that made the weights, and missed in truth.
    dense = [table.dense(t, f) for t, f in ((base, -torch.inf), (table.primary, 0.0))]
    ref = torch.log_softmax(dense[0], dim=-1)
    naive = constrained_optimum(ref, dense[1], table.dense(table.secondary, 0.0), table.floors, 0.1)
    by_truth = (naive.logps.exp() * table.dense(truth, 0.0)).sum(-1).mean()
    assert float(by_truth) < 0.6 - 0.015
    assert float(multipliers) > float(naive.multipliers)


@pytest.mark.parametrize(("n_responses", "floor"), [(4, 0.6), (5, 0.7), (8, 0.8)])
def test_small_pools_and_high_floors_promise_nothing_they_do_not_keep(
    n_responses: int, floor: float
) -> None:
    data = pools(1000, n_responses)
    asked = goal(thresholds=(None, floor))
    table = goal_table(asked, data)
    _, log_w = solve_multipliers(table, asked, table.floors, torch.zeros(len(table.row)).double())
    truth = torch.special.ndtr(torch.as_tensor(data.rewards.values[table.row, 1]))
    assert float(((table.base() + log_w).exp() * truth).sum()) > floor - 0.01


def test_a_floor_that_held_out_opponents_deny_is_refused() -> None:
    data = pools(1000, 8)
    asked = goal(thresholds=(None, 0.97))
    table = goal_table(asked, data)
    # The pools themselves hold a winner each, at a preference of 1.
    with pytest.raises(InfeasibleError, match="confirmed by held-out opponents"):
        solve_multipliers(table, asked, table.floors, torch.zeros(8000).double())


def test_weights_average_to_one_over_the_reference() -> None:
    table = goal_table(goal(), pools(5, 6))
    _, log_w = solve_multipliers(table, goal(), table.floors, torch.zeros(30).double())
    mass = torch.zeros(5).double().index_add(0, table.group, (log_w + table.base()).exp())
    assert mass.tolist() == pytest.approx([0.2] * 5)


def test_what_cannot_be_met_is_told_with_names() -> None:
    data = pools(3, 5)
    assert check_goal(goal(), data) == 15
    with pytest.raises(InfeasibleError, match=r"floors: b >= 1 cannot be met: best seen 0\.5"):
        check_goal(goal(thresholds=(None, 1.0), reward_floors=(None, None)), _flat(data))


def _flat(data: PreferenceData) -> PreferenceData:
    values = data.rewards.values.copy()
    values[:, 1] = 0.0
    return data.with_rewards(RewardMatrix(data.rewards.objectives, values))
