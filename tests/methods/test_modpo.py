"""MODPO reaches the optimum of the weighted reward, on tables with exact expectations."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from paretune.bench.problem import Problem
from paretune.bench.problems import random_problem
from paretune.core.description import describe
from paretune.core.tradeoff import TradeOff
from paretune.engines.table_policy import Table, TanhNetwork, total_variation
from paretune.engines.tabular import TabularEngine
from paretune.errors import ConfigError, InputError
from paretune.functional.simplex import lattice
from paretune.methods.dpo import DPO
from paretune.methods.modpo import MODPO
from paretune.methods.rewarded_soups import RewardedSoups

GRID = lattice(2, 10)
MODES = [
    {},
    {"is_calibrated": False},
    {"margins": "policies"},
    {"axis": 0},
    {"axis": 1, "margins": "policies"},
]


def engine(problem: Problem, slope: float = 1.0, model=Table) -> TabularEngine:
    return TabularEngine(model(problem.ref_logps), problem.data(slope), problem.action_of)


def policies(table: TabularEngine, method, tradeoffs) -> list[Tensor]:
    trained = table.train(method.plan(len(tradeoffs[0]), tradeoffs))
    return [table.steered(trained, method.steer(t, tradeoffs)) for t in tradeoffs]


def gaps(table: TabularEngine, problem: Problem, method, tradeoffs, beta: float) -> list[float]:
    return [
        total_variation(found, problem.optimum(t, beta))
        for t, found in zip(tradeoffs, policies(table, method, tradeoffs), strict=True)
    ]


@pytest.mark.parametrize("options", MODES, ids=str)
@pytest.mark.parametrize(("n_objectives", "seed"), [(2, 0), (2, 1), (3, 0)])
def test_reaches_the_optimum_of_the_weighted_reward(n_objectives, seed, options) -> None:
    problem, method = random_problem(n_objectives=n_objectives, seed=seed), MODPO(0.5, **options)
    tradeoffs = lattice(n_objectives, 10 if n_objectives == 2 else 4)
    if method.axis is not None:
        tradeoffs = [t for t in tradeoffs if t.weights[method.axis] > 0]
    # Measured: 3e-8.
    assert max(gaps(engine(problem), problem, method, tradeoffs, beta=0.5)) < 1e-6


@pytest.mark.parametrize("margins", ["scores", "policies"])
def test_the_unit_of_the_scores_does_not_matter(margins) -> None:
    """Labels three times as steep, rewards of one objective in units of a tenth."""
    problem, method = random_problem(), MODPO(1.5, margins)
    table = engine(problem, slope=3.0)
    rewards = table.data.rewards
    scaled = dataclasses.replace(rewards, values=rewards.values * (10.0, 1.0))
    table = dataclasses.replace(table, data=dataclasses.replace(table.data, rewards=scaled))
    assert max(gaps(table, problem, method, GRID, beta=0.5)) < 1e-6


def test_without_calibration_it_does() -> None:
    problem = random_problem()
    raw = MODPO(1.5, is_calibrated=False)
    assert max(gaps(engine(problem, slope=3.0), problem, raw, GRID, beta=0.5)) > 0.1


def test_reaches_the_optimum_on_a_network_where_soups_do_not() -> None:
    problem = random_problem()
    table = dataclasses.replace(engine(problem, model=TanhNetwork), tolerance=2e-6)
    assert max(gaps(table, problem, MODPO(0.5), GRID, beta=0.5)) < 1e-4


def test_weighted_losses_have_another_minimum() -> None:
    problem, tradeoff = random_problem(1, 12, seed=4), [TradeOff((0.5, 0.5))]
    table = engine(problem)
    assert gaps(table, problem, MODPO(1.0), tradeoff, beta=1.0)[0] < 1e-6
    weighted = gaps(table, problem, DPO("weighted", 1.0), tradeoff, beta=1.0)[0]
    assert weighted == pytest.approx(0.0391, abs=5e-4)


def test_corners_are_dpo_on_their_objective() -> None:
    problem, corners = random_problem(), [TradeOff.only(i, 2) for i in range(2)]
    for i, found in enumerate(policies(engine(problem), MODPO(0.5), corners)):
        (alone,) = policies(engine(problem), DPO("single", 0.5, objective=i), corners[:1])
        assert torch.equal(found, alone)


class TestPlan:
    def test_experts_are_those_of_rewarded_soups_word_for_word(self) -> None:
        plan = MODPO(0.2, "policies").plan(3, lattice(3, 2))
        experts = RewardedSoups(0.2).plan(3, lattice(3, 2))
        assert describe(plan[:3]) == describe(experts)
        assert [job.id for job in plan[3:]] == ["modpo-0-0.5-0.5", "modpo-0.5-0-0.5",
                                                "modpo-0.5-0.5-0"]  # fmt: skip
        for job in plan[3:]:
            assert job.margins.experts == job.needs == ("expert-0", "expert-1", "expert-2")
            assert job.margins.betas == (0.2,) * 3

    def test_experts_answer_at_the_corners(self) -> None:
        method = MODPO(margins="policies")
        assert method.steer(TradeOff((0.02, 0.98)), GRID).policies == ("expert-1",)
        assert method.steer(TradeOff((0.28, 0.72)), GRID).policies == ("modpo-0.3-0.7",)

    def test_nobody_needs_an_expert_where_only_corners_are_asked_for(self) -> None:
        plan = MODPO(margins="policies").plan(3, [TradeOff.only(1, 3)])
        assert [job.id for job in plan] == ["expert-1"]

    def test_scores_need_no_expert(self) -> None:
        plan = MODPO().plan(2, lattice(2, 2))
        assert [job.id for job in plan] == ["modpo-0-1", "modpo-0.5-0.5", "modpo-1-0"]
        assert [job.margins is None for job in plan] == [True, False, True]
        assert all(job.needs == () for job in plan)

    @pytest.mark.parametrize(
        ("weights", "axis"), [((0.2, 0.5, 0.3), 1), ((0.4, 0.2, 0.4), 0), ((0.0, 0.5, 0.5), 1)]
    )
    def test_the_heaviest_objective_orders_the_pairs(self, weights, axis) -> None:
        (job,) = MODPO().plan(3, [TradeOff(weights)])
        assert job.rows.keywords["index"] == job.loss.keywords["axis"] == axis

    def test_a_given_objective_orders_them_everywhere(self) -> None:
        (job,) = MODPO(axis=2).plan(3, [TradeOff((0.6, 0.3, 0.1))])
        assert job.rows.keywords["index"] == job.loss.keywords["axis"] == 2

    def test_scores_are_needed_for_margins_of_scores_only(self) -> None:
        assert MODPO().needs == ("pairs", "scores")
        assert MODPO(margins="policies").needs == ("pairs",)


class TestRefuses:
    def test_one_objective(self) -> None:
        with pytest.raises(ConfigError, match="modpo: found 1 objective, expected at least 2"):
            MODPO().plan(1, [TradeOff((1.0,))])

    @pytest.mark.parametrize("margins", ["scores", "policies"])
    def test_an_objective_without_a_weight_somewhere(self, margins) -> None:
        message = r"modpo.axis: found objective 0 without a weight in trade-off 0-1, expected"
        with pytest.raises(ConfigError, match=message):
            MODPO(margins=margins, axis=0).plan(2, GRID)

    def test_an_objective_that_is_not_there(self) -> None:
        with pytest.raises(ConfigError, match=r"modpo.axis: found 2, expected at most 1"):
            MODPO(axis=2).plan(2, GRID)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"beta": 0.0}, r"modpo.beta: found 0.0, expected a finite number > 0"),
            ({"beta": math.nan}, r"modpo.beta: found nan"),
            ({"axis": -1}, r"modpo.axis: found -1, expected the column"),
            (
                {"margins": "policies", "is_calibrated": False},
                r"modpo.is_calibrated: found False, expected the default True",
            ),
            ({"margins": "policy"}, r"modpo.margins: found 'policy' \(did you mean 'policies'"),
        ],
    )
    def test_options(self, options, message) -> None:
        with pytest.raises(ConfigError, match=message):
            MODPO(**options)

    def test_a_score_with_the_wrong_sign(self) -> None:
        table = engine(random_problem())
        rewards = table.data.rewards
        turned = dataclasses.replace(rewards, values=rewards.values * (1.0, -1.0))
        table = dataclasses.replace(table, data=dataclasses.replace(table.data, rewards=turned))
        with pytest.raises(InputError, match="is a smaller one better"):
            table.train(MODPO().plan(2, [TradeOff((0.5, 0.5))]))

    def test_a_missing_score(self) -> None:
        table = engine(random_problem())
        values = table.data.rewards.values.copy()
        values[3, 1] = np.nan
        rewards = dataclasses.replace(table.data.rewards, values=values)
        table = dataclasses.replace(table, data=dataclasses.replace(table.data, rewards=rewards))
        name = rewards.objectives.names[1]
        with pytest.raises(InputError, match=rf"pairs without a '{name}' score"):
            table.train(MODPO().plan(2, [TradeOff((0.5, 0.5))]))
        assert table.train(MODPO(margins="policies").plan(2, [TradeOff((0.5, 0.5))]))


@pytest.mark.parametrize("margins", ["scores", "policies"])
def test_heads_on_a_frozen_trunk_reach_the_optimum_too(margins: str) -> None:
    problem = random_problem()
    method = MODPO(beta=0.5, margins=margins, backbone="frozen")
    jobs = method.plan(2, lattice(2, 4))
    groups = {"modpo"} if margins == "scores" else {"experts", "modpo"}
    assert {job.group for job in jobs} == groups
    assert all(job.head is not None and job.head.kind == "state" for job in jobs)
    network = TanhNetwork(problem.ref_logps)
    table = TabularEngine(network, problem.data(), problem.action_of, problem.rewards)
    trained = table.train(jobs)
    n = network.n_shared
    assert all(torch.equal(p[:n], network.start()[:n]) for p in trained.values())
    # Logits of optima are linear in the trade-off, so that mixtures of neighbors are optima.
    for weights in ((0.25, 0.75), (0.5, 0.5), (0.4, 0.6)):
        wanted = TradeOff(weights)
        found = table.steered(trained, method.steer(wanted, lattice(2, 4)))
        assert total_variation(found, problem.optimum(wanted, beta=0.5)) < 1e-4
