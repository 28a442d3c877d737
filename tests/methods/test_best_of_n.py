from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from paretune.bench.problem import Problem
from paretune.bench.problems import random_problem
from paretune.core.objective import Objectives
from paretune.core.tradeoff import TradeOff
from paretune.engines.table_policy import Table
from paretune.engines.tabular import TabularEngine
from paretune.errors import InputError
from paretune.functional.closed_form import expected_rewards, kl_divergence
from paretune.functional.scalarize import chebyshev
from paretune.functional.simplex import lattice
from paretune.methods.best_of_n import BestOfN


@pytest.fixture
def normal() -> Problem:
    """One context whose rewards are standard normal, 4,000 actions, uniform reference."""
    rewards = np.random.default_rng(0).standard_normal((1, 4000, 2))
    # Exactly: the z-scores of the engine are then the rewards.
    rewards = (rewards - rewards.mean(1)) / rewards.std(1)
    return Problem(
        Objectives.of("a", "b"),
        torch.as_tensor(rewards),
        torch.full((1, 4000), -math.log(4000), dtype=torch.float64),
    )


def engine(problem: Problem) -> TabularEngine:
    return TabularEngine(
        Table(problem.ref_logps),
        problem.data(is_compared=False),
        problem.action_of,
        problem.rewards,
    )


def test_mean_utility_rises_with_n(normal: Problem) -> None:
    tradeoff = TradeOff((0.3, 0.7))
    found = []
    for n in (1, 4, 16):
        policy = engine(normal).steered({}, BestOfN(n=n).steer(tradeoff, []))
        found.append(
            float(expected_rewards(policy, normal.rewards) @ torch.tensor([0.3, 0.7]).double())
        )
    # sqrt(.58) times the expected largest of 1, 4 and 16 standard normals: 0, 1.029, 1.766
    np.testing.assert_allclose(found, [0.0, 0.784, 1.345], atol=0.03)


def test_one_candidate_is_the_reference() -> None:
    problem = random_problem()
    for tradeoff in lattice(2, 4):
        policy = engine(problem).steered({}, BestOfN(n=1).steer(tradeoff, []))
        torch.testing.assert_close(policy, problem.ref_logps, atol=1e-12, rtol=0)


def test_distance_to_the_reference_has_its_bound() -> None:
    problem = random_problem(n_actions=50)
    for n in (2, 4, 16):
        policy = engine(problem).steered({}, BestOfN(n=n).steer(TradeOff.even(2), []))
        divergence = kl_divergence(policy, problem.ref_logps)
        assert (divergence > 0.1).all()
        assert (divergence <= math.log(n) - (n - 1) / n + 1e-9).all()


def test_chebyshev_prefers_the_balanced_reply() -> None:
    rewards = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.45, 0.45]]]).double()
    even = torch.full((1, 3), -math.log(3), dtype=torch.float64)
    table = engine(Problem(Objectives.of("a", "b"), rewards, even))
    best = {
        utility: int(table.steered({}, BestOfN(64, utility).steer(TradeOff.even(2), [])).argmax())
        for utility in ("linear", "chebyshev")
    }
    assert best["chebyshev"] == 2 and best["linear"] != 2


def test_chebyshev_utility_rises_with_n() -> None:
    problem = random_problem(n_actions=40)
    low, high = (f(problem.rewards.numpy().reshape(-1, 2), axis=0) for f in (np.min, np.max))
    unit = (problem.rewards.numpy() - low) / (high - low)
    for tradeoff in lattice(2, 4):
        utility = torch.as_tensor(chebyshev(unit, tradeoff.weights))
        means = [
            float((engine(problem).steered({}, BestOfN(n, "chebyshev").steer(tradeoff, [])).exp()
                   * utility).sum())
            for n in (1, 2, 4, 8, 16)
        ]  # fmt: skip
        assert all(np.diff(means) > 0.01)


def test_nothing_is_trained() -> None:
    assert BestOfN().plan(3, lattice(3, 2)) == []


def test_rewards_are_needed_to_rate() -> None:
    problem = random_problem()
    blind = TabularEngine(Table(problem.ref_logps), problem.data(), problem.action_of)
    with pytest.raises(InputError, match="no rewards"):
        blind.steered({}, BestOfN(n=2).steer(TradeOff.even(2), []))
