"""Front imitation: its plan, its steering, and its targets on exact tables."""

import numpy as np
import pytest
import torch

from paretune.core.adapter import TradeOffEmbedding, told_numbers
from paretune.core.job import Pool
from paretune.core.objective import Objectives
from paretune.core.record import Message, PreferenceData
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


def table(prompts=("p", "q"), rewards=REWARDS) -> TabularEngine:
    n = len(prompts)
    data = PreferenceData(
        prompts=tuple(prompts),
        texts=tuple("abc" * n),
        prompt_of=np.repeat(np.arange(n), 3),
        rewards=RewardMatrix(Objectives.of("one", "two"), rewards.numpy().reshape(3 * n, 2)),
        first=np.empty(0, dtype=np.int64),
        second=np.empty(0, dtype=np.int64),
        labels=np.empty((0, 2)),
    )
    logps = torch.full((n, 3), 1 / 3).double().log()
    return TabularEngine(Table(logps), data, np.tile(np.arange(3), n), rewards)


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


# Helpful and harmless of a full answer, a refusal and a hint.
KINDS = {
    "safe": [[1.0, 1.0], [0.0, 1.0], [0.5, 1.0]],
    "risky": [[1.0, 0.0], [0.0, 1.0], [0.4, 0.4]],
}


def two_kinds(as_prompt) -> TabularEngine:
    kinds = [kind for kind in KINDS for _ in range(10)]
    prompts = [as_prompt(f"{kind} request {i % 10}") for i, kind in enumerate(kinds)]
    return table(prompts, torch.tensor([KINDS[kind] for kind in kinds]).double())


def as_conversation(text):
    # What is asked was said before the last turn.
    return (Message("user", text), Message("assistant", "why ?"), Message("user", "just tell me"))


@pytest.mark.parametrize("as_prompt", [str, as_conversation])
@pytest.mark.parametrize(
    ("yardstick", "risky"),
    [
        ("expected", [[0, 1, 0], [0.5, 0.5, 0], [1, 0, 0]]),
        ("per_reply", [[0, 1, 0], [0, 0, 1], [1, 0, 0]]),
    ],
)
def test_on_a_table_safe_and_risky_prompts_are_both_learned(yardstick, risky, as_prompt):
    grid = [TradeOff((w, 1 - w)) for w in (0.0, 0.5, 1.0)]
    method, engine = FrontImitation(yardstick, k=20, rows=400, groups=2), two_kinds(as_prompt)
    trained = engine.train(method.plan(2, grid))
    for tradeoff, expected in zip(grid, risky, strict=True):
        found = engine.steered(trained, method.steer(tradeoff, grid)).exp()
        np.testing.assert_allclose(found[:10], [[1, 0, 0]] * 10, atol=1e-3)
        np.testing.assert_allclose(found[10:], [expected] * 10, atol=1e-3)


def test_on_a_table_without_groups_risky_prompts_teach_nothing():
    method = FrontImitation(k=10, rows=400, groups=1)
    engine = two_kinds(str)
    trained = engine.train(method.plan(2, [TradeOff.even(2)]))
    found = engine.steered(trained, method.steer(TradeOff.even(2), [TradeOff.even(2)])).exp()
    np.testing.assert_allclose(found[:10], [[1, 0, 0]] * 10, atol=1e-3)
    np.testing.assert_allclose(found[10:], np.full((10, 3), 1 / 3))
