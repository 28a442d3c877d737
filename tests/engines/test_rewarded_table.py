"""Rewarded jobs on tables, against the closed form of what they clone."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from paretune.bench.problem import Problem
from paretune.bench.problems import random_problem
from paretune.core.job import Pool, TrainingJob
from paretune.core.tradeoff import TradeOff
from paretune.engines.table_policy import Table, TanhNetwork, total_variation
from paretune.engines.tabular import TabularEngine
from paretune.errors import InputError, NotScoredError
from paretune.functional.policy_hypervolume import hypervolume_pull, policy_hypervolume
from paretune.functional.rewarded_likelihood import (
    Calibration,
    LikelihoodBatch,
    PolicyHypervolume,
    calibrate,
    inside,
)
from paretune.functional.select import select_all
from paretune.functional.simplex import lattice

THREE = tuple(t.weights for t in lattice(2, 2))


def jobs_of(anchors: tuple[tuple[float, ...], ...], **fields: Any) -> list[TrainingJob]:
    loss = PolicyHypervolume(anchors, **fields)
    return [
        TrainingJob(f"head-{k}", "rewarded", TradeOff(a), select_all, step_loss=loss, group="heads")
        for k, a in enumerate(anchors)
    ]


def engine(problem: Problem, model: Any = None, **more: Any) -> TabularEngine:
    data = problem.data(is_compared=False)
    model = model or Table(problem.ref_logps)
    return TabularEngine(model, data, problem.action_of, problem.rewards, **more)


def policies(table: TabularEngine, jobs: list[TrainingJob]) -> list[Tensor]:
    return [table.model.logps(p) for p in table.train(jobs).values()]


def calibration(problem: Problem) -> Calibration:
    return calibrate(problem.data(is_compared=False).rewards.values)


def cloned(problem: Problem, strengths: Tensor) -> Tensor:
    """The policy in proportion to a weighted sum of rewards, of every cell once."""
    mixed = torch.from_numpy(calibration(problem).weights) @ strengths
    return mixed.view(problem.shape).log().log_softmax(-1)


def points_of(problem: Problem, found: list[Tensor]) -> Tensor:
    facts = calibration(problem)
    logps = torch.stack([p.flatten() for p in found])
    uniform = torch.full_like(logps[0], -np.log(problem.shape[1]))  # the data: every cell once
    batch = LikelihoodBatch(
        logps, uniform,
        *(torch.from_numpy(x) for x in (facts.weights, facts.low, facts.high)),
    )  # fmt: skip
    return (batch.gains - batch.low) / (batch.high - batch.low)


@pytest.mark.parametrize("n_objectives", [2, 3])
def test_weighted_sums_clone_in_proportion_to_rewards(n_objectives: int) -> None:
    problem = random_problem(n_objectives=n_objectives)
    anchors = tuple(t.weights for t in lattice(n_objectives, 2))
    found = policies(engine(problem), jobs_of(anchors, warm_up=1.0))
    facts = calibration(problem)
    for logps, weights in zip(found, inside(anchors), strict=True):
        strengths = torch.from_numpy(weights / (facts.high - facts.low))
        assert total_variation(logps, cloned(problem, strengths)) < 1e-5


def test_cloning_by_hand() -> None:
    # One context: unit rewards 0, 1/2, 1 and 1, 0, 0, whose means are 1/2 and 1/3.
    rewards = torch.tensor([[[0.0, 9.0], [2.0, 3.0], [4.0, 3.0]]], dtype=torch.float64)
    problem = replace(
        random_problem(1, 3),
        rewards=rewards,
        ref_logps=torch.tensor([[0.2, 0.3, 0.5]]).log().double(),
    )
    (found,) = policies(engine(problem), jobs_of(((0.5, 0.5),), warm_up=1.0))
    facts = calibration(problem)
    a, b = 0.5 / (facts.high - facts.low)
    expected = np.array([a * 0 + b * 3, a * 1 + b * 0, a * 2 + b * 0])
    np.testing.assert_allclose(found.exp()[0], expected / expected.sum(), atol=1e-6)


@pytest.mark.parametrize(("n_objectives", "parts"), [(2, 2), (2, 6), (3, 2)])
def test_heads_of_the_largest_volume_clone_with_its_derivatives(
    n_objectives: int, parts: int
) -> None:
    problem = random_problem(n_objectives=n_objectives)
    anchors = tuple(t.weights for t in lattice(n_objectives, parts))
    found = policies(engine(problem), jobs_of(anchors))
    points = points_of(problem, found).requires_grad_()
    volume = policy_hypervolume(points)
    volume.backward()
    assert points.grad is not None
    assert float(hypervolume_pull(points).detach()) == 0.0
    facts = calibration(problem)
    for logps, slope in zip(found, points.grad, strict=True):
        strengths = slope / torch.from_numpy(facts.high - facts.low)
        assert total_variation(logps, cloned(problem, strengths)) < 1e-5
    warm = points_of(problem, policies(engine(problem), jobs_of(anchors, warm_up=1.0)))
    assert float(volume.detach()) > float(policy_hypervolume(warm)) + 1e-3


def test_one_head_seeks_the_largest_product() -> None:
    problem = random_problem()
    (found,) = policies(engine(problem), jobs_of(((0.5, 0.5),), warm_up=0.0))
    best = float(points_of(problem, [found]).prod())
    facts = calibration(problem)
    for share in np.linspace(0.05, 0.95, 19):
        strengths = torch.tensor([share, 1 - share]) / torch.from_numpy(facts.high - facts.low)
        assert float(points_of(problem, [cloned(problem, strengths)]).prod()) <= best + 1e-9


def test_heads_keep_the_order_of_their_anchors() -> None:
    problem = random_problem()
    anchors = tuple(t.weights for t in lattice(2, 6))
    points = points_of(problem, policies(engine(problem), jobs_of(anchors)))
    assert (points[:, 0].diff() > 0.01).all()
    assert (points[:, 1].diff() < -0.01).all()


def test_the_reference_is_only_the_start() -> None:
    problem = random_problem()
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(problem.shape, dtype=torch.float64, generator=generator)
    other = replace(problem, ref_logps=(3 * noise).log_softmax(-1))
    one, two = (policies(engine(p), jobs_of(THREE)) for p in (problem, other))
    for a, b in zip(one, two, strict=True):
        assert total_variation(a, b) < 1e-5


def test_heads_of_a_network_share_hidden_units() -> None:
    problem = random_problem()
    model = TanhNetwork(problem.ref_logps, width=2)
    table = engine(problem, model, tolerance=2e-6)
    trained = list(table.train(jobs_of(THREE)).values())
    assert all(torch.equal(p[: model.n_shared], trained[0][: model.n_shared]) for p in trained)
    points = points_of(problem, [model.logps(p) for p in trained])
    whole = points_of(problem, policies(engine(problem), jobs_of(THREE)))
    assert 0.9 < float(policy_hypervolume(points) / policy_hypervolume(whole)) < 1


def test_rows_count_as_often_as_they_are_chosen() -> None:
    problem = random_problem(1, 3)
    job = jobs_of(((0.5, 0.5),), warm_up=1.0)[0]
    rows = np.array([0, 1, 2, 2])
    (found,) = policies(engine(problem), [replace(job, rows=partial(fixed, rows=tuple(rows)))])
    facts = calibrate(problem.data(is_compared=False).rewards.values[rows])
    mixed = facts.weights @ (0.5 / (facts.high - facts.low))
    expected = np.array([mixed[0], mixed[1], 2 * mixed[2]])
    np.testing.assert_allclose(found.exp()[0], expected / expected.sum(), atol=1e-6)


def fixed(pool: Pool, rows: tuple[int, ...]) -> np.ndarray:
    return np.array(rows, dtype=np.int64)


def test_what_is_refused() -> None:
    problem = random_problem()
    one, two = jobs_of(THREE[:2])
    with pytest.raises(InputError, match="expected the same"):
        engine(problem).train([one, replace(two, rows=partial(fixed, rows=(0, 1)))])
    with pytest.raises(InputError, match="the same for all policies"):
        engine(problem).train([one, replace(two, step_loss=PolicyHypervolume(THREE))])
    empty = partial(fixed, rows=())
    with pytest.raises(InputError, match="chose none of 18 rows"):
        engine(problem).train([replace(j, rows=empty) for j in (one, two)])
    with pytest.raises(InputError, match="expected 'exact' on a table"):
        engine(problem).train(jobs_of(THREE, estimator="monte_carlo"))
    table = engine(problem)
    table.data.rewards.values[3, 1] = np.nan
    with pytest.raises(NotScoredError, match="the first is response 3, objective_1"):
        table.train([one, two])
