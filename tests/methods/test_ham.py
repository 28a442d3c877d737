"""HaM: what is planned, who answers, and what it does on exact tables."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from paretune.bench.answers import answers
from paretune.bench.problems import problem, random_problem
from paretune.core.job import Head
from paretune.core.tradeoff import TradeOff
from paretune.engines.table_policy import total_variation
from paretune.errors import ConfigError, InputError
from paretune.functional.indicators import hypervolume
from paretune.functional.simplex import lattice
from paretune.methods import build
from paretune.methods.ham import HaM
from paretune.pipeline.sweep import check_job


def test_one_group_with_one_loss_for_all() -> None:
    jobs = HaM(head="adapter", head_rank=4, steps=7).plan(2, lattice(2, 2))
    assert [job.id for job in jobs] == ["head-0-1", "head-0.5-0.5", "head-1-0"]
    assert {job.group for job in jobs} == {"hypervolume"}
    assert {job.kind for job in jobs} == {"rewarded"}
    assert {job.head for job in jobs} == {Head("adapter", 4)}
    assert all(job.settings == {"steps": 7} for job in jobs)
    assert all(job.step_loss == jobs[0].step_loss for job in jobs)
    assert jobs[0].step_loss.anchors == ((0.0, 1.0), (0.5, 0.5), (1.0, 0.0))


def test_fields_reach_the_loss() -> None:
    loss = build("ham", {"warm_up": 0.5, "pull": 2, "memory": 0.0}).plan(2, lattice(2, 1))[0]
    assert (loss.step_loss.warm_up, loss.step_loss.pull, loss.step_loss.memory) == (0.5, 2.0, 0.0)


def test_fewer_heads_are_spread_over_the_trade_offs() -> None:
    method = HaM(heads=5)
    grid = lattice(2, 10)
    jobs = method.plan(2, grid)
    anchors = [job.tradeoff.weights[0] for job in jobs]
    assert (anchors[0], anchors[-1], len(anchors)) == (0.0, 1.0, 5)
    for tradeoff in grid:
        steering = method.steer(tradeoff, grid)
        nearest = min(abs(a - tradeoff.weights[0]) for a in anchors)
        assert abs(steering.tradeoff.weights[0] - tradeoff.weights[0]) == pytest.approx(nearest)
        assert steering.policies == (f"head-{steering.tradeoff.slug}",)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 0}, r"ham\.heads: found 0, expected an integer >= 1"),
        ({"estimator": "exakt"}, r"ham\.estimator: .*did you mean 'exact'"),
        ({"warm_up": 1.5}, r"ham\.warm_up: found 1.5"),
        ({"memory": 1.0}, r"ham\.memory: found 1.0"),
        ({"head": "state"}, r"ham\.head: found 'state'"),
    ],
)
def test_mistakes_are_explained(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build("ham", options)


def test_what_is_no_front_is_refused() -> None:
    with pytest.raises(ConfigError, match="found 1 objective, expected at least 2"):
        HaM().plan(1, [TradeOff((1.0,))])
    with pytest.raises(ConfigError, match=r"ham\.heads: found 5, expected at most 3"):
        HaM(heads=5).plan(2, lattice(2, 2))


def test_gaps_are_refused_before_any_training() -> None:
    data = random_problem().data(is_compared=False)
    data.rewards.values[4, 1] = np.nan
    (job, *_) = HaM().plan(2, lattice(2, 2))
    with pytest.raises(InputError, match=r"ham/head: .*needs every reward: .* response 4"):
        check_job("ham/head", job, data, 0)
    data.rewards.values[:, 1] = 2.0
    with pytest.raises(InputError, match="found 2 for all 18 responses on 'objective_1'"):
        check_job("ham/head", job, data, 0)
    check_job("ham/head", job, random_problem().data(is_compared=False), 0)


def value(one: torch.Tensor, rewards: torch.Tensor) -> list[float]:
    found: list[float] = (one.exp()[..., None] * rewards).sum(1).mean(0).tolist()
    return found


@pytest.mark.parametrize("n_objectives", [2, 3])
def test_a_heavier_weight_is_a_larger_reward(n_objectives: int) -> None:
    made = random_problem(n_objectives=n_objectives)
    assert made.rewards is not None
    grid = lattice(n_objectives, 2)
    found = [value(p, made.rewards) for p in answers(made, HaM(), grid)]
    for i in range(n_objectives):
        best = max(range(len(grid)), key=lambda n, i=i: found[n][i])
        assert grid[best] == TradeOff.only(i, n_objectives)
        worst = min(range(len(grid)), key=lambda n, i=i: found[n][i])
        assert grid[worst].weights[i] == 0.0


def test_cloning_stays_closer_to_the_data_than_experts_do() -> None:
    """What its docstring grants: heads differ less than policies trained on preferences."""
    made = problem("front-convex")
    assert made.rewards is not None
    grid = lattice(2, 4)
    heads = answers(made, HaM(), grid)
    optima = [made.optimum(t) for t in grid]
    assert total_variation(heads[0], heads[-1]) < total_variation(optima[0], optima[-1])
    points = [value(p, made.rewards) for p in heads]
    assert hypervolume(points) < hypervolume([value(p, made.rewards) for p in optima])
