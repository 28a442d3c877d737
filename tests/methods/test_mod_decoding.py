from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from paretune.bench.problem import Problem
from paretune.bench.problems import random_problem
from paretune.core.description import describe
from paretune.core.policy import Steering
from paretune.core.tradeoff import TradeOff
from paretune.engines.table_policy import Table, TanhNetwork, total_variation
from paretune.engines.tabular import TabularEngine
from paretune.errors import ConfigError
from paretune.functional.divergences import tilt
from paretune.functional.simplex import lattice
from paretune.methods import build
from paretune.methods.mod_decoding import ModDecoding
from paretune.methods.rewarded_soups import RewardedSoups

DIVERGENCES = ("reverse_kl", "forward_kl", "jsd", "alpha", "jeffrey")
BETA = 0.5
EVERY = lattice(3, 4)


def engine(problem: Problem) -> TabularEngine:
    width = problem.hidden
    model = Table(problem.ref_logps) if width is None else TanhNetwork(problem.ref_logps, width)
    return TabularEngine(model, problem.data(), problem.action_of, tolerance=1e-6)


def optimum(problem: Problem, tradeoff: TradeOff, divergence: Any, alpha: float) -> torch.Tensor:
    scores = problem.values @ torch.as_tensor(tradeoff.array) / BETA
    return tilt(problem.ref_logps, scores, divergence, alpha)


class TestExactExperts:
    """The experts are the optima themselves, so what is left is the error of mixing."""

    def gaps(self, method: ModDecoding) -> list[float]:
        problem = random_problem(n_objectives=3)
        table = engine(problem)
        corners = [
            optimum(problem, TradeOff.only(i, 3), method.divergence, method.alpha) for i in range(3)
        ]
        # Parameters of a full table are its log-ratios.
        trained = {f"expert-{i}": c - problem.ref_logps for i, c in enumerate(corners)}
        assert total_variation(table.model.logps(trained["expert-1"]), corners[1]) < 1e-14
        return [
            total_variation(
                table.steered(trained, method.steer(t, EVERY)),
                optimum(problem, t, method.divergence, method.alpha),
            )
            for t in EVERY
        ]

    @pytest.mark.parametrize("divergence", DIVERGENCES)
    def test_with_z_the_mixture_is_the_optimum(self, divergence: Any) -> None:
        assert max(self.gaps(ModDecoding(divergence=divergence))) < 1e-12

    @pytest.mark.parametrize("alpha", [0.1, 0.9])
    def test_with_z_at_any_alpha(self, alpha: float) -> None:
        assert max(self.gaps(ModDecoding(divergence="alpha", alpha=alpha))) < 1e-12

    @pytest.mark.parametrize(
        ("divergence", "measured"),
        [("reverse_kl", 0), ("forward_kl", 0.332), ("jsd", 0.569), ("alpha", 0.276),
         ("jeffrey", 0.034)],
    )  # fmt: skip
    def test_without_z_it_is_another_policy(self, divergence: Any, measured: float) -> None:
        found = self.gaps(ModDecoding(divergence=divergence, normalizer="dropped"))
        assert max(found) == pytest.approx(measured, abs=0.001)


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_trained_experts_mix_to_the_optimum(divergence: Any) -> None:
    # Measured: up to 6e-7.
    problem, method = random_problem(n_objectives=3), ModDecoding(BETA, divergence)
    table = engine(problem)
    trained = table.train(method.plan(3, EVERY))
    for t in EVERY:
        found = table.steered(trained, method.steer(t, EVERY))
        assert total_variation(found, optimum(problem, t, divergence, 0.5)) < 1e-5


def test_a_network_is_no_obstacle_to_mixing() -> None:
    problem = dataclasses.replace(random_problem(), hidden=2)
    table, tradeoffs, beta = engine(problem), lattice(2, 10), 0.1
    soups, mod = RewardedSoups(beta), ModDecoding(beta)
    trained = table.train(mod.plan(2, tradeoffs))

    def gap(method: RewardedSoups | ModDecoding) -> float:
        found = [table.steered(trained, method.steer(t, tradeoffs)) for t in tradeoffs]
        best = [problem.optimum(t, beta) for t in tradeoffs]
        return max(map(total_variation, found, best))

    assert gap(mod) < 1e-4
    assert gap(soups) > 0.05


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_a_corner_is_its_expert(divergence: Any) -> None:
    problem, method = random_problem(), ModDecoding(BETA, divergence)
    table = engine(problem)
    trained = table.train(method.plan(2, []))
    for i in range(2):
        mixed = table.steered(trained, method.steer(TradeOff.only(i, 2), []))
        expert = table.model.logps(trained[f"expert-{i}"])
        np.testing.assert_allclose(mixed, expert, atol=1e-14)


@pytest.mark.parametrize("beta", [0.1, 0.7])
def test_experts_are_those_of_rewarded_soups(beta: float) -> None:
    mod, soups = ModDecoding(beta).plan(3, EVERY), RewardedSoups(beta).plan(3, EVERY)
    assert describe(mod) == describe(soups)
    assert describe(ModDecoding(beta, "jsd").plan(3, EVERY)) != describe(soups)


def test_only_what_the_loss_reads_tells_experts_apart() -> None:
    one, other = ModDecoding(divergence="jsd"), ModDecoding(divergence="jsd", normalizer="dropped")
    assert describe(one.plan(2, [])) == describe(other.plan(2, []))


def test_steering_says_how_to_mix() -> None:
    wanted = TradeOff((0.3, 0.7))
    experts = ("expert-0", "expert-1")
    assert ModDecoding().steer(wanted, []) == Steering("mix", experts, (0.3, 0.7), wanted)
    method = ModDecoding(divergence="alpha", alpha=0.3, normalizer="dropped")
    found = method.steer(wanted, [])
    assert (found.divergence, found.alpha, found.is_normalized) == ("alpha", 0.3, False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": 0.0}, r"mod_decoding\.beta: found 0\.0, expected a finite number > 0"),
        ({"divergence": "kl"}, r"mod_decoding\.divergence: found 'kl'"),
        ({"divergence": "chi_squared"}, r"mod_decoding\.divergence: found 'chi_squared'"),
        ({"divergence": "alpha", "alpha": 1.0}, r"alpha: found 1\.0, expected a number in \(0, 1"),
        ({"alpha": 0.3}, r"alpha: found 0\.3, expected the default 0\.5 \(not read with 'reverse_"),
        ({"normalizer": "none"}, r"mod_decoding\.normalizer: found 'none'"),
    ],
)
def test_bad_values_name_the_field(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build("mod_decoding", options)
