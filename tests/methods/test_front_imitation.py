"""Front imitation: its plan, its steering, and its targets on exact tables."""

import numpy as np
import pytest
import torch

from paretune.core.adapter import TradeOffEmbedding, told_numbers
from paretune.core.job import Pool
from paretune.core.objective import Objectives
from paretune.core.record import PreferenceData
from paretune.core.rewards import RewardMatrix
from paretune.core.tradeoff import TradeOff
from paretune.engines.table_policy import Table
from paretune.engines.tabular import TabularEngine
from paretune.errors import ConfigError, InputError
from paretune.methods.front_imitation import FrontImitation

GRID = [TradeOff((w, 1 - w)) for w in (0.0, 0.25, 0.5, 1.0)]


def test_one_job_for_all_trade_offs():
    (job,) = FrontImitation(k=3, rows=7, steps=5, learning_rate=0.01).plan(2, [*GRID, GRID[0]])
    assert job.kind == "sft" and job.settings == {"steps": 5, "learning_rate": 0.01}
    assert job.adapter == TradeOffEmbedding(tuple(t.weights for t in GRID), 1.5)
    pool = Pool(np.random.default_rng(0).random((9, 2)), np.arange(9), np.arange(9))
    rows = job.rows(pool)
    assert len(rows) == 4 * 7
    assert told_numbers(job.adapter, rows.given).tolist() == [0, 1, 2, 3] * 7


def test_serves_the_nearest_trained_trade_off():
    steering = FrontImitation().steer(TradeOff((0.6, 0.4)), GRID)
    assert steering.told == 2 and steering.tradeoff == GRID[2] and steering.policies == ("front",)


def test_one_objective_has_no_front():
    with pytest.raises(ConfigError, match="front_imitation: found 1 objective"):
        FrontImitation().plan(1, [TradeOff((1.0,))])


@pytest.mark.parametrize(
    ("field", "value"),
    [("k", 0), ("rows", 0), ("groups", 0), ("steps", 0), ("scale", -1.0), ("learning_rate", 0.0),
     ("range_quantile", 0.5)],
)  # fmt: skip
def test_fields_are_checked(field, value):
    with pytest.raises(ConfigError, match=f"front_imitation.{field}: found {value}"):
        FrontImitation(**{field: value})


def test_a_row_is_told_a_trade_off_that_has_a_vector():
    about = TradeOffEmbedding(((0.5, 0.5), (1.0, 0.0)))
    assert told_numbers(about, np.array([[1.0, 0.0], [0.5, 0.5]])).tolist() == [1, 0]
    with pytest.raises(InputError, match="row 1 is told"):
        told_numbers(about, np.array([[1.0, 0.0], [0.4, 0.6]]))
    with pytest.raises(InputError, match="expected 2"):
        told_numbers(about, np.zeros((1, 3)))
    with pytest.raises(ConfigError, match="expected different"):
        TradeOffEmbedding(((0.5, 0.5), (0.5, 0.5)))


# Rewards of three actions in both contexts: two ends and a dent between them.
REWARDS = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.4, 0.4]]] * 2).double()


def table() -> TabularEngine:
    logps = torch.full((2, 3), 1 / 3).double().log()
    data = PreferenceData(
        prompts=("p", "q"),
        texts=tuple("abcabc"),
        prompt_of=np.repeat([0, 1], 3),
        rewards=RewardMatrix(Objectives.of("one", "two"), REWARDS.numpy().reshape(6, 2)),
        first=np.empty(0, dtype=np.int64),
        second=np.empty(0, dtype=np.int64),
        labels=np.empty((0, 2)),
    )
    return TabularEngine(Table(logps), data, np.tile(np.arange(3), 2), REWARDS)


@pytest.mark.parametrize(
    ("yardstick", "target"),
    [
        ("expected", [[0, 1, 0], [0.25, 0.75, 0], [0.5, 0.5, 0], [1, 0, 0]]),
        # Worst weighted shortfalls of the ends: .25 and .75 at (.25, .75); of the dent: .45.
        ("per_reply", [[0, 1, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]]),
    ],
)
def test_on_a_table_every_trade_off_gets_its_target(yardstick, target):
    method, engine = FrontImitation(yardstick, k=2, rows=800), table()
    trained = engine.train(method.plan(2, GRID))
    for tradeoff, expected in zip(GRID, target, strict=True):
        found = engine.steered(trained, method.steer(tradeoff, GRID)).exp()
        np.testing.assert_allclose(found, [expected] * 2, atol=1e-3)


def test_on_a_table_the_mean_reward_is_on_the_chord():
    method, engine = FrontImitation(k=2, rows=800), table()
    trained = engine.train(method.plan(2, GRID))
    policy = engine.steered(trained, method.steer(GRID[2], GRID)).exp()
    mean = torch.einsum("sa,sam->m", policy, REWARDS) / 2
    np.testing.assert_allclose(mean, [0.5, 0.5], atol=1e-3)
