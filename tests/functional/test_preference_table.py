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

    def test_halves_split_the_opponents_and_average_to_the_whole(self) -> None:
        rewards = np.random.default_rng(1).normal(size=(12, 1))
        table = pool_table(rewards, np.zeros(12, np.int64))
        assert table.halves is not None
        better = (rewards[:, 0][:, None] > rewards[:, 0][None]).sum(1)
        assert table.values[:, 0] == pytest.approx(better / 11)
        # Each half counts wins over its own opponents: multiples of 1/n with n_1 + n_2 = 11.
        for row in range(12):
            parts = [
                {(w, n) for n in range(1, 11) for w in range(n + 1) if abs(h - w / n) < 1e-12}
                for h in table.halves[:, row, 0]
            ]
            assert any(
                n + m == 11 and w + v == better[row] for w, n in parts[0] for v, m in parts[1]
            )

    def test_both_sides_of_a_comparison_are_in_the_same_half(self) -> None:
        table = pool_table(np.array([[1.0], [0.0]]), np.zeros(2, np.int64))
        assert table.halves is not None
        known = ~np.isnan(table.halves[:, :, 0])
        assert known.sum(0).tolist() == [1, 1] and known.sum() == 2 and known.all(1).any()

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
    assert table.halves is None
