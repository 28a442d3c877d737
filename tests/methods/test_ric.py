"""Rewards-in-Context on tables whose contexts are prompts that tell rewards."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from paretune.core.description import identity
from paretune.core.job import Offline, Pool, Replies, TrainingJob
from paretune.core.objective import Objectives
from paretune.core.record import PreferenceData
from paretune.core.rewards import Normalizer, RewardMatrix
from paretune.core.tradeoff import TradeOff
from paretune.engines.table_policy import Table
from paretune.engines.tabular import TabularEngine
from paretune.errors import ConfigError, NotScoredError
from paretune.functional.closed_form import expected_rewards
from paretune.functional.desired_rewards import desired_share
from paretune.functional.reward_prompt import tell_rewards, write_rewards
from paretune.functional.simplex import lattice
from paretune.methods.ric import RewardsInContext

GRID = lattice(2, 4)
CELLS = np.array([[0.0, 2.0], [0.0, 2.0], [2.0, 0.0], [2.0, 0.0], [1.5, 1.5], [-2.0, -2.0]])
"""Rewards of six actions: two pairs that rewards cannot tell apart, a balanced one, a bad one."""
COUNTS = np.array([3, 1, 2, 2, 4, 4])
"""How often each action was the response to the only prompt."""
TENTHS = np.arange(-16, 17) / 10
LIMIT = 1.6
"""No response is further from the mean."""


class World:
    """A table with the prompt and with every prompt that tells two rewards in tenths."""

    def __init__(self, cells: np.ndarray = CELLS, counts: np.ndarray = COUNTS) -> None:
        self.action_of = np.repeat(np.arange(len(cells)), counts)
        rewards = RewardMatrix(Objectives.of("x", "y"), cells[self.action_of])
        self.normalizer = Normalizer.fit(rewards)
        goals = [write_rewards("p", (a, b)) for a in TENTHS for b in TENTHS]
        self.prompts = ("p", *goals)
        none, n = np.empty(0, dtype=np.int64), len(self.action_of)
        data = PreferenceData(
            self.prompts, tuple(map(str, self.action_of)), np.zeros(n, np.int64), rewards,
            none, none, np.empty((0, 2)),
        )  # fmt: skip
        ref = torch.log_softmax(torch.linspace(0, 1, len(cells)).double(), 0)
        self.ref = ref.repeat(len(self.prompts), 1)
        every = torch.as_tensor(cells).repeat(len(self.prompts), 1, 1)
        self.engine = TabularEngine(Table(self.ref), data, self.action_of, every)

    def told(self, action: int) -> int:
        """The context that tells the rewards of an action."""
        return self.prompts.index(tell_rewards("p", CELLS[action], self.normalizer))


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def logps(world: World, method: RewardsInContext) -> torch.Tensor:
    """``(S, A)`` policy of the last job in every context."""
    trained = world.engine.train(method.plan(2, GRID))
    last = method.steer(GRID[0], GRID).policies[0]
    return world.engine.model.logps(trained[last])


class TestOffline:
    def test_told_rewards_draw_from_the_responses_with_these_rewards(self, world: World) -> None:
        found = logps(world, RewardsInContext(iterations=0, limit=LIMIT)).exp()
        expected = {
            0: [3 / 4, 1 / 4, 0, 0, 0, 0],
            2: [0, 0, 1 / 2, 1 / 2, 0, 0],
            4: [0, 0, 0, 0, 1, 0],
            5: [0, 0, 0, 0, 0, 1],
        }
        for action, share in expected.items():
            row = torch.tensor(share).double()
            torch.testing.assert_close(found[world.told(action)], row, atol=1e-3, rtol=0)

    def test_what_no_response_was_told_is_left_to_the_reference(self, world: World) -> None:
        found = logps(world, RewardsInContext(iterations=0, limit=LIMIT))
        told = {world.told(action) for action in range(6)}
        rest = [s for s in range(len(world.prompts)) if s not in told]
        torch.testing.assert_close(found[rest], world.ref[rest], atol=1e-9, rtol=0)

    def test_a_corner_is_served_by_its_best_responses(self) -> None:
        method = RewardsInContext(iterations=0, limit=LIMIT)
        # Without the others the ends of the front are the corners of the range of the rewards.
        ends = World(CELLS[:4], COUNTS[:4])
        trained = ends.engine.train(method.plan(2, GRID))
        for tradeoff, share in (
            ((1.0, 0.0), [0, 0, 1 / 2, 1 / 2]),
            ((0.0, 1.0), [3 / 4, 1 / 4, 0, 0]),
        ):
            steering = method.steer(TradeOff(tradeoff), GRID)
            found = ends.engine.steered(trained, steering, [0]).exp()
            torch.testing.assert_close(found[0], torch.tensor(share).double(), atol=1e-3, rtol=0)

    @pytest.mark.parametrize("rule", ["linear", "linf"])
    def test_a_wish_that_the_data_can_meet_is_met(self, rule: str) -> None:
        """Rewards of a grid, a response each: what is earned is the share that is wished."""
        values = np.arange(5) / 4
        cells = np.array([(a, b) for a in values for b in values])
        world = World(cells, np.ones(len(cells), dtype=int))
        method = RewardsInContext(rule=rule, iterations=0, limit=LIMIT)  # type: ignore[arg-type]
        trained = world.engine.train(method.plan(2, GRID))
        for tradeoff in GRID:
            policy = world.engine.steered(trained, method.steer(tradeoff, GRID), [0])
            means = expected_rewards(policy, torch.as_tensor(cells)[None]).numpy()
            wished = desired_share(tradeoff.weights, rule)  # type: ignore[arg-type]
            np.testing.assert_allclose(means.ravel(), wished, atol=2e-3)

    def test_a_missing_reward_is_refused(self, world: World) -> None:
        values = world.engine.data.rewards.values.copy()
        values[3, 1] = np.nan
        pool = Pool(values, np.zeros(len(values), int), np.arange(len(values)))
        with pytest.raises(NotScoredError, match="response 3 on objective 1"):
            RewardsInContext().plan(2, GRID)[0].rows(pool)  # type: ignore[misc, call-arg]


class TestOnline:
    def run(self, world: World, **options: Any) -> tuple[Pool, np.ndarray, torch.Tensor]:
        """What the last job could choose from, what it chose, and its policy."""
        method = RewardsInContext(**{"prompts": 400, "limit": LIMIT, **options})
        seen: list[tuple[Pool, np.ndarray]] = []
        *jobs, last = method.plan(2, GRID)

        def spy(pool: Pool) -> np.ndarray:
            rows: Any = last.rows
            seen.append((pool, rows(pool)))
            return seen[-1][1]

        trained = world.engine.train([*jobs, dataclasses.replace(last, rows=spy)])
        return *seen[-1], world.engine.model.logps(trained[last.id])

    def test_told_rewards_draw_from_what_was_kept(self, world: World) -> None:
        """Replies count with the rewards they got, not with those they were asked for."""
        pool, rows, policy = self.run(world)
        n = len(world.action_of)
        assert (pool.rounds == np.repeat([0, 1], [n, 400])).all()  # type: ignore[union-attr]
        assert set(rows[rows < n]) and set(rows[rows >= n])
        for action in (0, 2):
            told = [r for r in rows if (pool.rewards[r] == CELLS[action]).all()]
            share = np.bincount(pool.text_of[told], minlength=6) / len(told)
            found = policy.exp()[world.told(action)].numpy()
            np.testing.assert_allclose(found, share, atol=2e-3)

    def test_the_filter_works_on_the_records_and_on_the_replies(self, world: World) -> None:
        pool, rows, _ = self.run(world)
        assert not (pool.rewards[rows] == -2).any()
        kept = self.run(world, keep="pareto", max_records=0)[1]
        assert (kept >= len(world.action_of)).all()

    def test_two_rounds_learn_from_the_replies_of_both(self, world: World) -> None:
        pool, rows, _ = self.run(world, iterations=2, prompts=50)
        assert pool.rounds is not None
        assert np.bincount(pool.rounds).tolist() == [len(world.action_of), 50, 50]
        assert set(pool.rounds[rows]) == {0, 1, 2}
        first, second = (pool.text_of[pool.rounds == n] for n in (1, 2))
        assert (first != second).any(), "every round asks for other goals"


class TestPlan:
    def test_jobs(self) -> None:
        offline, first, second = RewardsInContext(iterations=2).plan(3, lattice(3, 4))
        assert [j.id for j in (offline, first, second)] == ["offline", "online-1", "online-2"]
        assert offline.source == Offline() and offline.start == "base"
        assert (first.start, second.start) == ("offline", "online-1")
        assert isinstance(first.source, Replies) and isinstance(second.source, Replies)
        assert first.source.of == ("offline",)
        assert second.source.of == ("offline", "online-1")
        # The replies of the first round are drawn once for both.
        assert identity(dataclasses.replace(second.source, of=())) == identity(
            dataclasses.replace(first.source, of=())
        )
        assert first.source.with_offline and first.source.temperature == 0.7

    def test_settings(self) -> None:
        offline, online = RewardsInContext().plan(2, GRID)
        assert offline.settings == {}
        assert online.settings == {"learning_rate_factor": 0.07, "schedule": "constant"}
        offline, online = RewardsInContext(steps=50, learning_rate=1e-3, online_steps=9).plan(
            2, GRID
        )
        assert offline.settings == {"steps": 50, "learning_rate": 1e-3}
        assert online.settings["steps"] == 9 and online.settings["learning_rate"] == 1e-3

    def test_one_policy_whatever_the_tradeoffs(self) -> None:
        def ids(jobs: list[TrainingJob]) -> list[str]:
            return [job.id for job in jobs]

        method = RewardsInContext()
        assert ids(method.plan(2, GRID)) == ids(method.plan(2, lattice(2, 10)))
        assert method.steer(TradeOff((0.123, 0.877)), GRID).tradeoff.weights == (0.123, 0.877)
        assert RewardsInContext(iterations=0).steer(GRID[0], GRID).policies == ("offline",)

    def test_one_objective_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="ric: found 1 objective, expected at least 2"):
            RewardsInContext().plan(1, lattice(1, 1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"iterations": 3}, r"ric.iterations: found 3"),
        ({"p": 0.5}, r"ric.p: found 0.5, expected a finite number >= 1"),
        ({"quantile": 1.0}, r"ric.quantile: found 1.0, expected a number in \[0, 1\)"),
        ({"rule": "linf", "p": 3.0}, r"ric.p: .*the default 2.0 \(not read with rule 'linf'\)"),
        ({"iterations": 0, "prompts": 5}, r"ric.prompts: .*\(not read with iterations 0\)"),
        ({"steps": 0}, r"ric.steps: found 0"),
    ],
)
def test_refuses_what_does_not_fit(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RewardsInContext(**options)
