"""MORLHF on tables, where its objective has a closed form."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from paretune.bench.answers import answers
from paretune.bench.problems import problem
from paretune.core.tradeoff import TradeOff
from paretune.engines.table_policy import total_variation
from paretune.errors import ConfigError
from paretune.functional.closed_form import kl_regularized_optimum
from paretune.functional.simplex import lattice
from paretune.methods.morlhf import MORLHF

GRID = lattice(2, 4)


def test_reaches_the_optimum_of_z_scores() -> None:
    made = problem("random-2")
    cells = made.rewards.numpy().reshape(-1, 2)
    z = torch.as_tensor((made.rewards.numpy() - cells.mean(0)) / cells.std(0))
    for tradeoff, found in zip(GRID, answers(made, MORLHF(beta=0.3), GRID), strict=True):
        weights = torch.tensor(tradeoff.weights, dtype=torch.double)
        best = kl_regularized_optimum(made.ref_logps, z, weights, 0.3)
        assert total_variation(found, best) < 1e-9


def test_units_of_a_reward_change_nothing() -> None:
    """Raw rewards in other units ask for another policy; z-scores do not."""
    made = problem("random-2")
    scaled = made.rewards * torch.tensor([100.0, 1.0])
    moved = []
    for is_standardized in (True, False):
        options: dict[str, Any] = {"beta": 0.3, "is_standardized": is_standardized}
        before, after = (
            answers(p, MORLHF(**options), [TradeOff.even(2)])[0]
            for p in (made, _with_rewards(made, scaled))
        )
        moved.append(total_variation(before, after))
    assert moved[0] < 1e-9 < 0.01 < moved[1]


def test_plans_one_policy_a_trade_off_and_serves_the_nearest() -> None:
    method = MORLHF(prompts=4, generations=3, steps=7, learning_rate=1e-3)
    plan = method.plan(2, [*GRID, GRID[0]])
    assert [job.tradeoff for job in plan] == GRID
    assert [job.online.weights for job in plan if job.online] == [t.weights for t in GRID]
    assert plan[0].settings == {"steps": 7, "batch_size": 12, "learning_rate": 1e-3}
    steering = method.steer(TradeOff((0.3, 0.7)), GRID)
    assert (steering.kind, steering.policies) == ("pick", ("policy-0.25-0.75",))
    assert steering.tradeoff == TradeOff((0.25, 0.75))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": 0.0}, r"morlhf\.beta: found 0\.0, expected a finite number > 0"),
        ({"generations": 1}, r"morlhf\.generations: found 1, expected a whole number >= 2"),
        ({"top_p": 0.0}, r"morlhf\.top_p: found 0\.0"),
        ({"algorithm": "ppo"}, r"morlhf\.algorithm: found 'ppo'.*known: grpo, rloo"),
        ({"aggregate": "normalize_then_sum"}, r"\(algorithm 'rloo' knows no other\)"),
    ],
)
def test_refusals(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MORLHF(**options)


def test_grpo_may_normalize_each_objective() -> None:
    method = MORLHF(algorithm="grpo", aggregate="normalize_then_sum")
    goal = method.plan(2, GRID)[0].online
    assert goal is not None and goal.aggregate == "normalize_then_sum"


def _with_rewards(made: Any, rewards: torch.Tensor) -> Any:
    return dataclasses.replace(made, rewards=rewards)
