from __future__ import annotations

import dataclasses

import pytest
import torch

from paretune.bench.problems import random_problem
from paretune.core.tradeoff import TradeOff
from paretune.engines.table_policy import Table, TanhNetwork, total_variation
from paretune.engines.tabular import TabularEngine
from paretune.errors import ConfigError
from paretune.functional.simplex import lattice
from paretune.methods.rewarded_soups import RewardedSoups

BETA = 0.1


def gaps(model, problem, kind: str = "merge") -> list[float]:
    """Total variation distance to the exact optimum, along the trade-offs."""
    method, n_objectives = RewardedSoups(BETA), len(problem.objectives)
    tradeoffs = lattice(n_objectives, 10 if n_objectives == 2 else 4)
    table = TabularEngine(model(problem.ref_logps), problem.data(), problem.action_of)
    trained = table.train(method.plan(n_objectives, tradeoffs))
    return [
        total_variation(
            table.steered(trained, dataclasses.replace(method.steer(t, tradeoffs), kind=kind)),
            problem.optimum(t, BETA),
        )
        for t in tradeoffs
    ]


@pytest.mark.parametrize("n_objectives", [2, 3])
@pytest.mark.parametrize("seed", [0, 1])
def test_merging_is_exact_on_a_full_table(n_objectives: int, seed: int) -> None:
    # Measured: 2e-6 at beta .1.
    assert max(gaps(Table, random_problem(n_objectives=n_objectives, seed=seed))) < 1e-4


def test_merging_misses_on_a_network() -> None:
    found = gaps(lambda ref: TanhNetwork(ref, width=2), random_problem())
    assert found[0] < 1e-4 and found[-1] < 1e-4, "the corners are the experts"
    assert max(found) == pytest.approx(0.0574, abs=0.005)


def test_mixing_does_not() -> None:
    assert max(gaps(lambda ref: TanhNetwork(ref, width=2), random_problem(), "mix")) < 1e-4


def test_corners_are_the_experts_bit_for_bit() -> None:
    problem, method = random_problem(), RewardedSoups()
    table = TabularEngine(TanhNetwork(problem.ref_logps), problem.data(), problem.action_of)
    trained = table.train(method.plan(2, []))
    for i in range(2):
        merged = table.steered(trained, method.steer(TradeOff.only(i, 2), []))
        assert torch.equal(merged, table.model.logps(trained[f"expert-{i}"]))


def test_trains_as_many_experts_as_objectives() -> None:
    for n_objectives in (2, 3, 4):
        plan = RewardedSoups().plan(n_objectives, lattice(n_objectives, 5))
        assert [job.tradeoff for job in plan] == [
            TradeOff.only(i, n_objectives) for i in range(n_objectives)
        ]


def test_beta_must_be_positive() -> None:
    with pytest.raises(ConfigError, match=r"rewarded_soups\.beta: found -1\.0"):
        RewardedSoups(beta=-1.0)
