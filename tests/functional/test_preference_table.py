from __future__ import annotations

import numpy as np
import pytest

from paretune.errors import InputError
from paretune.functional.preference_table import label_table, pair_table, pool_table

TWO_PROMPTS = np.array([0, 1, 0, 1, 0])


class TestPool:
    def test_worked_by_hand(self) -> None:
        rewards = np.array([[1.0], [5.0], [2.0], [5.0], [3.0]])
        table = pool_table(rewards, TWO_PROMPTS)
        # Prompt 0 holds rewards 1, 2, 3; prompt 1 holds a tie.
        assert table.row.tolist() == [0, 2, 4, 1, 3]
        assert table.group.tolist() == [0, 0, 0, 1, 1]
        assert table.values.ravel().tolist() == [0.0, 0.5, 1.0, 0.5, 0.5]

    def test_soft_labels(self) -> None:
        table = pool_table(np.array([[1.0], [0.0]]), np.zeros(2, np.int64), slope=2.0)
        assert table.values.ravel() == pytest.approx([0.8807971, 0.1192029])

    def test_the_mean_of_a_group_is_a_half(self) -> None:
        rewards = np.random.default_rng(0).normal(size=(30, 3))
        table = pool_table(rewards, np.arange(30) % 7, slope=1.5)
        for group in range(7):
            assert table.values[table.group == group].mean(0) == pytest.approx([0.5] * 3)

    def test_folds_hold_opponents_out(self) -> None:
        rewards = np.random.default_rng(1).normal(size=(12, 1))
        table = pool_table(rewards, np.zeros(12, np.int64))
        assert table.folds is not None
        folds, wins = table.folds, (rewards[:, 0][:, None] > rewards[:, 0][None]).sum(1)
        # Twelve responses in ten folds: two in each of two; an entry is no opponent of its own.
        sizes = (~folds.is_candidate).sum(1)
        assert sorted(sizes) == [1] * 8 + [2] * 2
        assert folds.mass == pytest.approx(np.repeat(sizes[:, None] / 12, 12, axis=1))
        for held, rest, size, is_in in zip(
            folds.held, folds.rest, sizes, folds.is_candidate, strict=True
        ):
            n = size - ~is_in
            assert held[:, 0] * n + rest[:, 0] * (11 - n) == pytest.approx(wins)

    def test_what_is_held_out_is_held_out_for_all(self) -> None:
        # The second best loses to the best only: it gains where that one is held out.
        rewards = np.arange(8.0)[:, None]
        table = pool_table(rewards, np.zeros(8, np.int64))
        assert table.folds is not None
        gains = (table.folds.rest - table.values)[:, 1:7, 0]
        assert (gains > 0).all(axis=1).sum() == 1

    def test_small_groups_hold_nothing_out(self) -> None:
        rewards = np.array([[1.0], [2.0]])
        table = pool_table(rewards, np.zeros(2, np.int64))
        assert table.folds is not None
        assert (table.folds.rest == table.values).all() and (table.folds.held == table.values).all()
        assert table.folds.mass.sum(0) == pytest.approx([1.0] * 2)
        assert table.folds.is_candidate.all()

    def test_copies_tie_with_each_other(self) -> None:
        rewards, counts = np.array([[1.0], [2.0]]), np.array([3, 1])
        table = pool_table(rewards, np.zeros(2, np.int64), counts=counts)
        # Against two copies of itself and one better reply: (1/2 + 1/2 + 0) / 3.
        assert table.values.ravel() == pytest.approx([1 / 3, 1.0])
        assert table.count.tolist() == [3.0, 1.0]
        assert float(table.values.ravel() @ table.count) / 4 == pytest.approx(0.5)

    def test_single_responses_are_left_out_and_alone_refused(self) -> None:
        rewards = np.array([[1.0], [2.0], [3.0]])
        assert pool_table(rewards, np.array([0, 1, 1])).row.tolist() == [1, 2]
        with pytest.raises(InputError, match="one response a prompt"):
            pool_table(rewards, np.arange(3))

    def test_a_missing_reward_is_refused(self) -> None:
        with pytest.raises(InputError, match="1 of 2 responses without a reward"):
            pool_table(np.array([[1.0], [np.nan]]), np.zeros(2, np.int64))


class TestLabels:
    def test_counts_and_missing_labels(self) -> None:
        first, second = np.array([0, 0]), np.array([1, 2])
        labels = np.array([[1.0, np.nan], [-1.0, 1.0]])
        table = label_table(first, second, labels, np.zeros(3, np.int64), np.array([3.0, 1.0]))
        assert table.values[:, 0].tolist() == [0.75, 0.0, 1.0]
        assert np.isnan(table.values[1, 1])
        assert table.values[[0, 2], 1].tolist() == [1.0, 0.0]

    def test_an_objective_without_labels_is_refused(self) -> None:
        labels = np.array([[1.0, np.nan]])
        with pytest.raises(InputError, match="objective 1 without a single label"):
            label_table(np.array([0]), np.array([1]), labels, np.zeros(2, np.int64))
        with pytest.raises(InputError, match="objective 1 without a single label"):
            pair_table(np.array([0]), np.array([1]), labels)


def test_pairs_are_groups_of_two() -> None:
    rewards = np.array([[0.0, 1.0], [2.0, 1.0], [1.0, 3.0]])
    table = pair_table(np.array([0, 1]), np.array([1, 2]), np.zeros((2, 2)), rewards)
    assert table.row.tolist() == [0, 1, 1, 2]
    assert table.group.tolist() == [0, 0, 1, 1]
    assert table.values.tolist() == [[0.0, 0.5], [1.0, 0.5], [1.0, 0.0], [0.0, 1.0]]
    assert table.folds is None
