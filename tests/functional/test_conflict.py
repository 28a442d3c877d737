"""Agreement of objectives: values by hand, and properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from paretune.errors import ShapeError
from paretune.functional.conflict import (
    ConflictCounts,
    count_conflicts,
    count_score_conflicts,
    mean_ranks,
    pearson,
    spearman,
    summarize_scores,
)

NAN = np.nan
LABELS = np.array(
    [
        [1.0, 1.0, NAN],  # agree
        [1.0, -0.2, 0.0],  # conflict of the first two
        [0.0, -1.0, 1.0],  # conflict of the last two
        [0.0, 0.0, 0.0],  # ties
        [1.0, NAN, NAN],  # one objective alone
        [-1.0, -1.0, 1.0],  # the third against the others
    ]
)


def test_counts_by_hand():
    counts = count_conflicts(LABELS)
    assert counts.labelled.tolist() == [6, 5, 4]
    assert counts.tied.tolist() == [2, 1, 2]
    assert counts.both.tolist() == [[4, 3, 1], [3, 4, 2], [1, 2, 2]]
    assert counts.opposed.tolist() == [[0, 1, 1], [1, 0, 2], [1, 2, 0]]
    assert (counts.n_comparisons, counts.n_decided, counts.n_conflict) == (6, 4, 3)
    assert counts.conflict_rate == 0.75
    assert counts.agree_rate == 0.25
    assert counts.rate[0, 1] == pytest.approx(1 / 3)
    assert counts.rate[1, 2] == 1.0


def test_nothing_decided_has_no_rate():
    counts = count_conflicts(np.array([[NAN, 1.0], [0.0, 1.0]]))
    assert np.isnan(counts.conflict_rate)
    assert np.isnan(counts.agree_rate)
    assert np.isnan(counts.rate[0, 1])
    assert np.isnan(ConflictCounts.none(2).conflict_rate)


labels = arrays(
    np.float64, st.tuples(st.integers(0, 12), st.just(3)), elements=st.sampled_from([1, 0, -1, NAN])
)


def equal(one: ConflictCounts, other: ConflictCounts) -> bool:
    return all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ConflictCounts.__dataclass_fields__
    )


@given(labels, labels)
def test_counts_add_up(one, other):
    both = count_conflicts(np.concatenate([one, other]))
    assert equal(both, count_conflicts(one) + count_conflicts(other))


@given(labels, st.permutations(range(3)))
def test_the_order_of_objectives_permutes_the_counts(values, order):
    plain, permuted = count_conflicts(values), count_conflicts(values[:, order])
    assert np.array_equal(permuted.opposed, plain.opposed[np.ix_(order, order)])
    assert permuted.n_conflict == plain.n_conflict


@given(labels)
def test_turning_every_comparison_changes_nothing(values):
    assert equal(count_conflicts(values), count_conflicts(-values))


def test_scores_imply_comparisons_within_a_prompt_only():
    rewards = np.array([[1.0, 5.0], [9.0, 9.0], [2.0, 4.0], [2.0, NAN], [0.0, 0.0]])
    counts = count_score_conflicts(rewards, np.array([7, 3, 7, 7, 3]))
    # Prompt 7: rows 0, 2, 3 give three pairs, of which 0-2 conflicts; prompt 3: rows 1, 4 agree.
    assert counts.n_comparisons == 4
    assert (counts.n_decided, counts.n_conflict) == (2, 1)
    assert counts.labelled.tolist() == [4, 2]
    assert counts.tied.tolist() == [1, 0]


@given(
    arrays(np.float64, (9, 2), elements=st.sampled_from([0.0, 1.0, 2.0, NAN])),
    arrays(np.int64, 9, elements=st.integers(0, 3)),
)
def test_score_conflicts_against_all_pairs(rewards, prompt_of):
    margins = [
        rewards[i] - rewards[j]
        for i in range(9)
        for j in range(i + 1, 9)
        if prompt_of[i] == prompt_of[j] and not np.isnan(rewards[i] - rewards[j]).all()
    ]
    expected = count_conflicts(np.array(margins).reshape(-1, 2))
    assert equal(count_score_conflicts(rewards, prompt_of), expected)


def test_many_responses_are_counted_in_blocks():
    # 400 responses to one prompt are 79800 pairs, more than one block.
    rewards = np.stack([np.arange(400.0), -np.arange(400.0)], axis=1)
    counts = count_score_conflicts(rewards, np.zeros(400, dtype=np.int64))
    assert counts.n_comparisons == counts.n_conflict == 400 * 399 // 2


def test_huge_scores_do_not_overflow():
    rewards = np.array([[1e308, -1e308], [-1e308, 1e308]])
    assert count_score_conflicts(rewards, np.zeros(2, dtype=np.int64)).n_conflict == 1
    assert pearson(rewards)[0, 1] == pytest.approx(-1)
    assert summarize_scores(rewards)[0].mean == 0


def test_shapes_are_checked():
    with pytest.raises(ShapeError, match=r"labels: found shape \(3,\)"):
        count_conflicts(np.zeros(3))
    with pytest.raises(ShapeError, match="prompt_of: found shape"):
        count_score_conflicts(np.zeros((3, 2)), np.zeros(2, dtype=np.int64))


def test_correlations_by_hand():
    rewards = np.array([[1.0, 2.0, NAN], [2.0, 1.0, 5.0], [3.0, 3.0, 5.0], [NAN, 99.0, 1.0]])
    # Columns 0 and 1 on the first three rows: ranks 1 2 3 and 2 1 3.
    assert pearson(rewards)[0, 1] == pytest.approx(0.5)
    assert spearman(rewards)[0, 1] == pytest.approx(0.5)
    assert np.isnan(pearson(rewards)[0, 2])  # constant on the two rows they share
    assert pearson(rewards)[0, 0] == 1


values = st.floats(-100, 100).map(lambda v: round(v, 1))


@given(arrays(np.float64, st.tuples(st.integers(3, 20), st.just(2)), elements=values))
def test_correlations_against_scipy(rewards):
    if any(len(np.unique(column)) < 2 for column in rewards.T):
        assert np.isnan(pearson(rewards)[0, 1])
        assert np.isnan(spearman(rewards)[0, 1])
        return
    assert pearson(rewards)[0, 1] == pytest.approx(np.corrcoef(rewards.T)[0, 1], abs=1e-9)
    expected = stats.spearmanr(rewards[:, 0], rewards[:, 1]).statistic
    assert spearman(rewards)[0, 1] == pytest.approx(expected, abs=1e-9)


@given(arrays(np.float64, st.integers(0, 15), elements=values))
def test_ranks_against_scipy(column):
    assert mean_ranks(column).tolist() == stats.rankdata(column).tolist()


def test_inputs_are_not_changed():
    rewards = np.array([[1.0, 2.0], [3.0, NAN], [0.0, 1.0]])
    before = rewards.copy()
    pearson(rewards), spearman(rewards), summarize_scores(rewards)
    count_score_conflicts(rewards, np.zeros(3, dtype=np.int64))
    np.testing.assert_array_equal(rewards, before)


def test_an_objective_without_scores():
    (summary,) = summarize_scores(np.array([[NAN], [NAN]]))
    assert summary.scored == 0
    assert np.isnan([summary.low, summary.high, summary.mean]).all()
