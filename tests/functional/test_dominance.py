"""Dominance: layers against a brute-force peel."""

import numpy as np
import pytest

from paretune.errors import InputError, NotScoredError, ShapeError
from paretune.functional import dominance
from paretune.functional.dominance import non_dominated, pareto_rank, top_layers


def brute_front(values):
    better_or_equal = (values[:, None, :] >= values[None, :, :]).all(-1)
    better = (values[:, None, :] > values[None, :, :]).any(-1)
    return ~(better_or_equal & better).any(axis=0)


def brute_rank(values):
    rank, left, layer = np.full(len(values), -1), np.arange(len(values)), 0
    while len(left):
        on_front = brute_front(values[left])
        rank[left[on_front]] = layer
        left, layer = left[~on_front], layer + 1
    return rank


def random_values(case, largest=150):
    """Rewards with ties, exact copies and a varying number of objectives."""
    rng = np.random.default_rng(case)
    n, n_objectives = int(rng.integers(1, largest)), 2 + case % 3
    values = rng.random((n, n_objectives)).round(int(rng.integers(0, 3)))
    copies = rng.integers(0, n, n // 5)
    values[rng.integers(0, n, n // 5)] = values[copies]
    return values


def test_layers_by_hand():
    # (2, 2) is dominated by (3, 3) only; (1, 1) by both; (0, 4) and the two (3, 3) are free.
    values = [[3, 3], [2, 2], [3, 3], [0, 4], [1, 1]]
    assert non_dominated(values).tolist() == [True, False, True, True, False]
    assert pareto_rank(values).tolist() == [0, 1, 0, 0, 2]


def test_equal_on_one_objective_is_still_dominated():
    assert non_dominated([[1, 0], [1, 1]]).tolist() == [False, True]


def test_one_objective_ranks_by_value():
    assert pareto_rank([[1.0], [3.0], [3.0], [2.0]]).tolist() == [2, 0, 0, 1]
    assert non_dominated([[1.0], [3.0], [3.0]]).tolist() == [False, True, True]


@pytest.mark.parametrize("block", range(10))
def test_a1_layers_equal_a_brute_force_peel(block, monkeypatch):
    monkeypatch.setattr(dominance, "_SAMPLE", 16)  # so that pruning takes part in small cases
    for case in range(block * 20, block * 20 + 20):
        values = random_values(case)
        expected = brute_rank(values)
        assert (pareto_rank(values) == expected).all(), case
        assert (non_dominated(values) == (expected == 0)).all(), case
        for n_layers in (1, 2, 5, 1000):
            rows, layer = top_layers(values, n_layers=n_layers)
            assert (rows == np.flatnonzero(expected < n_layers)).all(), case
            assert (layer == expected[rows]).all(), case


@pytest.mark.parametrize("n_objectives", [4, 5])
def test_a1_front_of_thousands_equals_brute_force(n_objectives):
    values = np.random.default_rng(n_objectives).integers(0, 11, (4000, n_objectives), np.int8)
    expected = np.array([not ((values >= v).all(1) & (values > v).any(1)).any() for v in values])
    assert (non_dominated(values) == expected).all()


@pytest.mark.parametrize("n_objectives", [2, 3, 4])
def test_pruning_drops_most_rows_and_changes_nothing(n_objectives):
    values = np.random.default_rng(0).normal(size=(20_000, n_objectives))
    kept = dominance._without_deep_rows(values, 3)
    assert len(kept) < 0.8 * len(values)
    rank = pareto_rank(values)
    rows, layer = top_layers(values, n_layers=3)
    assert (rows == np.flatnonzero(rank < 3)).all()
    assert (layer == rank[rows]).all()


def test_pruning_keeps_copies_of_the_row_that_prunes():
    values = np.repeat([[1.0, 0.5, 0.2], [0.5, 0.4, 0.1]], [30_000, 10_000], axis=0)
    rows, layer = top_layers(values, n_layers=1)
    assert (rows == np.arange(30_000)).all()
    assert not layer.any()


def test_fewest_layers_that_hold_the_rows():
    for case in range(30):
        values = random_values(case)
        expected = brute_rank(values)
        for min_rows in {1, (len(values) + 1) // 2, len(values)}:
            rows, layer = top_layers(values, min_rows=min_rows)
            last = layer.max()
            assert len(rows) >= min_rows
            assert (rows == np.flatnonzero(expected <= last)).all()
            assert (expected < last).sum() < min_rows, "one layer fewer would have been enough"


def test_permuting_rows_or_objectives_permutes_the_layers():
    values = random_values(4)
    rng = np.random.default_rng(1)
    rows, columns = rng.permutation(len(values)), rng.permutation(values.shape[1])
    assert (pareto_rank(values[rows][:, columns]) == pareto_rank(values)[rows]).all()


def test_a_dominated_row_changes_nothing_above_it():
    values = random_values(7)
    below = values.min(axis=0, keepdims=True) - 1
    rows, layer = top_layers(values, n_layers=2)
    rows_with, layer_with = top_layers(np.concatenate([values, below]), n_layers=2)
    assert (rows == rows_with).all()
    assert (layer == layer_with).all()


def test_inputs_are_not_changed():
    values = np.random.default_rng(0).random((9000, 3))
    before = values.copy()
    top_layers(values, min_rows=100)
    assert (values == before).all()


def test_bad_input_is_named():
    with pytest.raises(NotScoredError, match="row 1, objective 0"):
        non_dominated([[0.0, 1.0], [np.nan, 1.0]])
    with pytest.raises(InputError, match="inf in row 0"):
        pareto_rank([[np.inf, 1.0]])
    with pytest.raises(ShapeError, match=r"\(0, 2\)"):
        pareto_rank(np.empty((0, 2)))
    with pytest.raises(InputError, match="n_layers=0"):
        top_layers([[1.0, 2.0]], n_layers=0)
    with pytest.raises(InputError, match="min_rows=2, expected 1 to 1"):
        top_layers([[1.0, 2.0]], min_rows=2)
