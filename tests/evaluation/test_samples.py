"""Replies that a report keeps."""

from __future__ import annotations

import numpy as np

from paretune.core.results import Cost
from paretune.evaluation.replies import MethodReplies, PointReplies, ReplyTable
from paretune.evaluation.samples import MOST, pick_samples
from paretune.functional.simplex import lattice

COST = Cost(1.0, 10, 1.0, 10, 1, 1)


def method(n: int) -> MethodReplies:
    """Says which trade-off and which prompt a reply is for; two replies a prompt."""
    points = []
    for tradeoff in lattice(2, n):
        prompt_of = np.repeat(np.arange(3), 2)
        texts = [f"{tradeoff.slug} {p} {i % 2}" for i, p in enumerate(prompt_of)]
        rewards = np.tile(tradeoff.array, (6, 1)) + np.arange(6)[:, None]
        points.append(PointReplies(tradeoff, "p", ReplyTable(prompt_of, texts, rewards)))
    return MethodReplies("m", points, COST)


def test_every_tradeoff_is_kept_with_the_first_reply_to_each_prompt() -> None:
    samples = pick_samples([method(10)], ["a", "b", "c"], 5, np.random.default_rng(0))
    assert [s.prompt for s in samples] == ["a", "b", "c"]
    last = samples[-1]
    assert last.tradeoffs == tuple(t.weights for t in lattice(2, 10))
    assert last.replies == tuple(f"{t.slug} 2 0" for t in lattice(2, 10))
    assert last.rewards[0] == tuple(np.array(last.tradeoffs[0]) + 4)


def test_of_many_tradeoffs_those_far_from_each_other_are_kept() -> None:
    (sample,) = pick_samples([method(80)], ["a", "b", "c"], 1, np.random.default_rng(0))
    weights = np.array(sample.tradeoffs)[:, 0]
    assert len(weights) == MOST and set(weights[[0, -1]]) == {0.0, 1.0}
    assert np.all(np.diff(weights) > 0) and np.diff(weights).max() <= 0.075
    assert all(text.startswith(t) for text, t in zip(
        sample.replies, (f"{w:g}-{1 - w:g} " for w in weights), strict=True))  # fmt: skip
