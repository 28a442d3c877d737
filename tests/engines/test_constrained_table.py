from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from paretune.bench.problems import random_problem
from paretune.core.job import TrainingJob
from paretune.core.policy import Steering
from paretune.core.tradeoff import TradeOff
from paretune.engines.constrained_table import ConstrainedPolicy, constrained_policy
from paretune.engines.goal_cells import goal_cells
from paretune.engines.table_policy import Table, TanhNetwork, total_variation
from paretune.engines.tabular import TabularEngine
from paretune.errors import ConfigError, InfeasibleError, InputError, RunError
from paretune.functional.closed_form import expected_rewards, kl_divergence
from paretune.functional.mixing import mix_logps
from paretune.methods.mopo import MOPO

SEEDS = pytest.mark.parametrize("seed", [0, 1])
Solve = Callable[..., ConstrainedPolicy]

T1 = ((1, 0.5, 0), (0.5, 1, 0), (1 / 3, 1 / 3, 1 / 3))
T2 = ((0.8, 0.5, 0.2), (0.3, 0.6, 0.5), (0.2, 0.3, 0.5))
T5 = ((0.9, 0.6, 0.4, 0.1), (0.2, 0.5, 0.8, 0.6), (0.25, 0.25, 0.25, 0.25))


@pytest.fixture
def solve(compared: Any, goal: Any, uniform: Tensor) -> Solve:
    """The policy of a goal on one of the preference structures."""

    def found(
        name: Any, threshold: float | None = None, steps: int | None = None, **more: Any
    ) -> ConstrainedPolicy:
        asked, data = goal(threshold, **more), compared(name)
        cells = goal_cells(asked, data, np.arange(3), uniform.shape)
        return constrained_policy(asked, cells, uniform, ["q"], steps)

    return found


@pytest.fixture
def known(compared: Any, goal: Any) -> Solve:
    """The policy of a goal on given preferences ``(p, q, reference)`` of one context."""

    def found(
        instance: Any, threshold: float | None, steps: int | None = None, **more: Any
    ) -> ConstrainedPolicy:
        p, q, ref = (torch.tensor(values, dtype=torch.float64) for values in instance)
        asked, n = goal(threshold, **more), len(p)
        cells = goal_cells(asked, compared([(0, 1, 1, 1)], n), np.arange(n), (1, n))
        cells = dataclasses.replace(cells, primary=p[None], secondary=q[None, :, None])
        return constrained_policy(asked, cells, ref.log()[None], ["q"], steps)

    return found


def chances(policy: ConstrainedPolicy) -> list[float]:
    return policy.logps.exp()[0].tolist()


class TestKnownOptima:
    @pytest.mark.parametrize("updates", ["dual", "alternating"])
    @pytest.mark.parametrize(
        ("instance", "tau", "floor", "price", "expected"),
        [
            (T1, 0.1, 2 / 3, 0.86137105, (0.66666585, 0.33333374, 4.08e-7)),
            (T2, 0.08, 0.5, 1.07671522, (0.33108131, 0.66216261, 0.00675608)),
            (T5, 0.1, 0.1, 0.0, (0.94619869, 0.04710846, 0.00637544, 0.00031741)),
        ],
    )
    def test_floors_that_bind_and_one_that_does_not(
        self, known: Solve, updates: str, instance: Any, tau: float, floor: float, price: float,
        expected: tuple[float, ...],
    ) -> None:  # fmt: skip
        found = known(instance, floor, tau=tau, updates=updates)
        assert float(found.multipliers) == pytest.approx(price, abs=1e-6)
        assert chances(found) == pytest.approx(expected, abs=1e-6)
        assert float(found.values) >= floor - 1e-6

    @SEEDS
    def test_alternating_updates_end_at_the_dual(self, seed: int, goal: Any) -> None:
        problem = random_problem(n_objectives=3, seed=seed)
        data = problem.data(slope=1.0)
        policies = []
        for updates in ("dual", "alternating"):
            asked = goal(labels="table", updates=updates, tau=0.2)
            asked = dataclasses.replace(
                asked, thresholds=(None, 0.55, 0.52), reward_floors=(None,) * 3
            )
            cells = goal_cells(asked, data, problem.action_of, problem.ref_logps.shape)
            policies.append(constrained_policy(asked, cells, problem.ref_logps, ["q", "r"]))
        assert total_variation(policies[0].logps, policies[1].logps) <= 1e-6
        assert policies[0].multipliers.max() > 0

    @pytest.mark.parametrize(
        ("name", "threshold", "expected"),
        [
            ("D1", 0.49975, (0.9933, 0.0067, 0)),
            ("D2", 0.49975, (0.5, 0.5, 0)),
            ("D3b", 2 / 3, (2 / 3, 1 / 3, 0)),
            ("D3c", 2 / 3, (1 / 3, 2 / 3, 0)),
            ("D4", 0.49975, (1 / 3, 1 / 3, 1 / 3)),
        ],
    )
    def test_structures(
        self, solve: Solve, name: str, threshold: float, expected: tuple[float, ...]
    ) -> None:
        assert chances(solve(name, threshold)) == pytest.approx(expected, abs=1e-3)

    @pytest.mark.parametrize("threshold", [0.6, 0.8])
    def test_a_floor_slides_along_the_conflict(self, solve: Solve, threshold: float) -> None:
        # E[q] = pi_1 / 2 + pi_2 with pi_3 = 0.
        found = solve("D3b", threshold, tau=0.01)
        assert chances(found)[1] == pytest.approx(2 * threshold - 1, abs=1e-6)

    @pytest.mark.parametrize("tau", [5.0, 0.5, 0.1, 0.05])
    def test_an_action_that_nobody_compared(self, solve: Solve, tau: float) -> None:
        expected = 1 / (1 + 2 * math.exp(0.5 / tau))
        assert chances(solve("D5", 0.0, tau=tau))[2] == pytest.approx(expected, abs=1e-12)

    @pytest.mark.parametrize("name", ["D1", "D3b", "D3c"])
    def test_a_stronger_penalty_stays_closer(
        self, solve: Solve, uniform: Tensor, name: str
    ) -> None:
        far = [
            float(kl_divergence(solve(name, 0.45, tau=tau).logps, uniform))
            for tau in (0.03, 0.1, 0.3, 1.0, 3.0)
        ]
        assert far == sorted(far, reverse=True) and far[-1] < 0.1 < far[0]

    @pytest.mark.parametrize("updates", ["dual", "alternating", "barrier"])
    def test_a_floor_out_of_reach_is_named_with_the_best(self, solve: Solve, updates: str) -> None:
        with pytest.raises(InfeasibleError, match=r"q >= 0\.6667 cannot be met: best seen 0\.5"):
            solve("D4", 2 / 3, updates=updates)

    def test_a_barrier_keeps_a_distance(self, known: Solve) -> None:
        found = known(T1, 2 / 3, updates="barrier", barrier=1e-2)
        slack = float(found.values) - 2 / 3
        assert slack * float(found.multipliers) == pytest.approx(1e-2, rel=1e-6)
        close = known(T1, 2 / 3, updates="barrier", barrier=1e-6)
        assert chances(close) == pytest.approx((0.66666585, 0.33333374, 4.08e-7), abs=1e-5)

    @pytest.mark.parametrize("divergence", ["chi_squared", "total_variation", "jsd", "jeffrey"])
    def test_other_divergences_without_an_active_floor(self, known: Solve, divergence: str) -> None:
        found = known(T5, 0.1, tau=0.1, divergence=divergence, updates="alternating")
        policy, p = found.logps.exp()[0], torch.tensor(T5[0]).double()
        # No mass moved from the best action to another, or back, gains more than it costs.
        generator = {
            "chi_squared": lambda w: (w - 1) ** 2,
            "total_variation": lambda w: (w - 1).abs() / 2,
            "jsd": lambda w: torch.special.xlogy(w, w) - torch.special.xlogy(w + 1, (w + 1) / 2),
            "jeffrey": lambda w: torch.special.xlogy(w, w) - w.log(),
        }[divergence]

        def worth(pi: Tensor) -> float:
            return float(pi @ p - 0.1 * (0.25 * generator(pi / 0.25)).sum())

        best = worth(policy)
        for a in range(4):
            for b in range(4):
                shift = torch.zeros(4).double()
                move = min(1e-4, float(policy[a]) / 2)
                shift[a] -= move
                shift[b] += move
                assert worth(policy + shift) <= best + 1e-9


class TestRobust:
    def test_a_known_saddle(self, known: Solve) -> None:
        found = known(T2, 0.38, tau=0.3, radius=0.05)
        assert chances(found) == pytest.approx((0.4444162, 0.31148365, 0.24410015), abs=1e-4)
        assert float(found.multipliers) == pytest.approx(0.31661, abs=1e-3)
        assert float(found.values) == pytest.approx(0.38, abs=1e-6)

    def test_adaptive_floors_start_at_the_bound_of_the_reference(self, known: Solve) -> None:
        found = known(T2, None, tau=0.3, radius=0.05, relaxation=1.0)
        assert float(found.floors) == pytest.approx(0.455695, abs=1e-6)

    def test_the_source_plugs_in_other_weights(self, known: Solve) -> None:
        found = known(T2, 0.38, tau=0.3, radius=0.05, is_literal=True)
        exact = known(T2, 0.38, tau=0.3, radius=0.05)
        assert float(found.values) == pytest.approx(0.38, abs=1e-6)
        assert 0.02 < total_variation(found.logps, exact.logps) < 0.2

    def test_the_plug_in_explodes_where_a_robust_policy_exists(self, known: Solve) -> None:
        options = {"tau": 0.08, "radius": 0.15, "relaxation": 0.9995}
        assert float(known(T2, None, **options).values) > 0.3
        with pytest.raises(RunError, match=r"multipliers .* that still move"):
            known(T2, None, is_literal=True, **options)

    def test_other_divergences_are_refused(self, known: Solve) -> None:
        with pytest.raises(InputError, match="found divergence 'jsd'"):
            known(T2, 0.38, radius=0.05, divergence="jsd")


class TestLiteral:
    def test_without_the_normalizer_no_floor_binds(self, known: Solve) -> None:
        found = known(T1, 2 / 3, is_literal=True)
        assert float(found.multipliers) == 0
        assert float(known(T1, 2 / 3).multipliers) == pytest.approx(0.861371, abs=1e-6)
        assert float(found.values) < 0.51

    def test_its_dual_where_a_floor_binds(self, known: Solve) -> None:
        found = known(T1, 0.6, tau=5.0, is_literal=True)
        p, q, _ = (torch.tensor(values).double() for values in T1)
        w = ((p + found.multipliers * q) / 5.0 - 1).exp()
        assert float((w * q).mean()) == pytest.approx(0.6, abs=1e-6)

    @pytest.mark.parametrize("name", ["D1", "D3b"])
    def test_single_labels_share_a_condorcet_winner(self, solve: Solve, name: str) -> None:
        # Each win weighs the same: two wins, one win, none.
        found = solve(name, 0.49975, labels="pair_hard", is_literal=True, tau=0.05)
        assert chances(found) == pytest.approx((2 / 3, 1 / 3, 0), abs=1e-6)
        assert float(found.multipliers) == 0


class TestPairs:
    @SEEDS
    def test_a_single_label_promises_what_it_does_not_keep(self, seed: int, goal: Any) -> None:
        problem = random_problem(n_contexts=1, seed=seed)
        data, shape = problem.data(slope=1.0), problem.ref_logps.shape
        asked = goal(0.7, labels="pair_hard", tau=0.3)
        cells = goal_cells(asked, data, problem.action_of, shape)
        found = constrained_policy(asked, cells, problem.ref_logps, ["q"])
        assert float(found.values) >= 0.7 - 1e-9
        # The mean label of an action over all its comparisons is its preference.
        truth = goal_cells(goal(0.7, labels="table"), data, problem.action_of, shape).secondary
        assert float((found.logps.exp()[..., None] * truth).sum()) < 0.66

    def test_responses_count_as_the_reference_draws_them(
        self, goal: Any, compared: Any, uniform: Tensor
    ) -> None:
        # Actions 0 and 1 always win, 0 in one record and 1 in three.
        data = compared([(0, 2, 1, 1), (1, 2, 1, 1)], counts=[1, 3])
        for is_literal, odds in ((False, 1), (True, 3)):
            asked = goal(0.0, labels="pair_hard", tau=0.05, is_literal=is_literal)
            cells = goal_cells(asked, data, np.arange(3), (1, 3))
            found = chances(constrained_policy(asked, cells, uniform, ["q"]))
            assert found[1] / found[0] == pytest.approx(odds, rel=1e-6)
            assert found[2] < 1e-6

    def test_what_was_never_compared_has_no_chance_and_no_context_is_lost(
        self, goal: Any, compared: Any
    ) -> None:
        data = compared([(0, 1, 1, 1)])
        data = dataclasses.replace(data, prompts=("asked", "not asked"))
        ref = torch.tensor([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]]).double().log()
        asked = goal(0.0, labels="pair_hard")
        cells = goal_cells(asked, data, np.arange(3), ref.shape)
        found = constrained_policy(asked, cells, ref, ["q"]).logps
        assert found[0, 2] == -math.inf
        assert torch.allclose(found[1], ref[1])
        (parameters,) = TabularEngine(Table(ref), data, np.arange(3)).train(
            [constrained_job(asked)]
        ).values()  # fmt: skip
        assert torch.isfinite(parameters).all()
        assert torch.allclose(Table(ref).logps(parameters).exp(), found.exp())


class TestLag:
    @pytest.mark.parametrize("segments", [1, 2, 3, 4, 7, 20])
    def test_segments_tilt_the_first_reference(self, known: Solve, segments: int) -> None:
        found = known(T2, 0.0, steps=10 * segments, lag=10, tau=1.5)
        p, ref = torch.tensor(T2[0]).double(), torch.tensor(T2[2]).double()
        expected = (ref.log() + math.ceil(segments / 2) * p / 1.5).softmax(0)
        assert torch.allclose(found.logps.exp()[0], expected, atol=1e-12)

    def test_steps_are_rounded_up_to_segments(self, known: Solve) -> None:
        two, three = (known(T2, 0.0, steps=s, lag=10, tau=1.5) for s in (20, 21))
        assert total_variation(two.logps, three.logps) > 0.05
        assert torch.equal(two.logps, known(T2, 0.0, lag=10, tau=1.5).logps)

    def test_adaptive_floors_follow_the_policy_two_segments_behind(self, known: Solve) -> None:
        runs = [known(T5, None, steps=s, lag=1, tau=0.1, relaxation=0.9) for s in range(1, 5)]
        start = 0.9 * sum(T5[1]) / 4
        reached = [float(run.values) for run in runs]
        expected = [start, start, 0.9 * reached[0], 0.9 * reached[1]]
        assert [float(run.floors) for run in runs] == pytest.approx(expected, abs=1e-12)
        for run in runs:
            assert float(run.values) >= float(run.floors) - 1e-9

    def test_a_kept_floor_ends_at_the_optimum_without_penalty(self, solve: Solve) -> None:
        found = solve("D3b", 2 / 3, steps=10_000, lag=500, tau=1.0)
        assert chances(found) == pytest.approx((2 / 3, 1 / 3, 0), abs=1e-3)


def constrained_job(goal: Any, name: str = "job", **more: Any) -> TrainingJob:
    return TrainingJob(name, "constrained", TradeOff.only(0, 2), goal=goal, **more)


def pick(name: str) -> Steering:
    return Steering("pick", (name,), (1.0,), TradeOff.even(2))


class TestEngine:
    @SEEDS
    def test_reward_floors_are_expected_rewards(self, seed: int, goal: Any) -> None:
        problem = random_problem(seed=seed)
        best = float(problem.rewards[..., 1].amax(1).mean())
        reference = float(expected_rewards(problem.ref_logps, problem.rewards)[1])
        floor = best - (best - reference) / 10
        asked = goal(labels="pool", reward_floors=(None, floor), tau=0.05)
        engine = TabularEngine(Table(problem.ref_logps), problem.data(), problem.action_of)
        policy = engine.steered(engine.train([constrained_job(asked)]), pick("job"))
        assert float(expected_rewards(policy, problem.rewards)[1]) == pytest.approx(floor, abs=1e-9)
        with pytest.raises(InfeasibleError, match=r"objective_1 >= .* cannot be met: best seen"):
            too_high = goal(labels="pool", reward_floors=(None, best + 0.1))
            engine.train([constrained_job(too_high)])

    def test_soft_pool_labels_by_hand(self, goal: Any) -> None:
        problem = random_problem(n_contexts=1, n_actions=3)
        asked = goal(0.0, labels="pool", slope=2.0, tau=0.5)
        engine = TabularEngine(Table(problem.ref_logps), problem.data(), problem.action_of)
        policy = engine.steered(engine.train([constrained_job(asked)]), pick("job"))
        r = problem.rewards[0, :, 0]
        p = torch.stack(
            [torch.sigmoid(2 * (r[a] - r[torch.arange(3) != a])).mean() for a in range(3)]
        )
        assert torch.allclose(policy, (problem.ref_logps + p / 0.5).log_softmax(-1), atol=1e-9)

    def test_steps_of_the_job_count_its_segments(self, goal: Any) -> None:
        problem = random_problem()
        engine = TabularEngine(Table(problem.ref_logps), problem.data(), problem.action_of)
        asked = goal(0.0, labels="pool", lag=10, tau=1.0)
        jobs = [
            constrained_job(asked, f"{steps}", settings={"steps": steps}) for steps in (20, 30, 40)
        ]
        once, twice, again = (engine.train([job])[job.id] for job in jobs)
        centered = [t.view(3, -1) - t.view(3, -1).mean(1, keepdim=True) for t in (once, twice)]
        assert torch.allclose(2 * centered[0], centered[1], atol=1e-9)
        assert torch.allclose(twice, again)

    @SEEDS
    def test_heads_of_one_network_mix_exactly(self, seed: int) -> None:
        problem = random_problem(n_contexts=4, seed=seed)
        engine = TabularEngine(
            TanhNetwork(problem.ref_logps, seed=seed), problem.data(), problem.action_of
        )
        table = TabularEngine(Table(problem.ref_logps), problem.data(), problem.action_of)
        method = MOPO(tau=0.3, lag=None, slope=1.0)
        jobs = method.plan(2, [])
        trained, exact = engine.train(jobs), table.train(jobs)
        for job in jobs:
            mine, truth = (
                e.steered(t, pick(job.id)) for e, t in ((engine, trained), (table, exact))
            )
            assert total_variation(mine, truth) <= 1e-4
        for weights in ((0.5, 0.5), (0.9, 0.1)):
            steering = method.steer(TradeOff(weights), [])
            mixed = mix_logps(
                torch.stack([engine.model.logps(trained[job.id]) for job in jobs]), weights
            )
            assert torch.allclose(engine.steered(trained, steering), mixed, atol=1e-12)
            # On a table merging is mixing anyway, and both are the same policy.
            assert total_variation(mixed, table.steered(exact, steering)) <= 1e-4

    def test_networks_of_their_own_do_not(self) -> None:
        problem = random_problem(n_contexts=4)
        engine = TabularEngine(TanhNetwork(problem.ref_logps), problem.data(), problem.action_of)
        jobs = MOPO(tau=0.3, lag=None, slope=1.0).plan(2, [])
        alone = [dataclasses.replace(job, group=None) for job in jobs]
        trained = engine.train(alone)
        merged = engine.steered(trained, MOPO().steer(TradeOff.even(2), []))
        mixed = mix_logps(
            torch.stack([engine.model.logps(t) for t in trained.values()]), (0.5, 0.5)
        )
        assert total_variation(merged, mixed) > 1e-3

    def test_what_a_table_does_not_define(self, goal: Any) -> None:
        problem = random_problem()
        data = problem.data(is_compared=False)
        engine = TabularEngine(Table(problem.ref_logps), data, problem.action_of)
        asked = goal(0.0, labels="pool")
        with pytest.raises(InputError, match="a constrained job with a goal and no condition"):
            engine.train([TrainingJob("job", "constrained", TradeOff.even(2))])
        first = constrained_job(asked, "first")
        jobs = [
            first,
            constrained_job(asked, "second", start="first"),
            constrained_job(asked, "left", group="g", start="first"),
            constrained_job(asked, "right", group="g", start="second"),
        ]
        with pytest.raises(ConfigError, match="found group 'g' with jobs of several kinds"):
            engine.train(jobs)
        with pytest.raises(InputError, match="labels table: found no comparison"):
            engine.train([constrained_job(goal(0.0, labels="table"))])
