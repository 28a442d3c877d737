from __future__ import annotations

import pytest
import torch

from paretune.core.job import TrainingJob
from paretune.core.objective import Objectives
from paretune.core.online import OnlineGoal
from paretune.core.policy import Steering
from paretune.core.record import PreferenceData, Record, Response
from paretune.core.rewards import RewardMatrix
from paretune.core.tradeoff import TradeOff
from paretune.engines.online_table import online_policy
from paretune.engines.table_policy import Table, TanhNetwork, total_variation
from paretune.engines.tabular import TabularEngine
from paretune.errors import InputError, ShapeError
from paretune.functional.closed_form import kl_regularized_optimum

REFERENCE = torch.log_softmax(torch.tensor([[0.0, 1.0, -1.0], [0.5, 0.5, 0.0]]).double(), -1)
REWARDS = torch.tensor([[[0, 3], [1, 2], [2, 1]], [[1, 0], [0, 1], [3, 3]]]).double()
WEIGHTS = (0.3, 0.7)


def goal(beta: float = 0.5, **more: object) -> OnlineGoal:
    return OnlineGoal(WEIGHTS, beta, **{"is_standardized": False, **more})


def job(wanted: OnlineGoal, **more: object) -> TrainingJob:
    return TrainingJob("policy", "online", TradeOff(WEIGHTS), online=wanted, **more)


def engine(model: type = Table, rewards: torch.Tensor | None = REWARDS) -> TabularEngine:
    records = [
        Record(
            f"prompt {s}",
            tuple(Response(str(a), {"x": REWARDS[s, a, 0].item(), "y": REWARDS[s, a, 1].item()})
                  for a in range(3)),
        )
        for s in range(2)
    ]  # fmt: skip
    data = PreferenceData.from_records(records, ("x", "y"))
    data = data.with_rewards(RewardMatrix(Objectives.of("x", "y"), data.rewards.values))
    return TabularEngine(model(REFERENCE), data, torch.arange(6).numpy() % 3, rewards)


def policy(table: TabularEngine, *jobs: TrainingJob) -> torch.Tensor:
    steering = Steering("pick", (jobs[-1].id,), (1.0,), TradeOff(WEIGHTS))
    return table.steered(table.train(jobs), steering)


@pytest.mark.parametrize("beta", [0.01, 0.5, 20.0])
@pytest.mark.parametrize("model", [Table, TanhNetwork])
def test_is_the_closed_form(beta: float, model: type) -> None:
    best = kl_regularized_optimum(
        REFERENCE, REWARDS, torch.tensor(WEIGHTS, dtype=torch.double), beta
    )
    found = policy(engine(model), job(goal(beta)))
    assert total_variation(found, best) < (1e-12 if model is Table else 1e-4)


def test_gradient_of_the_objective_is_zero() -> None:
    """What the language model climbs, differentiated by the library."""
    wanted = goal()
    logits = online_policy(wanted, REWARDS, REFERENCE, "a job").requires_grad_()
    logps = torch.log_softmax(logits, -1)
    utility = REWARDS @ torch.tensor(WEIGHTS, dtype=torch.double)
    objective = (logps.exp() * (utility - wanted.beta * (logps - REFERENCE))).sum()
    objective.backward()
    assert float(logits.grad.abs().max()) < 1e-12
    moved = (REFERENCE.exp() * utility).sum()
    assert float(objective.detach()) > float(moved) + 0.1, "the reference is no optimum"


def test_finds_the_best_action_that_the_start_hardly_takes() -> None:
    start = torch.log_softmax(torch.tensor([[160.0, 0.0]]).double(), -1)
    rewards = torch.tensor([[[0.0, 0.0], [1.0, 1.0]]]).double()
    # log-odds 160 against the action, 1 / 0.005 = 200 for it.
    found = online_policy(goal(0.005), rewards, start, "a job")
    assert float(found[0, 1] - found[0, 0]) == pytest.approx(40)


def test_scores_are_standardized_by_the_records() -> None:
    # Over the six cells x has variance 41/36 and y 11/9; means cancel in a softmax.
    std = torch.tensor([(41 / 36) ** 0.5, (11 / 9) ** 0.5], dtype=torch.double)
    best = kl_regularized_optimum(
        REFERENCE, REWARDS / std, torch.tensor(WEIGHTS, dtype=torch.double), 0.5
    )
    found = policy(engine(), job(goal(is_standardized=True)))
    assert total_variation(found, best) < 1e-9
    assert total_variation(found, policy(engine(), job(goal()))) > 1e-3


def test_the_start_is_the_reference() -> None:
    first = job(goal())
    second = TrainingJob("more", "online", TradeOff(WEIGHTS), online=goal(), start="policy")
    twice = kl_regularized_optimum(
        REFERENCE, REWARDS, torch.tensor(WEIGHTS, dtype=torch.double), 0.25
    )
    assert total_variation(policy(engine(), first, second), twice) < 1e-12


def test_refusals() -> None:
    with pytest.raises(InputError, match="found algorithm 'grpo', expected 'rloo' on a table"):
        policy(engine(), job(goal(algorithm="grpo")))
    with pytest.raises(InputError, match="found own replies and no rewards"):
        policy(engine(rewards=None), job(goal()))
    with pytest.raises(ShapeError, match=r"expected \(S, A, 2\)"):
        online_policy(goal(), REWARDS[..., :1], REFERENCE, "a job")
