"""ParetoHqD on tables, where fine-tuning on k rows gives exactly their distribution."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from paretune.bench.problem import Problem
from paretune.bench.problems import front_problem
from paretune.core.description import identity
from paretune.core.job import Offline, Replies
from paretune.core.tradeoff import TradeOff
from paretune.engines.table_policy import Table
from paretune.engines.tabular import TabularEngine
from paretune.errors import ConfigError, InputError
from paretune.functional.closed_form import expected_rewards
from paretune.functional.indicators import hypervolume, largest_angle_gap
from paretune.functional.simplex import lattice
from paretune.functional.statistics import spearman
from paretune.methods.pareto_hqd import ParetoHqD

GRID = lattice(2, 10)
N_ACTIONS, K = 4000, 40


class Sweep:
    """The 11 policies of a method on a table, and what they earn."""

    def __init__(self, problem: Problem, **options: Any) -> None:
        method = ParetoHqD(**{"k": K, "stages": 1, **options})
        table = TabularEngine(
            Table(problem.ref_logps),
            problem.data(is_compared=False),
            problem.action_of,
            problem.rewards,
        )
        self.trained = table.train(method.plan(2, GRID))
        self.policies = [table.steered(self.trained, method.steer(t, GRID)) for t in GRID]
        smallest = problem.rewards.min(-1).values
        self.utility = max(float((p.exp() * smallest).sum()) for p in self.policies)
        self.means: npt.NDArray[np.float64] = np.array(
            [expected_rewards(p, problem.rewards).numpy() for p in self.policies]
        )

    @property
    def hypervolume(self) -> float:
        return hypervolume(self.means)

    @property
    def gap(self) -> float:
        return largest_angle_gap(self.means)

    @property
    def controllability(self) -> list[float | None]:
        return [spearman([t.weights[i] for t in GRID], self.means[:, i]) for i in range(2)]


@pytest.fixture(scope="module", params=[0, 1])
def convex(request: pytest.FixtureRequest) -> Problem:
    return front_problem("convex", N_ACTIONS, seed=request.param)


@pytest.fixture(scope="module", params=[0, 1])
def nonconvex(request: pytest.FixtureRequest) -> Problem:
    return front_problem("nonconvex", N_ACTIONS, seed=request.param)


def test_a_policy_is_even_over_its_k_rows() -> None:
    sweep = Sweep(front_problem("convex", 500), k=7)
    for policy in sweep.policies:
        top = policy.exp()[0].sort(descending=True).values
        torch.testing.assert_close(top[:7], torch.full((7,), 1 / 7).double(), atol=1e-4, rtol=0)
        assert float(top[7:].sum()) < 1e-3


def test_steering_is_monotone_and_as_good_as_linear_on_a_convex_front(
    convex: Problem,
) -> None:
    ray = Sweep(convex, min_rows=5 * K)
    linear = Sweep(convex, select="linear", pool="all")
    # Measured: 1, 1 and .701 against .701; with 20,000 actions and k = 100 .721 against .714.
    assert ray.controllability == [1.0, 1.0]
    assert ray.hypervolume > 0.98 * linear.hypervolume
    assert ray.hypervolume == pytest.approx(0.700, abs=0.01)


def test_fewest_layers_share_rows_on_a_thin_front(convex: Problem) -> None:
    """The default suits discrete rewards; on a continuous front it is worse, as documented."""
    fewest = Sweep(convex)
    # Measured: .57 and .60, against .70 with 5k rows; distinct trade-offs share their rows.
    assert 0.55 < fewest.hypervolume < 0.62
    assert 0.9 < min(fewest.controllability) < 1  # type: ignore[type-var]


def test_covers_a_dent_that_linear_selection_skips(nonconvex: Problem) -> None:
    best = float(nonconvex.rewards.min(-1).values.max())
    ray = Sweep(nonconvex, min_rows=5 * K)
    fewest = Sweep(nonconvex)
    linear = Sweep(nonconvex, select="linear", pool="all")
    # Measured gaps: .15, .22-.25 and .45-.49 of the quarter turn.
    assert ray.gap < 0.16 and fewest.gap < 0.27 and linear.gap > 0.4
    # What a single reply offers: .20, .16 and .002 of .24.
    assert ray.utility > 0.75 * best and fewest.utility > 0.6 * best
    assert linear.utility < 0.01 * best
    # And yet a mixture of two ends has the larger hypervolume of means: say which yardstick.
    assert linear.hypervolume > 1.4 * ray.hypervolume


def test_random_rows_give_no_control(convex: Problem) -> None:
    random = Sweep(convex, select="random")
    assert random.hypervolume < 0.25
    assert max(np.ptp(random.means, axis=0)) < 0.15
    distinct = {tuple(p.exp()[0].topk(K).indices.sort().values.tolist()) for p in random.policies}
    assert len(distinct) == len(GRID), "every trade-off draws its own rows"


def test_full_trains_on_everything() -> None:
    problem = front_problem("convex", 300)
    sweep = Sweep(problem, select="full", k=100)
    for policy in sweep.policies:
        torch.testing.assert_close(policy, problem.ref_logps, atol=1e-6, rtol=0)


def test_second_stage_selects_among_replies_of_the_representatives() -> None:
    problem = front_problem("convex", 500)
    sweep = Sweep(problem, k=10, stages=2, stage2_prompts=200, temperature=1.0, top_p=1.0)
    replied = torch.zeros(500, dtype=torch.bool)
    for name in ("stage-1-1-0", "stage-1-0-1", "stage-1-0.5-0.5"):
        replied |= torch.softmax(sweep.trained[name], 0) > 0.01
    for policy in sweep.policies:
        chosen = policy.exp()[0] > 0.05
        assert chosen.sum() == 5 and replied[chosen].all()


def test_second_stage_may_keep_the_records() -> None:
    problem = front_problem("convex", 2000)
    generated = Sweep(problem, k=20, stages=2, stage2_prompts=200)
    joined = Sweep(problem, k=20, stages=2, stage2_prompts=200, stage2_pool="generated+pareto")
    assert not np.allclose(generated.means, joined.means)


class TestPlan:
    def test_two_stages(self) -> None:
        plan = ParetoHqD().plan(2, GRID)
        first, second = plan[:11], plan[11:]
        assert [j.tradeoff for j in first] == [j.tradeoff for j in second] == GRID
        assert all(j.source == Offline() and j.start == "base" for j in first)
        assert [j.start for j in second] == [j.id for j in first]
        assert {j.source for j in second} == {
            Replies(
                ("stage-1-1-0", "stage-1-0-1", "stage-1-0.5-0.5"),
                prompts=10_000,
                temperature=0.7,
                top_p=0.9,
            )
        }
        assert {j.rows.keywords["k"] for j in first} == {100}
        assert {j.rows.keywords["k"] for j in second} == {50}

    def test_settings_hold_only_what_the_method_fixes(self) -> None:
        job = ParetoHqD().plan(2, GRID)[0]
        assert job.settings == {"steps": 200, "batch_size": 8}
        job = ParetoHqD(learning_rate=1e-4).plan(2, GRID)[0]
        assert job.settings == {"steps": 200, "batch_size": 8, "learning_rate": 1e-4}

    def test_one_stage_is_the_first_of_two(self) -> None:
        # With the same identity, so a run that holds both trains the first stage once.
        one, two = (ParetoHqD(stages=n).plan(2, GRID) for n in (1, 2))
        assert [identity(job) for job in one] == [identity(job) for job in two[:11]]

    def test_more_objectives_have_more_representatives(self) -> None:
        source = ParetoHqD().plan(3, lattice(3, 4))[-1].source
        assert isinstance(source, Replies) and len(source.of) == 4

    def test_serves_the_last_stage(self) -> None:
        near = TradeOff((0.12, 0.88))
        assert ParetoHqD(stages=1).steer(near, GRID).policies == ("stage-1-0.1-0.9",)
        assert ParetoHqD().steer(near, GRID).policies == ("stage-2-0.1-0.9",)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, r"pareto_hqd.k: found 0, expected at least 2"),
        ({"k": 1, "stages": 2}, r"pareto_hqd.k: found 1, expected at least 2"),
        ({"top_p": 0.0}, r"pareto_hqd.top_p: found 0.0, expected a number in \(0, 1\]"),
        ({"range_quantile": 0.5}, r"pareto_hqd.range_quantile: found 0.5"),
        ({"smoothing": 1.5}, r"pareto_hqd.smoothing: found 1.5"),
        (
            {"select": "linear", "space": "raw"},
            r"pareto_hqd.space: .*not read with select 'linear'",
        ),
        ({"select": "random", "min_rows": 5}, r"pareto_hqd.min_rows: .*not read"),
        ({"select": "full", "k": 50}, r"pareto_hqd.k: found 50, expected the default 100"),
    ],
)
def test_refuses_what_does_not_fit(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ParetoHqD(**options)


def test_fewer_rows_than_k_is_an_error() -> None:
    with pytest.raises(InputError, match="k=40"):
        Sweep(front_problem("convex", 30))
