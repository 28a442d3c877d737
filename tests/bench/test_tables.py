from __future__ import annotations

import numpy as np
import pytest
import torch

from paretune.bench.tables import front_problem, random_problem
from paretune.core.tradeoff import TradeOff
from paretune.errors import ConfigError


@pytest.mark.parametrize("n_objectives", [1, 2, 3])
def test_comparisons_hold_exact_expectations(n_objectives: int) -> None:
    problem = random_problem(2, 4, n_objectives, seed=3)
    data = problem.data(slope=2.0)
    pairs = 2 * 6
    assert data.n_comparisons == pairs * 2**n_objectives
    assert data.multiplicity is not None
    counts = data.multiplicity.reshape(pairs, -1)
    np.testing.assert_allclose(counts.sum(axis=1), 1)
    # The mean label of an objective is 2 sigmoid(2 dr) - 1 = tanh(dr).
    mean = (data.labels * data.multiplicity[:, None]).reshape(pairs, -1, n_objectives).sum(axis=1)
    np.testing.assert_allclose(mean, np.tanh(data.margins[:: 2**n_objectives]), atol=1e-12)


def test_objectives_are_labelled_independently() -> None:
    data = random_problem().data(slope=1.0)
    assert data.multiplicity is not None
    both = (data.labels.prod(axis=1) * data.multiplicity).reshape(-1, 4).sum(axis=1)
    alone = (data.labels * data.multiplicity[:, None]).reshape(-1, 4, 2).sum(axis=1)
    np.testing.assert_allclose(both, alone.prod(axis=1), atol=1e-12)


def test_rows_are_the_cells_in_order() -> None:
    problem = random_problem(3, 5)
    data = problem.data()
    assert data.n_comparisons == 0 and len(data.texts) == 15
    cells = problem.rewards.numpy()[data.prompt_of, problem.action_of]
    np.testing.assert_array_equal(data.rewards.values, cells)


def test_comparisons_stay_within_a_context() -> None:
    data = random_problem(3, 4).data(slope=1.0)
    np.testing.assert_array_equal(data.prompt_of[data.first], data.prompt_of[data.second])
    assert (data.first < data.second).all()


def test_slope_must_be_positive() -> None:
    with pytest.raises(ConfigError, match="found slope 0"):
        random_problem().data(slope=0.0)


def test_problems_depend_on_the_seed_alone() -> None:
    for make in (random_problem, lambda seed: front_problem("convex", 50, seed)):
        one, again, other = make(seed=0), make(seed=0), make(seed=1)
        assert torch.equal(one.rewards, again.rewards)
        assert torch.equal(one.ref_logps, again.ref_logps)
        assert not torch.equal(one.rewards, other.rewards)


def test_optimum_beats_its_neighbors() -> None:
    problem, tradeoff, beta = random_problem(), TradeOff((0.3, 0.7)), 0.5
    best = problem.optimum(tradeoff, beta)

    def value(logps: torch.Tensor) -> float:
        utility = problem.rewards @ torch.as_tensor(tradeoff.array)
        gain = utility - beta * (logps - problem.ref_logps)
        return float((logps.exp() * gain).sum(-1).mean())

    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        step = 0.1 * torch.randn(best.shape, generator=generator, dtype=torch.float64)
        assert value(torch.log_softmax(best + step, dim=-1)) < value(best)


@pytest.mark.parametrize(("shape", "bulge"), [("convex", 1), ("nonconvex", -1)])
def test_shapes_bulge_their_way(shape, bulge: int) -> None:
    rewards = front_problem(shape, 5000).rewards[0].numpy()
    middle = rewards[np.abs(rewards[:, 0] - rewards[:, 1]) < 0.1].sum(axis=1).max()
    assert bulge * (middle - 1) > 0.3 and rewards.min() >= 0 and 0.95 < rewards.max() <= 1
