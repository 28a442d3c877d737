"""Bootstrap over prompts and rank correlation."""

import numpy as np
import pytest

from paretune.errors import InputError, NotScoredError, ShapeError
from paretune.functional.indicators import hypervolume
from paretune.functional.statistics import (
    bootstrap,
    crossed_means,
    percentile_interval,
    resample_means,
    resample_prompts,
    share_above,
    spearman,
    t_interval,
)


def test_every_resample_draws_as_many_prompts_as_there_are():
    draws = resample_prompts(40, 3000, np.random.default_rng(0))
    assert draws.shape == (3000, 40)
    assert (draws.sum(axis=1) == 40).all()
    # A count is Binomial(40, 1/40): mean 1, variance 39/40.
    assert draws.mean(axis=0) == pytest.approx(np.ones(40), abs=0.1)
    assert draws.var() == pytest.approx(39 / 40, abs=0.03)
    assert (draws == resample_prompts(40, 3000, np.random.default_rng(0))).all()


def test_resampled_means_by_hand():
    # Two policies, three prompts, one objective; prompt 1 twice and prompt 2 once.
    sums = [[[1.0], [2.0], [6.0]], [[0.0], [3.0], [3.0]]]
    means = resample_means(sums, [[0, 2, 1]])
    assert means.tolist() == [[[pytest.approx(10 / 3)], [pytest.approx(3.0)]]]


def test_prompts_with_several_replies_weigh_as_many():
    # Policy 0: three replies to prompt 0 with sum 3, one to prompt 1 with 5.
    sums, replies = [[[3.0], [5.0]]], [[3, 1]]
    means = resample_means(sums, [[1, 1], [2, 0], [0, 2]], replies)
    assert means.ravel().tolist() == [8 / 4, 1.0, 5.0]


def test_resampling_equals_drawing_rows():
    rng = np.random.default_rng(0)
    values = rng.random((3, 25, 2))
    draws = resample_prompts(25, 10, rng)
    for counts, means in zip(draws, resample_means(values, draws), strict=True):
        rows = np.repeat(np.arange(25), counts)
        assert means == pytest.approx(values[:, rows].mean(axis=1))


def test_interval_of_a_mean_has_its_textbook_width():
    rng = np.random.default_rng(0)
    values = rng.normal(3, 2, size=(1, 400, 1))
    draws = resample_prompts(400, 4000, rng)
    interval = bootstrap(lambda means: float(means[0, 0]), values, draws)
    error = values.std() / 400**0.5
    assert interval.value == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - 1.96 * error, abs=0.15 * error)
    assert interval.high == pytest.approx(values.mean() + 1.96 * error, abs=0.15 * error)


def test_intervals_cover_as_often_as_they_say():
    rng = np.random.default_rng(0)
    draws = resample_prompts(60, 400, rng)
    covered = 0
    for _ in range(200):
        interval = bootstrap(lambda means: float(means[0, 0]), rng.normal(size=(1, 60, 1)), draws)
        covered += interval.low <= 0 <= interval.high
    assert 180 <= covered <= 199, "95 % of 200, give or take"


def test_hypervolume_of_eleven_points_is_resampled_quickly():
    rng = np.random.default_rng(0)
    values = rng.random((11, 64, 2))
    interval = bootstrap(hypervolume, values, resample_prompts(64, 1000, rng))
    assert interval.low <= interval.high
    assert interval.value == pytest.approx(hypervolume(values.mean(axis=1)))


def test_same_draws_make_differences_paired():
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(1, 50, 1))
    both = np.concatenate([shared, shared + 0.1])
    interval = bootstrap(
        lambda means: float(means[1, 0] - means[0, 0]), both, resample_prompts(50, 500, rng)
    )
    assert [interval.low, interval.value, interval.high] == pytest.approx([0.1] * 3)


def test_percentiles_by_hand():
    interval = percentile_interval(0.0, np.arange(101), level=0.9)
    assert (interval.low, interval.high) == pytest.approx((5, 95))


def test_spearman_by_hand():
    # Ranks 1 2 3 4 against 1 3 2 4: 1 - 6 * 2 / (4 * 15) = .8.
    assert spearman([1, 2, 3, 4], [10, 30, 20, 40]) == pytest.approx(0.8)
    assert spearman([1, 2, 3], [9, 4, 1]) == -1
    # Ties share a rank: 1.5 1.5 3 against 1 2 3, correlation of the ranks sqrt(3)/2.
    assert spearman([5, 5, 6], [1, 2, 3]) == pytest.approx(3**0.5 / 2)


def test_spearman_of_nothing_is_none():
    assert spearman([1, 2], [1, 2]) is None
    assert spearman([1, 1, 1], [1, 2, 3]) is None
    assert spearman([1, 2, 3], [4, 4, 4]) is None


def test_bad_input_is_named():
    with pytest.raises(InputError, match="0 prompts"):
        resample_prompts(0, 10, np.random.default_rng(0))
    with pytest.raises(ShapeError, match=r"draws \(1, 3\)"):
        resample_means(np.zeros((1, 2, 1)), [[1, 1, 1]])
    with pytest.raises(ShapeError, match="replies"):
        resample_means(np.zeros((1, 2, 1)), [[1, 1]], [[1, 1, 1]])
    with pytest.raises(NotScoredError, match="policy 0, prompt 1, objective 0"):
        resample_means([[[1.0], [np.nan]]], [[1, 1]])
    with pytest.raises(NotScoredError, match="policy 0 has no reply"):
        resample_means([[[1.0], [1.0]]], [[2, 0]], [[0, 1]])
    with pytest.raises(InputError, match="level 1"):
        percentile_interval(0.0, [1.0], level=1)
    with pytest.raises(InputError, match="0 resamples"):
        percentile_interval(0.0, [])
    with pytest.raises(NotScoredError):
        percentile_interval(0.0, [np.nan])
    with pytest.raises(ShapeError):
        spearman([1, 2, 3], [1, 2])
    with pytest.raises(NotScoredError):
        spearman([1, 2, np.nan], [1, 2, 3])


def test_t_interval_by_hand():
    # Mean 2, s = 1, standard error 1 / sqrt(3); t of two degrees of freedom at .975 is 4.302653.
    found = t_interval([1.0, 2.0, 3.0])
    half = 4.302653 / np.sqrt(3)
    assert found.value == pytest.approx(2.0)
    assert (found.low, found.high) == pytest.approx((2 - half, 2 + half), abs=1e-5)
    # At level .5 it is .816497.
    narrow = t_interval([1.0, 2.0, 3.0], level=0.5)
    assert narrow.high - 2 == pytest.approx(0.816497 / np.sqrt(3), abs=1e-5)
    same = t_interval([0.5, 0.5])
    assert same.low == same.value == same.high == 0.5


def test_t_interval_holds_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    found = [t_interval(rng.normal(3.0, 2.0, 5)) for _ in range(2000)]
    assert np.mean([f.low <= 3.0 <= f.high for f in found]) == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize("values", [[], [1.0], [[1.0, 2.0]]])
def test_t_interval_needs_two_numbers(values):
    with pytest.raises(InputError, match="two or more"):
        t_interval(values)


def test_t_interval_refuses_holes_and_levels():
    with pytest.raises(NotScoredError):
        t_interval([1.0, np.nan])
    with pytest.raises(InputError, match="level 1"):
        t_interval([1.0, 2.0], level=1.0)


def test_crossed_means_draw_seeds_and_prompts_apart():
    rng = np.random.default_rng(0)
    # Seed 0 and 1 differ by 10, resamples of prompts by 1: a mean of two seeds is one of
    # (0, 5, 10) + (0, 1), and the prompts of both seeds are the same ones.
    means = crossed_means([[0.0, 1.0], [10.0, 11.0]], 4000, rng)
    values, counts = np.unique(means, return_counts=True)
    assert values.tolist() == [0.0, 1.0, 5.0, 6.0, 10.0, 11.0]
    expected = np.array([1, 1, 2, 2, 1, 1]) / 8
    assert counts / 4000 == pytest.approx(expected, abs=0.03)


def test_crossed_means_keep_methods_paired_and_inputs_as_they_are():
    found = np.random.default_rng(1).normal(size=(3, 7, 2))
    found[..., 1] = found[..., 0] + 0.25
    before = found.copy()
    means = crossed_means(found, 50, np.random.default_rng(2))
    assert means.shape == (50, 2)
    assert means[:, 1] - means[:, 0] == pytest.approx(np.full(50, 0.25))
    assert (found == before).all()
    again = crossed_means(found, 50, np.random.default_rng(2))
    assert (means == again).all()


@pytest.mark.parametrize("shape", [(3,), (0, 4), (3, 0)])
def test_crossed_means_refuse_nothing(shape):
    with pytest.raises(ShapeError):
        crossed_means(np.zeros(shape), 5, np.random.default_rng(0))


def test_crossed_means_need_a_resample():
    with pytest.raises(InputError, match="at least 1"):
        crossed_means(np.zeros((2, 2)), 0, np.random.default_rng(0))


def test_share_above_counts_ties_half():
    assert share_above([1.0, 1.0, 1.0, 0.0], [0.0, 1.0, 2.0, 0.0]) == 0.5
    assert share_above([2.0], [1.0]) == 1.0
    assert share_above([1.0, 3.0], [2.0, 2.0]) + share_above([2.0, 2.0], [1.0, 3.0]) == 1.0
