"""What each way to treat conflicting labels converges to, on tables with exact expectations."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from paretune.bench.problem import Problem
from paretune.bench.problems import random_problem
from paretune.core.job import Head
from paretune.core.tradeoff import TradeOff
from paretune.engines.table_policy import Table, TanhNetwork, total_variation
from paretune.engines.tabular import TabularEngine
from paretune.errors import ConfigError
from paretune.functional.closed_form import kl_regularized_optimum
from paretune.functional.simplex import lattice
from paretune.methods.dpo import DPO

GRID = lattice(2, 4)
SEEDS = (0, 1, 2)


def engine(problem: Problem, slope: float = 1.0) -> TabularEngine:
    return TabularEngine(
        Table(problem.ref_logps), problem.data(slope), problem.action_of, problem.rewards
    )


def policies(table: TabularEngine, method: DPO, tradeoffs: list[TradeOff]) -> list[torch.Tensor]:
    trained = table.train(method.plan(len(tradeoffs[0]), tradeoffs))
    return [table.steered(trained, method.steer(t, tradeoffs)) for t in tradeoffs]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("n_objectives", "objective"), [(2, 0), (2, 1), (3, 2)])
def test_single_reaches_the_optimum_of_its_objective(seed, n_objectives, objective) -> None:
    problem = random_problem(n_objectives=n_objectives, seed=seed)
    corner = TradeOff.only(objective, n_objectives)
    method = DPO("single", beta=0.5, objective=objective)
    for model in (Table(problem.ref_logps), TanhNetwork(problem.ref_logps)):
        table = dataclasses.replace(engine(problem), model=model)
        (found,) = policies(table, method, [corner])
        # Measured: 3e-8.
        assert total_variation(found, problem.optimum(corner, beta=0.5)) < 1e-4


def test_the_slope_of_the_labels_is_the_unit_of_the_rewards() -> None:
    problem = random_problem()
    corner = TradeOff.only(0, 2)
    (found,) = policies(engine(problem, slope=3.0), DPO("single", 1.5, objective=0), [corner])
    assert total_variation(found, problem.optimum(corner, beta=0.5)) < 1e-4


@pytest.mark.parametrize("labels", ["weighted", "mixed", "summed"])
def test_corners_reach_the_optimum_too(labels) -> None:
    problem = random_problem()
    corners = [TradeOff.only(i, 2) for i in range(2)]
    for corner, found in zip(
        corners, policies(engine(problem), DPO(labels, 1.0), corners), strict=True
    ):
        assert total_variation(found, problem.optimum(corner, beta=1.0)) < 1e-4


def test_weighted_is_exact_where_one_comparison_is_all() -> None:
    """With two actions the minimum is known: logit(sum_i w_i sigmoid(dr_i)) / beta."""
    problem = random_problem(n_contexts=4, n_actions=2, seed=5)
    tradeoff, beta = TradeOff((0.3, 0.7)), 0.5
    (found,) = policies(engine(problem), DPO("weighted", beta), [tradeoff])
    margins = problem.rewards[:, 0] - problem.rewards[:, 1]
    mean = (torch.sigmoid(margins) * torch.as_tensor(tradeoff.array)).sum(-1)
    ref = problem.ref_logps
    expected = torch.log(mean / (1 - mean)) / beta + ref[:, 0] - ref[:, 1]
    torch.testing.assert_close(found[:, 0] - found[:, 1], expected, atol=1e-5, rtol=0)
    # And this is not the optimum of the weighted reward.
    assert total_variation(found, problem.optimum(tradeoff, beta)) > 0.02


@pytest.mark.parametrize(("seed", "gap"), [(0, 0.0135), (1, 0.0799), (2, 0.0498)])
def test_weighted_is_not_the_optimum_of_the_weighted_reward(seed: int, gap: float) -> None:
    problem = random_problem(seed=seed)
    found = policies(engine(problem), DPO("weighted", 1.0), GRID)
    gaps = [total_variation(p, problem.optimum(t, 1.0)) for p, t in zip(found, GRID, strict=True)]
    assert max(gaps) == pytest.approx(gap, abs=5e-4)


@pytest.mark.parametrize("seed", [0, 1])
def test_mixed_and_weighted_have_the_same_minimum(seed: int) -> None:
    problem = random_problem(seed=seed)
    data = problem.data()
    repeats = 200
    many = dataclasses.replace(
        data,
        first=np.tile(data.first, repeats),
        second=np.tile(data.second, repeats),
        labels=np.tile(data.labels, (repeats, 1)),
        multiplicity=np.tile(data.multiplicity, repeats),
    )
    weighted = policies(engine(problem), DPO("weighted", 1.0), GRID)
    mixed = policies(dataclasses.replace(engine(problem), data=many), DPO("mixed", 1.0), GRID)
    # Up to the noise of the draws, which 200 repeats leave.
    gaps = [total_variation(a, b) for a, b in zip(weighted, mixed, strict=True)]
    assert max(gaps) < 0.03 and gaps[0] < 1e-6 and gaps[-1] < 1e-6
    apart = [total_variation(p, problem.optimum(t, 1.0)) for p, t in zip(mixed, GRID, strict=True)]
    assert max(apart) > 0.008


@pytest.mark.parametrize("n_objectives", [2, 3])
def test_agreeing_is_one_point_with_all_rewards_at_full_strength(n_objectives: int) -> None:
    problem = random_problem(n_objectives=n_objectives)
    tradeoffs = lattice(n_objectives, 2)
    found = policies(engine(problem), DPO("agreeing", 2.0), tradeoffs)
    ones = torch.ones(n_objectives, dtype=torch.float64)
    expected = kl_regularized_optimum(problem.ref_logps, problem.rewards, ones, beta=2.0)
    for policy in found:
        assert torch.equal(policy, found[0])
        # Measured: 9e-9.
        assert total_variation(policy, expected) < 1e-6
    # Not the even trade-off: M times the strength.
    assert total_variation(found[0], problem.optimum(TradeOff.even(n_objectives), 2.0)) > 0.05


def test_summed_follows_the_heavier_objective_between_the_corners() -> None:
    # With one hard label an objective, the sign of w . s is the label of the heavier one.
    problem = random_problem()
    heavy = [TradeOff((0.6, 0.4)), TradeOff((0.9, 0.1)), TradeOff((1.0, 0.0))]
    found = policies(engine(problem), DPO("summed", 1.0), heavy)
    assert max(total_variation(p, found[-1]) for p in found) < 1e-6


def test_serves_the_nearest_trained_trade_off() -> None:
    steering = DPO().steer(TradeOff((0.55, 0.45)), GRID)
    assert steering.policies == ("dpo-0.5-0.5",) and steering.tradeoff == TradeOff((0.5, 0.5))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": "single"}, r"dpo.objective: found None, expected an objective"),
        ({"labels": "mixed", "objective": 1}, r"dpo.objective: found 1, expected no objective"),
        ({"loss": "ipo"}, r"dpo.loss: found 'ipo', expected 'sigmoid' with labels 'weighted'"),
        ({"beta": 0.0}, r"dpo.beta: found 0.0, expected a finite number > 0"),
    ],
)
def test_refuses_what_does_not_fit(options, message) -> None:
    with pytest.raises(ConfigError, match=message):
        DPO(**options)


def test_refuses_an_objective_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match=r"dpo.objective: found 2, expected at most 1"):
        DPO("single", objective=2).plan(2, GRID)


@pytest.mark.parametrize("loss", ["sigmoid_norm", "ipo"])
def test_other_losses_train(loss) -> None:
    problem = random_problem()
    found = policies(engine(problem), DPO("mixed", 1.0, loss), [TradeOff.only(0, 2)])
    assert total_variation(found[0], problem.ref_logps) > 0.05


def test_heads_share_a_frozen_trunk_and_mix_between() -> None:
    method = DPO(backbone="frozen", head_rank=8, head_learning_rate=2e-3)
    jobs = method.plan(2, lattice(2, 2))
    assert {(job.group, job.head) for job in jobs} == {("dpo", Head("state", 8))}
    assert all(job.settings == {"learning_rate": 2e-3} for job in jobs)
    own = DPO().plan(2, lattice(2, 2))
    assert [(job.id, job.tradeoff) for job in jobs] == [(job.id, job.tradeoff) for job in own]
    picked = method.steer(TradeOff((0.5, 0.5)), lattice(2, 2))
    assert (picked.kind, picked.policies) == ("pick", ("dpo-0.5-0.5",))
    mixed = method.steer(TradeOff((0.6, 0.4)), lattice(2, 2))
    assert (mixed.kind, mixed.policies) == ("mix", ("dpo-0.5-0.5", "dpo-1-0"))
    assert mixed.weights == pytest.approx((0.8, 0.2))
    assert mixed.tradeoff == TradeOff((0.6, 0.4))


@pytest.mark.parametrize("labels", ["agreeing", "single"])
def test_one_policy_needs_no_shared_trunk(labels: str) -> None:
    objective = 0 if labels == "single" else None
    with pytest.raises(ConfigError, match=r"dpo\.backbone: found 'frozen', expected own with"):
        DPO(labels=labels, objective=objective, backbone="frozen")


def test_heads_reach_the_same_optimum_on_a_table() -> None:
    # A hidden layer of that width reaches every policy, so a frozen one costs nothing.
    problem = random_problem()
    network = TanhNetwork(problem.ref_logps)
    table = dataclasses.replace(engine(problem), model=network)
    n, hidden = network.n_shared, network.start()[: network.n_shared]
    trained = {b: table.train(DPO(backbone=b).plan(2, GRID)) for b in ("own", "frozen")}
    for job, parameters in trained["frozen"].items():
        own = trained["own"][job]
        assert torch.equal(parameters[:n], hidden)
        assert not torch.equal(own[:n], hidden)
        # Measured: 9e-7.
        assert total_variation(network.logps(own), network.logps(parameters)) < 1e-4


def test_between_trained_tradeoffs_a_mixture_is_nearly_the_trained_one() -> None:
    problem, wanted = random_problem(), TradeOff((0.35, 0.65))
    table = engine(problem)
    fine, method = lattice(2, 10), DPO(backbone="frozen", beta=0.5)
    trained = table.train(method.plan(2, fine))
    mixed = table.steered(trained, method.steer(wanted, fine))
    picked = table.steered(trained, DPO(beta=0.5).steer(wanted, fine))
    (target,) = policies(table, DPO(beta=0.5), [wanted])
    # Measured: 1e-4, against 3e-2 for the nearest trained one.
    assert total_variation(mixed, target) < 1e-3
    assert total_variation(picked, target) > 1e-2
