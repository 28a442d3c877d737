from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from paretune.bench.problems import random_problem
from paretune.core.objective import Objectives
from paretune.core.record import PreferenceData
from paretune.core.rewards import RewardMatrix
from paretune.engines.algorithm_one import StochasticPolicies, algorithm_one
from paretune.engines.constrained_table import constrained_policy
from paretune.engines.goal_cells import goal_cells
from paretune.engines.table_policy import total_variation
from paretune.errors import InfeasibleError, InputError, RunError

SEEDS = range(4)
RUNS = [
    ("D1", 0.49975, {}, (1, 0, 0)),
    ("D2", 0.49975, {}, (0.5, 0.5, 0)),
    ("D3b", 2 / 3, {}, (2 / 3, 1 / 3, 0)),
    ("D4", 0.49975, {}, (1 / 3, 1 / 3, 1 / 3)),
    ("D1", 0.49975, {"labels": "pair_hard", "is_literal": True}, (2 / 3, 1 / 3, 0)),
    ("D3b", 0.49975, {"labels": "pair_hard", "is_literal": True}, (2 / 3, 1 / 3, 0)),
]
Run = Callable[..., StochasticPolicies]


@pytest.fixture
def run(compared: Any, goal: Any, uniform: Tensor) -> Run:
    """Algorithm 1 on one of the preference structures."""

    def ran(name: str, threshold: float | None, seeds: Any = SEEDS, **more: Any) -> Any:
        options = {"updates": "alternating", "tau": 0.05, **more}
        settings = {key: options.pop(key) for key in ("steps", "batch_size") if key in options}
        asked = goal(threshold, **options)
        data = compared(name)
        return algorithm_one(asked, data, np.arange(3), uniform, seeds, **settings)

    return ran


def mean_policy(found: StochasticPolicies) -> list[float]:
    return found.logps.exp().mean(0)[0].tolist()


@pytest.mark.parametrize(("name", "threshold", "options", "expected"), RUNS[2:5])
def test_structures_in_few_steps(
    run: Run, name: str, threshold: float, options: Any, expected: tuple[float, ...]
) -> None:
    found = run(name, threshold, steps=3000, **options)
    assert mean_policy(found) == pytest.approx(expected, abs=2e-2)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [range(4), range(4, 8)])
@pytest.mark.parametrize(("name", "threshold", "options", "expected"), RUNS)
def test_structures(
    run: Run, seeds: Any, name: str, threshold: float, options: Any, expected: tuple[float, ...]
) -> None:
    found = run(name, threshold, seeds, steps=20_000, **options)
    assert mean_policy(found) == pytest.approx(expected, abs=2e-2)
    if name == "D3b" and not options:
        assert found.state.multipliers.mean() == pytest.approx(0.9307, abs=0.02)


@pytest.mark.parametrize("seeds", [range(2), range(2, 4)])
def test_contexts_and_a_reference_that_is_not_uniform(goal: Any, seeds: Any) -> None:
    problem = random_problem(n_contexts=2, n_actions=4, seed=seeds[0])
    data = problem.data(slope=1.5)
    cells = goal_cells(goal(0.0), data, problem.action_of, problem.ref_logps.shape)
    free = constrained_policy(goal(0.0, tau=0.3), cells, problem.ref_logps, ["q"])
    floor = float(free.values + cells.secondary.amax((1, 2)).mean()) / 2
    asked = goal(floor, tau=0.3, updates="alternating", multiplier_rate=0.05)
    found = algorithm_one(
        asked, data, problem.action_of, problem.ref_logps, seeds, steps=4000, batch_size=32
    )
    cells = goal_cells(asked, data, problem.action_of, problem.ref_logps.shape)
    exact = constrained_policy(asked, cells, problem.ref_logps, ["q"])
    assert float(exact.multipliers) > 0.05
    assert total_variation(found.logps.exp().mean(0).log(), exact.logps) < 3e-2
    assert found.state.multipliers.mean() == pytest.approx(float(exact.multipliers), abs=0.06)


def test_pool_labels_need_no_comparison(goal: Any) -> None:
    problem = random_problem(n_contexts=2, n_actions=4)
    asked = goal(0.6, labels="pool", slope=1.0, tau=0.3, updates="alternating")
    found = algorithm_one(
        asked, problem.data(), problem.action_of, problem.ref_logps, SEEDS, steps=3000,
        batch_size=32,
    )  # fmt: skip
    cells = goal_cells(asked, problem.data(), problem.action_of, problem.ref_logps.shape)
    exact = constrained_policy(asked, cells, problem.ref_logps, ["q"])
    assert total_variation(found.logps.exp().mean(0).log(), exact.logps) < 3e-2


@pytest.mark.parametrize(
    ("name", "threshold", "expected"),
    [("D3b", 0.4715, (0.7284, 0.2543, 0.0172)), ("D3c", None, (0.3563, 0.5392, 0.1045))],
)
def test_robust_floors(
    run: Run, name: str, threshold: float | None, expected: tuple[float, ...]
) -> None:
    found = run(name, threshold, tau=0.3, radius=0.05, steps=2500)
    assert mean_policy(found) == pytest.approx(expected, abs=2e-2)


def test_a_barrier_is_near_the_floor(run: Run) -> None:
    found = run("D3b", 2 / 3, updates="barrier", barrier=1e-3, multiplier_rate=0.3, steps=2500)
    assert mean_policy(found) == pytest.approx((2 / 3, 1 / 3, 0), abs=3e-2)
    assert (found.state.multipliers > 0.5).all()


class TestLag:
    def test_the_reference_multiplies_the_tilt(self, run: Run) -> None:
        # Six segments are three tilts: about the penalty of a third of tau.
        found = run("D1", 0.0, tau=1.0, lag=400, steps=2400)
        expected = torch.tensor([3.0, 1.5, 0.0]).softmax(0).tolist()
        assert mean_policy(found) == pytest.approx(expected, abs=5e-2)
        still = mean_policy(run("D1", 0.0, tau=1.0, steps=2400))
        plain = torch.tensor([1.0, 0.5, 0.0]).softmax(0).tolist()
        assert still == pytest.approx(plain, abs=2e-2)

    def test_the_first_refresh_keeps_reference_and_floors(self, run: Run, uniform: Tensor) -> None:
        before, once = (run("D3b", None, tau=1.0, lag=100, steps=s) for s in (99, 100))
        for found in (before, once):
            assert torch.allclose(found.ref_logps, uniform.expand(4, 1, 3))
            assert torch.allclose(found.effective_share, torch.ones(4).double())
        assert torch.allclose(once.state.floors, torch.full((4, 1), 0.5 * 0.9995).double())
        twice = run("D3b", None, tau=1.0, lag=100, steps=200)
        assert (twice.ref_logps - uniform).abs().max() > 0.05
        assert (twice.effective_share < 1).all()
        assert (twice.state.floors != once.state.floors).all()

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("name", "threshold", "expected", "tolerance"),
        [
            ("D1", 0.49975, (0.986, 0.014, 0), 2e-2),
            ("D3b", 2 / 3, (0.656, 0.344, 0), 3e-2),
            ("D3b", None, (0.938, 0.062, 0), 4e-2),
        ],
    )
    def test_ten_thousand_steps(
        self, run: Run, name: str, threshold: float | None, expected: Any, tolerance: float
    ) -> None:
        found = run(name, threshold, tau=1.0, lag=500, steps=10_000)
        assert mean_policy(found) == pytest.approx(expected, abs=tolerance)
        if threshold is None:
            assert float(found.state.floors.mean()) == pytest.approx(0.53, abs=0.03)


class TestOpponent:
    @pytest.mark.parametrize("labels", ["table", "pair_hard"])
    @pytest.mark.parametrize("seed", [0, 1])
    def test_what_the_reference_reaches_against_it(self, goal: Any, labels: str, seed: int) -> None:
        data, ref, opponent, truth = _met_by_another(seed)
        asked = goal(None, labels=labels, tau=0.5, updates="alternating", relaxation=1.0)
        floors = [
            float(algorithm_one(asked, data, np.arange(4), ref, [0], steps=1, **more).state.floors)
            for more in ({"opponent_logps": opponent}, {})
        ]
        assert floors[0] == pytest.approx(truth, abs=1e-12)
        assert abs(floors[1] - truth) > 5e-3

    def test_the_reference_as_opponent_changes_nothing(self, goal: Any) -> None:
        data, ref, _, _ = _met_by_another(0)
        asked = goal(0.5, tau=0.5, updates="alternating")
        runs = [
            algorithm_one(asked, data, np.arange(4), ref, [0], steps=20, opponent_logps=o).logps
            for o in (None, ref)
        ]
        assert torch.allclose(*runs, atol=1e-12)


def _met_by_another(seed: int) -> tuple[PreferenceData, Tensor, Tensor, float]:
    """Records in exact proportion whose second responses another policy drew, and E[P_q]."""
    draw = np.random.default_rng(seed)
    ref, opponent = draw.dirichlet(np.ones(4), size=2)
    rewards = draw.normal(size=(4, 2))
    prefers = 1 / (1 + np.exp(rewards[None] - rewards[:, None]))
    rows, counts = [], []
    for a, b, p, q in np.ndindex(4, 4, 2, 2):
        chances = [c if won else 1 - c for c, won in zip(prefers[a, b], (p, q), strict=True)]
        rows.append((a, b, 2 * p - 1, 2 * q - 1))
        counts.append(ref[a] * opponent[b] * np.prod(chances))
    columns = np.array(rows)
    data = PreferenceData(
        prompts=("context",),
        texts=tuple("abcd"),
        prompt_of=np.zeros(4, dtype=np.int64),
        rewards=RewardMatrix(Objectives.of("p", "q"), np.full((4, 2), np.nan)),
        first=columns[:, 0],
        second=columns[:, 1],
        labels=columns[:, 2:].astype(float),
        multiplicity=np.array(counts),
    )
    logs = [torch.as_tensor(np.log(policy))[None] for policy in (ref, opponent)]
    return data, logs[0], logs[1], float(ref @ prefers[:, :, 1] @ opponent)


class TestRuns:
    def test_seeds_side_by_side_are_the_seeds_alone(self, run: Run) -> None:
        together = run("D3b", 2 / 3, [3, 5], steps=60)
        alone = run("D3b", 2 / 3, [5], steps=60)
        assert torch.allclose(together.logps[1], alone.logps[0], atol=1e-12)
        assert torch.allclose(together.state.multipliers[1], alone.state.multipliers[0])
        assert not torch.allclose(together.logps[0], together.logps[1])

    def test_a_single_label_is_not_what_the_floor_is_measured_by(self, run: Run) -> None:
        # Every winner weighs 2, so labels that judge themselves see a mean of 1.
        literal = run("D3b", 0.8, labels="pair_hard", is_literal=True, steps=300)
        honest = run("D3b", 0.8, labels="pair_hard", steps=300, multiplier_rate=0.05)
        assert (literal.state.multipliers == 0).all() and (literal.state.moments > 1e3).all()
        assert (honest.state.multipliers > 0.2).all() and (honest.state.moments < 1).all()

    def test_infeasible_floors_are_refused_and_explosions_stop(self, run: Run) -> None:
        with pytest.raises(InfeasibleError, match=r"q >= 0\.6667 cannot be met: best seen 0\.5"):
            run("D4", 2 / 3)
        # Met on average, never in the worst case: nothing refuses it before the run.
        with pytest.raises(RunError, match=r"multipliers: found .* for q .* 0\.5 is not met"):
            run("D4", 0.5, radius=0.3, multiplier_rate=20.0, steps=2000)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"updates": "dual"}, "found updates 'dual'"),
            ({"divergence": "jsd"}, "found divergence 'jsd'"),
            ({"labels": "pair_hard", "radius": 0.1}, "a radius with labels 'pair_hard'"),
        ],
    )
    def test_what_it_does_not_define(self, run: Run, options: Any, message: str) -> None:
        with pytest.raises(InputError, match=message):
            run("D3b", 0.5, **options)

    def test_data_are_not_changed(self, goal: Any, compared: Any, uniform: Tensor) -> None:
        data = compared("D3b")
        before = dataclasses.replace(data, labels=data.labels.copy())
        asked = goal(0.6, updates="alternating")
        algorithm_one(asked, data, np.arange(3), uniform, [0], steps=5)
        assert np.array_equal(before.labels, data.labels)
        assert torch.equal(uniform, torch.full((1, 3), 1 / 3, dtype=torch.float64).log())
