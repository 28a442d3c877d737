"""Rounds on a table, plain and told what to get."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from paretune.core.job import Pool, Replies, TrainingJob
from paretune.core.objective import Objectives
from paretune.core.record import PreferenceData
from paretune.core.rewards import Normalizer, RewardMatrix
from paretune.core.tradeoff import TradeOff
from paretune.engines.table_policy import Table
from paretune.engines.table_rounds import draw_replies
from paretune.engines.tabular import TabularEngine

REWARDS = torch.tensor([[[0, 3], [1, 2], [2, 1]], [[1, 0], [0, 1], [3, 3]]]).double()
REFERENCE = torch.log_softmax(torch.tensor([[0.0, 1.0, -1.0], [0.5, 0.5, 0.0]]).double(), -1)
NONE = np.empty(0, dtype=np.int64)


def engine(prompts: tuple[str, ...] = ("p", "q")) -> TabularEngine:
    """Three rows of each of the first two prompts; further prompts have none."""
    data = PreferenceData(
        prompts, tuple("abcdef"), np.repeat([0, 1], 3),
        RewardMatrix(Objectives.of("x", "y"), REWARDS.numpy().reshape(6, 2)),
        NONE, NONE, np.empty((0, 2)),
    )  # fmt: skip
    more = [0] * (len(prompts) - 2)
    model = Table(REFERENCE[[0, 1, *more]])
    return TabularEngine(model, data, np.tile(np.arange(3), 2), REWARDS[[0, 1, *more]])


def swap(prompt: str, key: np.uint64, normalizer: Normalizer) -> str:
    return {"p": "q", "q": "p"}[prompt]


def tell(prompt: str, key: np.uint64, normalizer: Normalizer) -> str:
    return "p told"


def only(pool: Pool, row: int) -> np.ndarray:
    return np.array([row])


class Recorder:
    """A condition that remembers what it was given."""

    def __init__(self) -> None:
        self.keys: list[int] = []

    def ask(self, prompt: str, key: np.uint64, normalizer: Normalizer) -> str:
        assert normalizer == Normalizer.fit(engine().data.rewards)
        self.keys.append(int(key))
        return prompt


def round_of(table: TabularEngine, condition: Any, **more: Any) -> Pool:
    """What a job could learn from, after job ``a`` learned action 2 in context p."""
    seen: list[Pool] = []

    def rule(pool: Pool) -> np.ndarray:
        seen.append(pool)
        return np.array([0])

    source = Replies(("a", "base"), prompts=200, condition=condition, **more)
    even = TradeOff.even(2)
    first = TrainingJob("a", "sft", even, partial(only, row=2))
    table.train([first, TrainingJob("b", "sft", even, rule, source=source)])
    return seen[0]


def test_asked_through_the_prompt_and_paid_for_the_prompt() -> None:
    pool = round_of(engine(), swap)
    by_a, action = pool.rounds == 1, pool.text_of - pool.prompt_of * 3
    # What a learned in context p it answers to prompt q, and earns what q pays.
    asked_q = by_a & (pool.prompt_of == 1)
    assert asked_q.sum() == 100 and (action[asked_q] == 2).mean() > 0.99
    assert (action[by_a & (pool.prompt_of == 0)] == 2).mean() < 0.5
    np.testing.assert_array_equal(pool.rewards[asked_q & (action == 2)], 3)


def test_every_reply_is_told_something_else() -> None:
    told = Recorder()
    round_of(engine(), told.ask, per_prompt=2)
    assert len(set(told.keys)) == len(told.keys) == 2 * 2 * 200


def test_prompts_that_tell_something_already_are_not_asked() -> None:
    pool = round_of(engine(("p", "q", "p told")), tell)
    assert np.bincount(pool.prompt_of).tolist() == [200, 200]


def test_told_contexts_answer() -> None:
    # Certain policies: action 0 in the first context, action 1 in the second.
    sure = torch.log(torch.tensor([[1.0, 0.0], [0.0, 1.0]]).double())
    source = Replies(("a", "b"), prompts=4, per_prompt=2)
    found = draw_replies(
        source, {"a": sure, "b": sure}, np.array([0, 1]), 0, lambda job, asked: asked * (job == "b")
    )
    np.testing.assert_array_equal(found.prompt_of, [0, 0, 0, 0, 1, 1, 1, 1] * 2)
    np.testing.assert_array_equal(found.action_of, [0] * 12 + [1] * 4)
    np.testing.assert_array_equal(found.asked, [0, 0, 1, 1, 2, 2, 3, 3] * 2)
    np.testing.assert_array_equal(found.rounds, [1] * 8 + [2] * 8)


@pytest.mark.parametrize("with_offline", [False, True])
def test_rows_know_their_round(with_offline: bool) -> None:
    pool = round_of(engine(), None, with_offline=with_offline)
    assert pool.rounds is not None
    assert np.bincount(pool.rounds).tolist() == [6 * with_offline, 200, 200]
